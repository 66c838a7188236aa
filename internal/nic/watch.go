package nic

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Changes come in bursts: after one, the next is looked at this much later.
const calm = 50 * time.Millisecond

// subscribe returns a netlink socket of the calling thread's namespace that tells of
// changes. What they say is not looked at: who hears of one looks at what there is,
// so that nothing depends on having heard of all.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	var groups uint32
	for _, g := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	} {
		groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// watch follows the changes until Close.
func (m *Manager) watch() {
	defer close(m.ended)
	buf := make([]byte, 1<<16)
	said := m.hearing()
	var growths growths
	for {
		m.events.SetReadDeadline(growths.owed)
		n, err := m.events.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			m.tellGrowth(growths.due(time.Now(), false, false))
			continue
		}
		// So many changes that some were lost are changes.
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		said.note(buf, n, err)
		m.drain(buf, said)
		if err := m.place.do(m.sync); err != nil {
			m.log.Error("network devices", "err", err)
		}
		if m.config.Changed != nil {
			m.config.Changed()
		}
		time.Sleep(calm) // longer than the programs keep a way that they have found
		grown, moved := m.grown(said)
		m.tellGrowth(growths.due(time.Now(), grown, moved))
	}
}

// tellGrowth tells of larger packets if that is due.
func (m *Manager) tellGrowth(due bool) {
	if due && m.config.Grew != nil {
		m.config.Grew(m.MostMTU())
	}
}

// drain takes what lies there.
func (m *Manager) drain(buf []byte, said *heard) {
	m.events.SetReadDeadline(time.Now())
	defer m.events.SetReadDeadline(time.Time{})
	for {
		n, err := m.events.Read(buf)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		said.note(buf, n, err)
	}
}

// note takes what was read: n octets, or the word that something was lost.
func (h *heard) note(buf []byte, n int, err error) {
	if err != nil {
		h.routes = true
		return
	}
	h.take(buf[:n])
}
