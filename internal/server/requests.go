package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// request does what the child asks for. It runs in the goroutine that receives
// the child's messages, one after the other.
func (c *child) request(m *message.Message) {
	switch m.Type {
	case message.Keep:
		c.keep(m)
		return
	case message.Usage:
		c.report(m)
		return
	}
	if <-c.ready; !c.s.hasJoined() {
		return
	}
	switch m.Type {
	case message.Listen:
		c.reply(m, c.listen)
	case message.Forward:
		c.reply(m, c.forward)
	case message.HandOver:
		c.reply(m, c.offer)
	case message.Move:
		c.reply(m, c.claim)
	case message.Divert:
		c.divert(m)
	case message.TimeWait:
		c.reply(m, func(m *message.Message) (grant, unix.Errno) {
			n, errno := c.leaveTimeWaits(m.PDU)
			return grant{local: m.Local, mtu: uint32(n)}, errno
		})
	default:
		panic("BUG: a message that no child sends the server was decoded as one")
	}
}

// grant is what a child gets: a local end, the kernel's bind points of it, and the
// MTU of the way by a device, 0 if there is none. Where connections in TIME-WAIT are
// taken their number stands there. Of a block for the devices ports says which are lent.
type grant struct {
	local  wire.Endpoint
	ports  uint64
	points []int
	mtu    uint32
	came   cameAlong
	at     wire.VCI // which child has what was asked for

	again   bool // the four numbers are in TIME-WAIT
	follows bool // the child has what is left of the connection in TIME-WAIT
}

// reply answers a request with what was granted and with an errno.
func (c *child) reply(m *message.Message, do func(*message.Message) (grant, unix.Errno)) {
	g, errno := do(m)
	r := message.Message{
		Type: message.GeneralReply, ID: m.ID, Errno: uint32(errno), Socket: m.Socket, VCI: g.at, Local: g.local, N: g.mtu, Ports: g.ports, Files: g.points,
	}
	if m.Type == message.Forward {
		r.N = message.ForwardGrant{MTU: uint16(g.mtu), Follows: g.follows}.N()
	}
	if m.Type == message.Move {
		r.N = message.MoveGrant{MTU: uint16(g.mtu), Bound: g.came&cameBound != 0, Reuse: g.came&cameReuse != 0}.N()
	}
	if g.came&cameIn != 0 {
		r.Socket = message.NoSocket
	}
	// One that ends does not wait for the answers to what it gives back.
	if err := c.channel().SendMessage(&r); err != nil && !errors.Is(err, unix.EPIPE) {
		c.s.log.Error("answering a child", "vci", c.vci, "err", err)
	}
}

// listen does a Listen: OpBind takes the local end (N=1: SO_REUSEADDR), OpListen
// lets SYNs for it come, OpClose gives it back. OpLease takes a block of
// ports, OpUnlease gives that back (N=1: for the devices).
func (c *child) listen(m *message.Message) (grant, unix.Errno) {
	id := socketID{c.vci, m.Socket}
	ports := c.s.ports
	switch m.Op {
	case message.OpBind:
		how, ok := message.BindHowOf(m.N)
		if !ok {
			return grant{local: m.Local}, unix.EINVAL
		}
		if c.s.tooManySockets(c) {
			return grant{local: m.Local}, unix.EMFILE
		}
		c.know(m.Local.Addr)
		return c.bind(id, m.Local, how)
	case message.OpListen:
		return grant{local: m.Local}, c.listenNIC(id)
	case message.OpUnlease:
		if m.N == 1 {
			return grant{local: m.Local}, c.unleaseNIC(m.Local.Port)
		}
		return grant{local: m.Local}, ports.unlease(c.vci, m.Local.Port)
	case message.OpLease:
		if m.N == 1 {
			return c.leaseNIC()
		}
		first, errno := c.lease()
		return grant{local: wire.Endpoint{Port: first}}, errno
	default:
		c.unlistenNIC(id)
		return grant{local: m.Local}, ports.unbind(id)
	}
}

// bindTries is how many ports are tried that the ring has free but the kernel
// has not.
const bindTries = 16

