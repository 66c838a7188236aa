package server

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"

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
// Of a block only those ports are leased that nobody uses, here or in the kernel, where a
// connection in TIME-WAIT has a port for a minute. The others stay free for whoever comes.

// deviceLease is who has leased a block of nic.LeasePorts ports, which of them, bit n for
// port n of the block, and the parcel of the kernel's bind points, -1 while they are being
// made.
type deviceLease struct {
	child  wire.VCI
	ports  uint64
	points int
}

// has reports whether a port of the block is leased.
func (l deviceLease) has(port uint16) bool { return l.ports>>(port%nic.LeasePorts)&1 != 0 }

var _ [nic.LeasePorts]struct{} = [message.DevicePorts]struct{}{}

// maxDeviceLeases is how many such blocks a child may have: half.MaxLeases.
const maxDeviceLeases = 64

// leastPorts is how many free ports make a block worth lending.
const leastPorts = 16

// leaseTries is how many blocks are tried of which the kernel has most ports in use.
const leaseTries = 16

// dryFor is how long no block is looked for when none of so many was to be had. That takes
// a few milliseconds.
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
	uid := c.owner().uid
	var tried []uint16
	for range leaseTries {
		first, ports, errno := p.reserveBlock(c.vci, uid, tried)
		if errno != 0 {
			return grant{}, errno
		}
		points := -1
		ports, points, errno = bindBlock(first, ports)
		if errno == 0 {
			p.holdBlock(first, ports, points)
			if err := c.pool.Lease(first, ports); err == nil {
				c.sendAlong(c.s.timeWaits.takeOut(first, ports, uid))
				return grant{local: wire.Endpoint{Port: first}, ports: ports, points: []int{points}}, 0
			}
		}
		p.releaseBlock(c.vci, first)
		tried = append(tried, first)
	}
	p.runDry(clock())
	return grant{}, unix.EADDRNOTAVAIL
}

// runDry notes that the kernel has too many ports in use in all blocks that were tried.
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

// sendAlong gives the child connections in TIME-WAIT whose ports it is about to get. If it
// dies before it has them that is the end of TIME-WAIT.
func (c *child) sendAlong(rs []tcp.Remnant) {
	for len(rs) > 0 {
		m := message.Message{Type: message.TimeWait}
		n := min(len(rs), message.MaxPDU/tcp.RemnantLen)
		for i := range rs[:n] {
			m.PDU = rs[i].Append(m.PDU)
		}
		rs = rs[n:]
		if err := c.channel().SendMessage(&m); err != nil {
			return // nor will it hear that it has the block
		}
	}
}

// manyPorts is how many free ports of a block, as far as is known here, are enough to leave
// those with a connection in TIME-WAIT alone.
const manyPorts = 48

// reserveBlock finds a block of which nobody here uses most ports, beginning to look at a
// random one (RFC 6056 section 3.3.1), and returns its first port and those that nobody
// uses, so that all others find them in use. The blocks in tried are passed over.
//
// Ports with a connection in TIME-WAIT are not among them, if there is a block without: a
// network may still have packets of it. What tells these from the packets of another
// connection (RFC 6191), the clock of the timestamps, was the former program's own, and is
// in the book. So if it was the same user's the port goes with it, to be used as a program
// uses its own ports in TIME-WAIT.
func (p *portSpace) reserveBlock(child wire.VCI, uid int, tried []uint16) (first uint16, ports uint64, errno unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.use(child).blocks >= maxDeviceLeases {
		return 0, 0, unix.EMFILE
	}
	low, high := p.ports()
	from := (int(low) + nic.LeasePorts - 1) / nic.LeasePorts
	n := (int(high)+1)/nic.LeasePorts - from
	if n <= 0 || len(p.blocks) >= n-n/5 { // some stay for those who ask
		return 0, 0, unix.EADDRNOTAVAIL
	}
	used := p.flowPorts()
	var clean, most choice
	start := rand.IntN(n)
	for i := 0; i < n && clean.n < nic.LeasePorts; i++ {
		block := uint16((from + (start+i)%n) * nic.LeasePorts)
		if free := p.freePorts(block, used); free != 0 && !slices.Contains(tried, block) {
			all, others := p.waitingPorts(block, uid)
			clean.consider(block, free&^all)
			most.consider(block, free&^others)
		}
	}
	if clean.n >= manyPorts {
		most = clean
	}
	if most.n < leastPorts {
		return 0, 0, unix.EADDRNOTAVAIL
	}
	p.takeBlock(child, most.first, deviceLease{child, most.ports, -1})
	return most.first, most.ports, 0
}

