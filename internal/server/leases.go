package server

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
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

// lease leases the child a block, unless an address of the host on the ring is the kernel's
// too: there each port has to be bound in the kernel. That is EOPNOTSUPP. It is for
// connections from these addresses alone, whether the host has devices or not.
func (c *child) lease() (uint16, unix.Errno) {
	for _, a := range c.s.cfg.Addrs {
		fd, errno := bindFamily(netip.AddrPortFrom(a, 0), false, false)
		if errno == 0 {
			unix.Close(fd)
		}
		if errno != unix.EADDRNOTAVAIL {
			return 0, unix.EOPNOTSUPP
		}
	}
	return c.s.ports.lease(c.vci)
}

// adoptLease leases a child a block that it has had from the server before this one. What
// is in TIME-WAIT there the child has left, or the server has found to be over.
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
	p.lend(child, first)
	return 0
}

// lend notes whose a block is. p.mu is held.
func (p *portSpace) lend(child wire.VCI, first uint16) {
	p.vacate(first, ring.LeasePorts, p.onRing)
	p.leases[first] = child
	p.use(child).leases++
}

// unlease takes a block back in which the child has no connection any more. The errno is
// 0 or EINVAL.
func (p *portSpace) unlease(child wire.VCI, first uint16) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, ok := p.leases[first]; !ok || id != child {
		return unix.EINVAL
	}
	delete(p.leases, first)
	p.use(child).leases--
	return 0
}

// leased reports whether a port is in a block that is leased.
func (p *portSpace) leased(port uint16) bool {
	_, ok := p.lessee(port)
	return ok
}

// lessee returns the child that has leased a port.
func (p *portSpace) lessee(port uint16) (child wire.VCI, ok bool) {
	if l := p.blocks[deviceBlock(port)]; l.has(port) {
		return l.child, true
	}
	child, ok = p.leases[blockOf(port)]
	return child, ok
}

// lendAfter is how long what is in TIME-WAIT in a block has to have been so when the block
// is lent: longer than a segment may be on its way through two connection servers, each of
// which drops what it can't pass on within relayTimeout.
const lendAfter = 300 * tcp.Millisecond

// lease gives a child a block of ports that nobody uses: one in which nothing is in
// TIME-WAIT, beginning to look at a random one (RFC 6056 section 3.3.1), else that in
// which the last connection ended first, more than lendAfter ago. Who has blocks already
// gets another only while as many are left for others. lease returns the block's first
// port; the errno is 0, EMFILE (the child has as many as it may), or EADDRNOTAVAIL (there
// is none left).
func (p *portSpace) lease(child wire.VCI) (uint16, unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	have, left := p.use(child).leases, numBlocks-spareBlocks-len(p.leases)
	switch {
	case have >= ring.MaxLeases:
		return 0, unix.EMFILE
	case left <= 0 || have > left:
		return 0, unix.EADDRNOTAVAIL
	}
	used := p.flowPorts()
	best, waited := uint16(0), tcp.Time(lendAfter)
	start := rand.IntN(numBlocks)
	for i := range numBlocks {
		first := uint16((firstBlock + (start+i)%numBlocks) * ring.LeasePorts)
		if used.any(first, ring.LeasePorts) || !p.unused(first, ring.LeasePorts) {
			continue
		}
		if since := p.waitingSince(first, ring.LeasePorts); since > waited {
			best, waited = first, since
		}
		if waited >= tcp.TimeWaitLength {
			break
		}
	}
	if best == 0 {
		return 0, unix.EADDRNOTAVAIL
	}
	p.lend(child, best)
	return best, 0
}

// portBlocks has a bit for each port, in words of waitBlockPorts of them.
type portBlocks [numWaitBlocks]uint64

var _ [waitBlockPorts]struct{} = [64]struct{}{}

// any reports whether one of n ports, a multiple of waitBlockPorts, is marked.
func (b *portBlocks) any(first, n uint16) bool {
	at := waitBlock(first)
	return slices.ContainsFunc(b[at:at+int(n)/waitBlockPorts], func(w uint64) bool { return w != 0 })
}

// flowPorts marks where connections have their local ports that the server knows of,
// those among them that have outlived their listener, or the program that had leased
// the port.
func (p *portSpace) flowPorts() *portBlocks {
	b := new(portBlocks)
	for f := range p.flows {
		b[waitBlock(f.Local.Port)] |= 1 << (f.Local.Port % waitBlockPorts)
	}
	return b
}

// unused reports whether nobody has bound or leased one of n ports, or opened a
// connection from it by asking.
func (p *portSpace) unused(first, n uint16) bool {
	for i := range n {
		port := first + i
		if len(p.byPort[port]) > 0 || p.leased(port) || p.hasUnbound(wire.Endpoint{Port: port}) {
			return false
		}
	}
	return true
}

// lent returns how many blocks a child has, for the devices or not.
func (p *portSpace) lent(child wire.VCI) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.usage[child]; u != nil {
		return u.leases + u.blocks
	}
	return 0
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