// bind takes a local end, from the kernel too if it is the kernel's (paper section
// 4.4.5).
func (c *child) bind(id socketID, want wire.Endpoint, how message.BindHow) (grant, unix.Errno) {
	ports := c.s.ports
	for range bindTries {
		local, errno := ports.bindShard(id, want, how.Reuse(), shardOf(how, c.owner().uid))
		if errno != 0 {
			return grant{local: want}, errno
		}
		points, errno := ports.siblingPoints(id)
		if errno == 0 && points == nil {
			points, errno = c.s.bindPoints(local, &c.app, how.Reuse())
		}
		if errno == 0 {
			ports.holdBind(id, points)
			return grant{local: local, points: points, mtu: c.s.listenMTU(local.Addr)}, 0
		}
		if ports.unbind(id) != 0 {
			panic("BUG: a local end just taken cannot be given back")
		}
		if want.Port != 0 || errno != unix.EADDRINUSE {
			return grant{local: want}, errno
		}
	}
	return grant{local: want}, unix.EADDRINUSE
}

// forward does a Forward: OpOpen takes a connection, OpClose gives it back. The
// remote end must be on a host of the ring, or there must be a way to it by a device
// that is served: EHOSTUNREACH, or what the kernel says.
func (c *child) forward(m *message.Message) (grant, unix.Errno) {
	if m.N != 0 && m.N != message.ForwardFollows {
		return grant{local: m.Local}, unix.EINVAL
	}
	if m.Op == message.OpClose {
		flow := wire.Flow{Local: m.Local, Remote: m.Remote}
		if m.N == message.ForwardUnused {
			c.goOnWaiting(flow)
		}
		c.disconnectNIC(flow)
		return grant{local: m.Local}, c.s.ports.close(c.vci, flow)
	}
	if c.s.tooManySockets(c) {
		return grant{local: m.Local}, unix.EMFILE
	}
	open := c.open
	if !c.s.onRing(m.Remote.Addr) {
		if c.pool == nil {
			return grant{local: m.Local}, c.noRoute(m)
		}
		open = c.openNIC
	}
	for range bindTries {
		g, errno := open(m, false)
		if errno != unix.EADDRINUSE || m.Local.Port != 0 {
			return g, errno
		}
	}
	return open(m, true)
}

// noRoute says what is wrong with a connection to a host that is not there.
func (c *child) noRoute(m *message.Message) unix.Errno {
	flow := wire.Flow{Local: m.Local, Remote: m.Remote}
	local, errno := c.s.ports.open(socketID{c.vci, m.Socket}, m.Local, m.Remote)
	if errno != 0 {
		return errno
	}
	flow.Local = local
	if c.s.ports.close(c.vci, flow) != 0 {
		panic("BUG: a connection just taken cannot be given back")
	}
	return unix.EHOSTUNREACH
}

// open takes a connection, and its local end from the kernel unless the socket
// has one already. If the kernel has had all ports that were tried again says so.
func (c *child) open(m *message.Message, again bool) (grant, unix.Errno) {
	id := socketID{c.vci, m.Socket}
	if again {
		return c.openAgain(m)
	}
	local, errno := c.s.ports.open(id, m.Local, m.Remote)
	if errno == unix.EADDRNOTAVAIL && m.Local.Port == 0 && m.Socket != message.NoSocket {
		return c.openAgain(m)
	}
	if errno != 0 || m.Socket == message.NoSocket || c.s.ports.isBound(id) {
		return grant{local: local}, errno
	}
	return c.hold(m, local)
}

// hold binds the local end of a connection that has just been taken in the kernel, or gives
// the connection back.
func (c *child) hold(m *message.Message, local wire.Endpoint) (grant, unix.Errno) {
	flow := wire.Flow{Local: local, Remote: m.Remote}
	points, errno := c.s.bindPoints(local, &c.app, true)
	if errno != 0 {
		c.s.ports.close(c.vci, flow)
		return grant{local: m.Local}, errno
	}
	c.s.ports.holdFlow(flow, points)
	return grant{local: local, points: points}, 0
}

// divert is the child's answer to a Syn. A refusal is passed on as RST; a child
// that has no room drops the SYN, as Linux does, and the connector tries again.
func (c *child) divert(m *message.Message) {
	syn, ok := c.syns.remove(m.ID)
	if !ok {
		return // it was too late, or there was none
	}
	switch unix.Errno(m.Errno) {
	case 0, unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM:
	default:
		c.s.reset(&syn)
	}
}
