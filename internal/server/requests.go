package server

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// request does what the child asks for. It runs in the goroutine that receives
// the child's messages, one after the other.
func (c *child) request(m *message.Message) {
	if m.Type == message.Keep {
		c.keep(m)
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
	case message.Divert:
		c.divert(m)
	default:
		panic("BUG: a message that no child sends the server was decoded as one")
	}
}

// reply answers a request with its local end, its bind points and its errno.
func (c *child) reply(m *message.Message, do func(*message.Message) (wire.Endpoint, []int, unix.Errno)) {
	local, points, errno := do(m)
	r := message.Message{Type: message.GeneralReply, ID: m.ID, Errno: uint32(errno), Socket: m.Socket, Local: local, Files: points}
	if err := c.channel().SendMessage(&r); err != nil {
		c.s.log.Error("answering a child", "vci", c.vci, "err", err)
	}
}

// listen does a Listen: OpBind takes the local end (N=1: SO_REUSEADDR), OpListen
// lets SYNs for it come, OpClose gives it back. OpLease takes a block of ports.
func (c *child) listen(m *message.Message) (wire.Endpoint, []int, unix.Errno) {
	id := socketID{c.vci, m.Socket}
	ports := c.s.ports
	switch m.Op {
	case message.OpBind:
		if m.N > 1 {
			return m.Local, nil, unix.EINVAL
		}
		return c.bind(id, m.Local, m.N == 1)
	case message.OpListen:
		return m.Local, nil, ports.listen(id)
	case message.OpLease:
		first, errno := c.lease()
		return wire.Endpoint{Port: first}, nil, errno
	default:
		return m.Local, nil, ports.unbind(id)
	}
}

// bindTries is how many ports are tried that the ring has free but the kernel
// has not.
const bindTries = 16

// bind takes a local end, from the kernel too if it is the kernel's (paper section
// 4.4.5).
func (c *child) bind(id socketID, want wire.Endpoint, reuse bool) (wire.Endpoint, []int, unix.Errno) {
	ports := c.s.ports
	for range bindTries {
		local, errno := ports.bind(id, want, reuse)
		if errno != 0 {
			return want, nil, errno
		}
		points, errno := c.s.bindPoints(local, c.app.uid, reuse)
		if errno == 0 {
			ports.holdBind(id, points)
			return local, points, 0
		}
		if ports.unbind(id) != 0 {
			panic("BUG: a local end just taken cannot be given back")
		}
		if want.Port != 0 || errno != unix.EADDRINUSE {
			return want, nil, errno
		}
	}
	return want, nil, unix.EADDRINUSE
}

// forward does a Forward: OpOpen takes a connection, OpClose gives it back. The
// remote end must be on a host of the ring: EHOSTUNREACH.
func (c *child) forward(m *message.Message) (wire.Endpoint, []int, unix.Errno) {
	if m.Op == message.OpClose {
		return m.Local, nil, c.s.ports.close(c.vci, wire.Flow{Local: m.Local, Remote: m.Remote})
	}
	if _, ok := c.s.station.Route(m.Remote.Addr.Netip()); !ok {
		return m.Local, nil, c.noRoute(m)
	}
	for range bindTries {
		local, points, errno := c.open(m)
		if errno != unix.EADDRINUSE || m.Local.Port != 0 {
			return local, points, errno
		}
	}
	return m.Local, nil, unix.EADDRNOTAVAIL
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
// has one already.
func (c *child) open(m *message.Message) (wire.Endpoint, []int, unix.Errno) {
	id := socketID{c.vci, m.Socket}
	local, errno := c.s.ports.open(id, m.Local, m.Remote)
	if errno != 0 || m.Socket == message.NoSocket || c.s.ports.isBound(id) {
		return local, nil, errno
	}
	flow := wire.Flow{Local: local, Remote: m.Remote}
	points, errno := c.s.bindPoints(local, c.app.uid, true)
	if errno != 0 {
		c.s.ports.close(c.vci, flow)
		return m.Local, nil, errno
	}
	c.s.ports.holdFlow(flow, points)
	return local, points, 0
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
