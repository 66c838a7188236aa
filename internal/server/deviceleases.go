package server

import (
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/nic"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Where the host's devices are served, blocks of ports are leased to children too, so
// that their applications open connections by the devices without asking. These ports
// are the kernel's as well: each is bound in the kernel as long as the block is leased,
// and the block is entered for the child's pool. They are at all addresses of the host.

// deviceLease is who has leased a block of nic.LeasePorts ports, and the parcel of the
// kernel's bind points, -1 while they are being made.
type deviceLease struct {
	child  wire.VCI
	points int
}

var _ [nic.LeasePorts]struct{} = [message.DevicePorts]struct{}{}

// maxDeviceLeases is how many such blocks a child may have: half.MaxLeases.
const maxDeviceLeases = 64

// leaseTries is how many blocks are tried in which the kernel has a port in use.
const leaseTries = 64

// dryFor is how long no block is looked for when none of so many was to be had. That takes a
// millisecond, and a kernel of which a few thousand connections are in TIME-WAIT has a
// port in each block for a minute.
const dryFor = tcp.Second

// deviceBlock returns the first port of the block that a port is in.
func deviceBlock(port uint16) uint16 { return port &^ (nic.LeasePorts - 1) }

// leaseNIC leases the child a block for connections by the devices. The errno is 0,
// EOPNOTSUPP (there are no devices), EMFILE (the child has as many as it may) or
// EADDRNOTAVAIL.
func (c *child) leaseNIC() (grant, unix.Errno) {
	if c.pool == nil {
		return grant{}, unix.EOPNOTSUPP
	}
	p := c.s.ports
	if p.isDry(clock()) {
		return grant{}, unix.EADDRNOTAVAIL
	}
	for range leaseTries {
		first, errno := p.reserveBlock(c.vci)
		if errno != 0 {
			return grant{}, errno
		}
		points, errno := bindBlock(first)
		if errno == 0 {
			p.holdBlock(first, points)
			if err := c.pool.Lease(first); err == nil {
				return grant{local: wire.Endpoint{Port: first}, points: []int{points}}, 0
			}
		}
		p.releaseBlock(c.vci, first)
	}
	p.runDry(clock())
	return grant{}, unix.EADDRNOTAVAIL
}

// runDry notes that the kernel has a port in use in all blocks that were tried.
func (p *portSpace) runDry(now tcp.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dryUntil = now + dryFor
}

// isDry reports whether that was just now.
func (p *portSpace) isDry(now tcp.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now < p.dryUntil
}

// unleaseNIC takes a block back.
func (c *child) unleaseNIC(first uint16) unix.Errno {
	if c.pool == nil || !c.s.ports.hasBlock(c.vci, first) {
		return unix.EINVAL
	}
	if err := c.pool.Unlease(first); err != nil {
		return errnoIn(err)
	}
	c.s.ports.releaseBlock(c.vci, first)
	return 0
}

// reserveBlock finds a block of which nobody here uses a port, from a random one on (RFC
// 6056 section 3.3.1), so that all others find it in use. None in which a connection is in
// TIME-WAIT: a network may still have packets of it, and what tells them from those of
// another connection (RFC 6191), the clock of the timestamps and the sequence numbers, is
// the former program's own.
func (p *portSpace) reserveBlock(child wire.VCI) (uint16, unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.use(child).blocks >= maxDeviceLeases {
		return 0, unix.EMFILE
	}
	low, high := p.ports()
	from := (int(low) + nic.LeasePorts - 1) / nic.LeasePorts
	n := (int(high)+1)/nic.LeasePorts - from
	if n <= 0 || len(p.blocks) >= n-n/5 { // some stay for those who ask
		return 0, unix.EADDRNOTAVAIL
	}
	used := p.flowPorts()
	start := rand.IntN(n)
	for i := range n {
		first := uint16((from + (start+i)%n) * nic.LeasePorts)
		if !used.any(first, nic.LeasePorts) && p.waitingSince(first, nic.LeasePorts) >= tcp.TimeWaitLength && p.unused(first, nic.LeasePorts) {
			p.takeBlock(child, first, -1)
			return first, 0
		}
	}
	return 0, unix.EADDRNOTAVAIL
}

// takeBlock notes whose a block is. p.mu is held.
func (p *portSpace) takeBlock(child wire.VCI, first uint16, points int) {
	p.blocks[first] = deviceLease{child, points}
	p.use(child).blocks++
}

// holdBlock notes what keeps a block's ports in the kernel.
func (p *portSpace) holdBlock(first uint16, points int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.blocks[first]
	l.points = points
	p.blocks[first] = l
}

// hasBlock reports whether a child has leased the block that begins with a port.
func (p *portSpace) hasBlock(child wire.VCI, first uint16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.blocks[first]
	return ok && l.child == child
}

// releaseBlock gives a block back: last of all to the kernel.
func (p *portSpace) releaseBlock(child wire.VCI, first uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.blocks[first]; ok && l.child == child {
		p.dropBlock(first, l)
	}
}

// dropBlock is releaseBlock for who holds p.mu.
func (p *portSpace) dropBlock(first uint16, l deviceLease) {
	delete(p.blocks, first)
	p.use(l.child).blocks--
	if l.points >= 0 {
		unix.Close(l.points)
	}
}

// adoptBlock takes a block that a child has had from the server before this one. It
// takes the descriptor over.
func (p *portSpace) adoptBlock(child wire.VCI, first uint16, points int) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	errno := unix.Errno(0)
	switch {
	case first == 0 || first != deviceBlock(first):
		errno = unix.EINVAL
	case p.use(child).blocks >= maxDeviceLeases:
		errno = unix.EMFILE
	case !p.unused(first, nic.LeasePorts):
		errno = unix.EADDRINUSE
	}
	if errno != 0 {
		unix.Close(points)
		return errno
	}
	p.takeBlock(child, first, points)
	return 0
}

// bindBlock binds all ports of a block in the kernel, at all addresses, and returns one
// descriptor that keeps them so. The errno is EADDRINUSE if the kernel has one of them
// in use.
func bindBlock(first uint16) (int, unix.Errno) {
	fds := make([]int, 0, nic.LeasePorts)
	defer func() { message.CloseFiles(fds) }()
	for n := range uint16(nic.LeasePorts) {
		fd, errno := bindKernel(netip.AddrPortFrom(netip.IPv6Unspecified(), first+n), false)
		if errno != 0 {
			return -1, errno
		}
		fds = append(fds, fd)
	}
	return parcel(fds)
}

// parcel makes one descriptor of many, which may be closed then: they are on their way
// through a socket at whose end nobody receives, and live as long as that.
func parcel(fds []int) (int, unix.Errno) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	err = unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fds...), nil, 0)
	unix.Close(pair[0])
	if err != nil {
		unix.Close(pair[1])
		return -1, errnoOf(err)
	}
	return pair[1], 0
}
