package server

import (
	"math/rand/v2"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// Blocks of ports that may be leased: the ephemeral ones, but for a part that stays
// for those who ask each time.
const (
	firstBlock  = firstEphemeral / ring.LeasePorts
	numBlocks   = numEphemeral / ring.LeasePorts
	spareBlocks = numBlocks / 5
)

// blockOf returns the first port of the block that a port is in.
func blockOf(port uint16) uint16 { return port &^ (ring.LeasePorts - 1) }

// lease leases the child a block, unless an address of the host is the kernel's too:
// there each port has to be bound in the kernel. That is EOPNOTSUPP.
func (c *child) lease() (uint16, unix.Errno) {
	points, errno := c.s.bindPoints(wire.Endpoint{}, &c.app, false)
	message.CloseFiles(points)
	if errno != 0 || len(points) > 0 {
		return 0, unix.EOPNOTSUPP
	}
	return c.s.ports.lease(c.vci)
}

// adoptLease leases a child a block that it has had from the server before this one.
func (p *portSpace) adoptLease(child wire.VCI, first uint16) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	block := int(first) / ring.LeasePorts
	switch {
	case first != blockOf(first) || block < firstBlock || block >= firstBlock+numBlocks:
		return unix.EINVAL
	case p.use(child).leases >= ring.MaxLeases:
		return unix.EMFILE
	case !p.unused(first, ring.LeasePorts):
		return unix.EADDRINUSE
	}
	p.leases[first] = child
	p.use(child).leases++
	return 0
}

// leased reports whether a port is in a block that is leased.
func (p *portSpace) leased(port uint16) bool {
	_, ok := p.leases[blockOf(port)]
	_, device := p.blocks[deviceBlock(port)]
	return ok || device
}

// lease gives a child a block of ports that nobody uses, beginning to look at a
// random one (RFC 6056 section 3.3.1). It returns its first port; the errno is 0,
// EMFILE (the child has as many as it may), or EADDRNOTAVAIL (there is none left).
func (p *portSpace) lease(child wire.VCI) (uint16, unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.use(child).leases >= ring.MaxLeases {
		return 0, unix.EMFILE
	}
	if len(p.leases) >= numBlocks-spareBlocks {
		return 0, unix.EADDRNOTAVAIL
	}
	start := rand.IntN(numBlocks)
	for i := range numBlocks {
		first := uint16((firstBlock + (start+i)%numBlocks) * ring.LeasePorts)
		if p.unused(first, ring.LeasePorts) {
			p.leases[first] = child
			p.use(child).leases++
			return first, 0
		}
	}
	return 0, unix.EADDRNOTAVAIL
}

// unused reports whether nobody uses one of n ports.
func (p *portSpace) unused(first, n uint16) bool {
	for i := range n {
		port := first + i
		if len(p.byPort[port]) > 0 || p.leased(port) || p.hasUnbound(wire.Endpoint{Port: port}) {
			return false
		}
	}
	// Whoever has leased a block opens connections without asking.
	return p.waitingAt == nil || !p.waitingAt(first, n)
}

// holds reports whether all that a FrameLease of a child says is so.
func (p *portSpace) holds(child wire.VCI, f *ring.Frame) bool {
	addrs, first := f.Lease()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range addrs {
		if !a.IsZero() && !p.has(a) {
			return false
		}
	}
	for _, port := range first {
		if id, ok := p.leases[port]; !ok || id != child {
			return false
		}
	}
	return true
}
