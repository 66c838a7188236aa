package child

import (
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// leases are blocks of ports from which the application opens connections without
// asking (half/ports.go). The child takes one when the application has opened
// leaseWorth connections by asking, and as many again as there are when it has found no
// port in them. The record has them. They go back when the application has ended and no
// connection has a port of theirs.
type leases struct {
	mu    sync.Mutex     // never held while the server is asked: its answer may have to wait for somebody who wants this lock
	asked int            // connections since the last lease
	short uint32         // times that the application had found no port when the last block was taken
	busy  bool           // the server is being asked
	never bool           // the server has said that there are none for us
	sent  map[uint16]int // circuit: leases that its peer was told of
}

// leaseWorth is how many connections in a row are worth a lease.
const leaseWorth = 4

// opened notes that the application has opened a connection by asking.
func (c *child) opened() {
	if !c.wantLease() {
		return
	}
	// As many again as there are, so that who needs many need not ask often.
	errno := unix.Errno(0)
	for range max(1, len(c.record.leases())) {
		if errno = c.lease(); errno != 0 {
			break
		}
	}
	l := &c.leases
	l.mu.Lock()
	l.busy, l.never = false, errno == unix.EOPNOTSUPP
	l.mu.Unlock()
	c.tellLeases()
}

// wantLease counts a connection that was asked for, and reports whether it is time for
// a lease.
func (c *child) wantLease() bool {
	have, short := c.bottom.Leases()
	l := &c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.never || l.busy || len(have) == 0 && l.asked < leaseWorth || len(have) > 0 && short == l.short {
		return false
	}
	l.asked, l.busy, l.short = 0, true, short
	return true
}

func (c *child) lease() unix.Errno {
	r, errno := c.agree(&message.Message{Type: message.Listen, Op: message.OpLease}, func(r *message.Message) {
		c.record.lease(r.Local.Port)
	})
	if errno != 0 {
		return errno
	}
	c.bottom.LeaseAt(leaseAddrs(c.cfg.addrs))
	if _, err := c.bottom.Lease(r.Local.Port); err != nil {
		c.unlease(r.Local.Port, 0)
		return unix.EMFILE
	}
	return 0
}

// returnLeases gives back what a program that has ended has left vacant: all that is on
// record and not in the segment any more, so that what the server has not heard of is
// said again.
func (c *child) returnLeases() {
	c.bottom.ForgetVacantLeases()
	have, _ := c.bottom.Leases()
	for _, first := range c.record.leases() {
		if !slices.Contains(have, first) {
			c.unlease(first, 0)
		}
	}
	if c.deviceLeases.begin() {
		c.bottom.IdleDeviceLeases()
		c.unleaseDevices()
		c.deviceLeases.end()
	}
}

// unlease gives a block back; devices is 1 if it is for the devices.
func (c *child) unlease(first uint16, devices uint32) {
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	_, errno := c.ask(&message.Message{Type: message.Listen, Op: message.OpUnlease, N: devices, Local: wire.Endpoint{Port: first}})
	switch {
	case errno != 0:
	case devices == 1:
		c.record.unleaseDevice(first)
	default:
		c.record.unlease(first)
	}
}

// tellLeases tells the peers of all circuits of leases that they do not know of.
func (c *child) tellLeases() {
	first := c.record.leases()
	if len(first) == 0 {
		return
	}
	var peers map[uint16]wire.VCI
	c.bottom.Change(func() { peers = c.driver.Peers() })
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	for i, peer := range peers {
		if c.leases.sent[i] == len(first) {
			continue
		}
		if c.leases.sent == nil {
			c.leases.sent = map[uint16]int{}
		}
		c.leases.sent[i] = len(first)
		f := ring.NewLease(c.cfg.vci, peer, leaseAddrs(c.cfg.addrs), first)
		c.send(&f)
	}
}

// leaseAddrs returns the addresses that connections get whose program asks for none:
// the first of each family.
func leaseAddrs(addrs []netip.Addr) (first [2]wire.Addr) {
	for _, a := range addrs {
		k := 0
		if !a.Unmap().Is4() {
			k = 1
		}
		if first[k].IsZero() {
			first[k] = wire.AddrFrom(a)
		}
	}
	return first
}

// circuitUp is called when circuit i has come up, as that of a new peer.
func (c *child) circuitUp(i uint16) {
	c.leases.mu.Lock()
	delete(c.leases.sent, i)
	c.leases.mu.Unlock()
	go c.tellLeases()
}

// peerLeases takes what a peer says of its leases, and answers.
func (c *child) peerLeases(f *ring.Frame) {
	i, up, ok := uint16(0), false, false
	c.bottom.Change(func() { i, up, ok = c.driver.Find(f.Src) })
	if !ok || !up {
		return
	}
	addrs, first := f.Lease()
	c.bottom.PeerLeases(i, addrs, first)
	c.send(&ring.Frame{Type: ring.FrameLeased, Src: c.cfg.vci, Dst: f.Src, N: uint32(len(first))})
}

// leasesKnown takes a peer's answer.
func (c *child) leasesKnown(f *ring.Frame) {
	var i uint16
	up := false
	c.bottom.Change(func() { i, up, _ = c.driver.Find(f.Src) })
	if up {
		c.bottom.LeasesKnown(i, int(f.N))
	}
}

var (
	_ [half.MaxLeases]struct{}  = [ring.MaxLeases]struct{}{}
	_ [half.LeasePorts]struct{} = [ring.LeasePorts]struct{}{}
)