// choice is the block with the most free ports of those that were considered.
type choice struct {
	first uint16
	ports uint64
	n     int
}

func (c *choice) consider(first uint16, ports uint64) {
	if n := bits.OnesCount64(ports); n > c.n {
		*c = choice{first, ports, n}
	}
}

// freePorts returns the ports of a block that nobody has bound or leased, nor have they a
// connection, which those in used have.
func (p *portSpace) freePorts(first uint16, used *portBlocks) uint64 {
	if _, ok := p.blocks[first]; ok {
		return 0
	}
	if _, ok := p.leases[blockOf(first)]; ok {
		return 0
	}
	free := ^used[waitBlock(first)]
	for n := range uint16(nic.LeasePorts) {
		if len(p.byPort[first+n]) > 0 {
			free &^= 1 << n
		}
	}
	return free
}

// takeBlock notes whose a block is. p.mu is held.
func (p *portSpace) takeBlock(child wire.VCI, first uint16, l deviceLease) {
	p.blocks[first] = l
	p.use(child).blocks++
}

// holdBlock notes which ports of a block were to be had, and what keeps them in the kernel.
func (p *portSpace) holdBlock(first uint16, ports uint64, points int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.blocks[first]
	l.ports, l.points = ports, points
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
func (p *portSpace) adoptBlock(child wire.VCI, first uint16, ports uint64, points int) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	errno := unix.Errno(0)
	switch _, taken := p.blocks[first]; {
	case first == 0 || first != deviceBlock(first) || ports == 0:
		errno = unix.EINVAL
	case p.use(child).blocks >= maxDeviceLeases:
		errno = unix.EMFILE
	case taken || !p.allUnused(first, ports):
		errno = unix.EADDRINUSE
	}
	if errno != 0 {
		unix.Close(points)
		return errno
	}
	p.takeBlock(child, first, deviceLease{child, ports, points})
	return 0
}

// allUnused is unused for some ports of a block.
func (p *portSpace) allUnused(first uint16, ports uint64) bool {
	for ; ports != 0; ports &= ports - 1 {
		if !p.unused(first+uint16(bits.TrailingZeros64(ports)), 1) {
			return false
		}
	}
	return true
}

// bindBlock binds ports of a block in the kernel, at all addresses. It returns those that
// the kernel had not in use, and one descriptor that keeps them so. The errno is EADDRINUSE
// if they are fewer than leastPorts.
func bindBlock(first uint16, ports uint64) (bound uint64, points int, errno unix.Errno) {
	fds := make([]int, 0, nic.LeasePorts)
	defer func() { message.CloseFiles(fds) }()
	for left := ports; left != 0; left &= left - 1 {
		n := bits.TrailingZeros64(left)
		if len(fds)+bits.OnesCount64(left) < leastPorts {
			return 0, -1, unix.EADDRINUSE
		}
		fd, errno := bindKernel(netip.AddrPortFrom(netip.IPv6Unspecified(), first+uint16(n)), false)
		switch errno {
		case 0:
			fds = append(fds, fd)
			bound |= 1 << n
		case unix.EADDRINUSE:
		default:
			return 0, -1, errno
		}
	}
	if len(fds) < leastPorts {
		return 0, -1, unix.EADDRINUSE
	}
	points, errno = parcel(fds)
	return bound, points, errno
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
