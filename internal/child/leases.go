package child

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// leases are blocks of ports from which the application opens connections without
// asking (half/ports.go). The child takes one when the application has opened
// leaseWorth connections by asking, and more when it asks again.
type leases struct {
	mu    sync.Mutex
	asked int            // connections since the last lease
	never bool           // an address of ours is the kernel's too: each port has to be bound there
	sent  map[uint16]int // circuit: leases that its peer was told of
}

// leaseWorth is how many connections in a row are worth a lease.
const leaseWorth = 4

// opened notes that the application has opened a connection by asking.
func (c *child) opened() {
	l := &c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked++; l.never || l.asked < leaseWorth {
		return
	}
	l.asked = 0
	if l.never = kernels(c.cfg.addrs); l.never {
		return
	}
	// As many again as there are, so that who needs many need not ask often.
	for range max(1, len(c.bottom.Leases())) {
		if !c.lease() {
			break
		}
	}
	c.tellLeases()
}

func (c *child) lease() bool {
	r, errno := c.ask(&message.Message{Type: message.Listen, Op: message.OpLease})
	if errno != 0 {
		return false
	}
	_, err := c.bottom.Lease(r.Local.Port)
	return err == nil
}

// kernels reports whether one of the addresses is the kernel's.
func kernels(addrs []netip.Addr) bool {
	for _, a := range addrs {
		fd, errno := bindKernel(netip.AddrPortFrom(a, 0), false)
		if errno == 0 {
			unix.Close(fd)
		}
		if errno != unix.EADDRNOTAVAIL {
			return true
		}
	}
	return false
}

// tellLeases tells the peers of all circuits of leases that they do not know of.
func (c *child) tellLeases() {
	first := c.bottom.Leases()
	if len(first) == 0 {
		return
	}
	var peers map[uint16]wire.VCI
	c.bottom.Change(func() { peers = c.driver.Peers() })
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
	defer c.leases.mu.Unlock()
	delete(c.leases.sent, i)
	c.tellLeases()
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
