package server

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// request does what the child asks for. It runs in the goroutine that receives
// the child's messages, one after the other.
func (c *child) request(m *message.Message) {
	<-c.ready
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

// reply answers a request with its local end and errno.
func (c *child) reply(m *message.Message, do func(*message.Message) (wire.Endpoint, unix.Errno)) {
	local, errno := do(m)
	r := message.Message{Type: message.GeneralReply, ID: m.ID, Errno: uint32(errno), Socket: m.Socket, Local: local}
	if err := c.control.Channel().SendMessage(&r); err != nil {
		c.s.log.Error("answering a child", "vci", c.vci, "err", err)
	}
}

// listen does a Listen: OpBind takes the local end (N=1: SO_REUSEADDR), OpListen
// lets SYNs for it come, OpClose gives it back. OpLease takes a block of ports.
func (c *child) listen(m *message.Message) (wire.Endpoint, unix.Errno) {
	id := socketID{c.vci, m.Socket}
	ports := c.s.ports
	switch m.Op {
	case message.OpBind:
		if m.N > 1 {
			return m.Local, unix.EINVAL
		}
		return ports.bind(id, m.Local, m.N == 1)
	case message.OpListen:
		return m.Local, ports.listen(id)
	case message.OpLease:
		first, errno := ports.lease(c.vci)
		return wire.Endpoint{Port: first}, errno
	default:
		return m.Local, ports.unbind(id)
	}
}

// forward does a Forward: OpOpen takes a connection, OpClose gives it back. The
// remote end must be on a host of the ring: EHOSTUNREACH.
func (c *child) forward(m *message.Message) (wire.Endpoint, unix.Errno) {
	ports := c.s.ports
	if m.Op == message.OpClose {
		return m.Local, ports.close(c.vci, wire.Flow{Local: m.Local, Remote: m.Remote})
	}
	id := socketID{c.vci, m.Socket}
	local, errno := ports.open(id, m.Local, m.Remote)
	if errno != 0 {
		return m.Local, errno
	}
	if _, ok := c.s.station.Route(m.Remote.Addr.Netip()); !ok {
		if errno := ports.close(c.vci, wire.Flow{Local: local, Remote: m.Remote}); errno != 0 {
			panic("BUG: a connection just taken cannot be given back")
		}
		return m.Local, unix.EHOSTUNREACH
	}
	return local, 0
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
