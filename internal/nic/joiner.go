package nic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/ethtool"
)

// A device that does not join the segments of a stream (GRO) gives each to the pool alone:
// a system call, and a turn of the pool's TCP, for 1,448 octets. So full segments that
// come one by one go to the pool by a pair of devices of our own, of which the second
// joins what comes to it:
//
//	eth0 ──► demux ──► utcpj0 ══► utcpk0 ──► joined ──► TAP
//	           └─────────── everything else ────────────►┘
//
// Which segments these are is the demultiplexer's to say (in_burst in bpf/kernel.c), which
// asks for the pair when it needs it first: most hosts never see one.
const (
	joinerName = "utcpj%d" // with the number of the other
	joinedName = "utcpk%d"
	joinedPin  = "joined-"
)

// joinerMTU is the longest that any device has, octets.
const joinerMTU = 65535

// joiner is the pair of devices, if it is there.
type joiner struct {
	asks  *ringbuf.Reader // of the demultiplexer; nil before somebody listens
	ended chan struct{}
	index int // of the device that is sent to; 0: there is none
	link  link.Link
}

// heedAsks makes the joiner when the demultiplexer asks for it.
func (m *Manager) heedAsks() (err error) {
	if m.joiner.asks, err = ringbuf.NewReader(m.kernel.Asks); err != nil {
		return fmt.Errorf("asks: %w", err)
	}
	m.joiner.ended = make(chan struct{})
	go func() {
		defer close(m.joiner.ended)
		var r ringbuf.Record
		for m.joiner.asks.ReadInto(&r) == nil {
			if err := m.place.do(m.join); err != nil {
				m.log.Warn("segments that a device does not join are taken one by one", "err", err)
				return
			}
		}
	}()
	return nil
}

// stopAsks ends that.
func (m *Manager) stopAsks() {
	if m.joiner.asks != nil {
		m.joiner.asks.Close()
		<-m.joiner.ended
		m.joiner.asks = nil
	}
}

// join makes the joiner if there is none. It runs in the place's thread.
func (m *Manager) join() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.joiner.index != 0 {
		return nil
	}
	err := m.makeJoiner()
	if err != nil {
		err = errors.Join(err, m.dropJoiner())
	}
	return err
}

func (m *Manager) makeJoiner() error {
	in, out, err := m.makePair()
	if err != nil {
		return err
	}
	name, joined := in.Attrs().Name, out.Attrs().Name
	m.joiner.index = in.Attrs().Index
	if m.joiner.link, err = m.attachProgram(out.Attrs().Index, m.kernel.UsertcpJoined, joinedPin); err != nil {
		return errors.Join(err, m.routes.LinkDel(in))
	}
	ethtool.SetFeatures(name, false, "tx-tcp-accecn-segmentation") // which a kernel before 6.18 does not know
	err = errors.Join(
		silent(name), silent(joined),
		// What need not be cut is not joined (veth_skb_is_eligible_for_gro in the kernel).
		ethtool.SetFeatures(name, false, "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation"),
		ethtool.SetFeatures(joined, true, "rx-gro"),
		m.routes.LinkSetMTU(out, joinerMTU),
		m.routes.LinkSetUp(out), m.routes.LinkSetUp(in), // in this order, or the kernel drops what it is sent until it has noticed that there is a carrier
	)
	if err != nil {
		return err
	}
	return m.kernel.Joiner.Put(uint32(0), uint32(m.joiner.index))
}

// makePair makes the two devices, by names that nobody else has.
func (m *Manager) makePair() (in, out netlink.Link, err error) {
	for n := range maxJoiners {
		name, joined := fmt.Sprintf(joinerName, n), fmt.Sprintf(joinedName, n)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, joinerMTU
		err = m.routes.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: joined})
		if errors.Is(err, unix.EEXIST) {
			continue // another server's, of other devices
		}
		if err != nil {
			break
		}
		in, err = m.routes.LinkByName(name)
		if err == nil {
			out, err = m.routes.LinkByName(joined)
		}
		return in, out, err
	}
	return nil, nil, fmt.Errorf("make a pair of devices: %w", err)
}

// maxJoiners bounds the search for a name: there is one pair for each server.
const maxJoiners = 256

// dropJoiner takes the joiner away, that of a server before among them. It runs in the
// place's thread.
func (m *Manager) dropJoiner() error {
	if m.kernel.Joiner != nil {
		m.kernel.Joiner.Put(uint32(0), uint32(0))
	}
	if m.joiner.link != nil {
		m.joiner.link.Close()
	}
	m.joiner.index, m.joiner.link = 0, nil
	old, err := m.pins.names(joinedPin)
	for name, index := range old {
		err = errors.Join(err, os.Remove(m.pins.path(name)))
		l, gone := m.routes.LinkByIndex(index)
		if gone == nil && l.Type() == "veth" && strings.HasPrefix(l.Attrs().Name, "utcpk") {
			err = errors.Join(err, m.routes.LinkDel(l))
		}
	}
	return err
}

// syncJoiner forgets the joiner if somebody has taken it away, or down. The caller holds
// the lock.
func (m *Manager) syncJoiner(links []netlink.Link) error {
	if m.joiner.index == 0 {
		return nil
	}
	for _, l := range links {
		const works = unix.IFF_UP | unix.IFF_LOWER_UP
		if a := l.Attrs(); a.Index == m.joiner.index && a.RawFlags&works == works {
			return nil
		}
	}
	m.log.Warn("the devices that join segments have gone or are down")
	return m.dropJoiner()
}

// silent keeps a device from saying anything of its own.
func silent(name string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
		return nil
	}
	return err
}
