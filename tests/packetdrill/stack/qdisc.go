package stack

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// scriptDevice is the network device whose settings scripts change.
const scriptDevice = "tun0"

// queueing knows what the queueing discipline of the script's device takes. It hears
// of changes by netlink, and looks again when there was one.
type queueing struct {
	mu     sync.Mutex
	events int // socket that tells of changes; 0: not opened yet, -1: there is none
	full   bool
}

// refuses reports whether the device takes no packet: its queue has no place for any.
func (q *queueing) refuses() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	fresh := q.events == 0
	if fresh {
		q.events = subscribe(unix.RTNLGRP_TC)
	}
	if changed(q.events) || fresh {
		q.full = takesNothing(scriptDevice)
	}
	return q.full
}

func (q *queueing) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.events > 0 {
		unix.Close(q.events)
	}
	q.events = -1
}

// subscribe returns a netlink socket that tells of changes of a group, or -1.
func subscribe(group int) int {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1
	}
	if unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (group - 1)}) != nil {
		unix.Close(fd)
		return -1
	}
	return fd
}

// changed takes what a socket of subscribe has, and reports whether there was
// something.
func changed(fd int) (did bool) {
	var b [4096]byte
	for fd > 0 {
		if _, _, err := unix.Recvfrom(fd, b[:], 0); err != nil && !errors.Is(err, unix.ENOBUFS) {
			break
		}
		did = true
	}
	return did
}

// takesNothing reports whether a device has a FIFO of no places as its queueing
// discipline.
func takesNothing(device string) bool {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return false
	}
	ask := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	ask.AddData(&nl.TcMsg{Ifindex: int32(l.Attrs().Index)})
	all, err := ask.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return false
	}
	for _, b := range all {
		m := nl.DeserializeTcMsg(b)
		if int(m.Ifindex) == l.Attrs().Index && m.Parent == netlink.HANDLE_ROOT && emptyFIFO(b[m.Len():]) {
			return true
		}
	}
	return false
}

// emptyFIFO reports whether the attributes of a queueing discipline are those of a
// FIFO of no places.
func emptyFIFO(b []byte) bool {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return false
	}
	fifo, limit := false, uint32(1)
	for _, a := range attrs {
		switch a.Attr.Type {
		case nl.TCA_KIND:
			kind := nl.BytesToString(a.Value)
			fifo = kind == "pfifo" || kind == "bfifo"
		case nl.TCA_OPTIONS: // struct tc_fifo_qopt
			if len(a.Value) >= 4 {
				limit = binary.NativeEndian.Uint32(a.Value)
			}
		}
	}
	return fifo && limit == 0
}
