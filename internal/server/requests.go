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
func (c *child) reply(m *message.Message, do func(*message.Message) (wire.Endpoint, uint32, unix.Errno)) {
	local, mtu, errno := do(m)
	r := message.Message{Type: message.GeneralReply, ID: m.ID, Errno: uint32(errno), Socket: m.Socket, Local: local, N: mtu}
	if err := c.control.Channel().SendMessage(&r); err != nil {
		c.s.log.Error("answering a child", "vci", c.vci, "err", err)
	}
}

// listen does a Listen: OpBind takes the local end (N=1: SO_REUSEADDR), OpListen
// lets SYNs for it come, OpClose gives it back. The result has the MTU of the
// devices there, 0 if there are none.
func (c *child) listen(m *message.Message) (wire.Endpoint, uint32, unix.Errno) {
	id := socketID{c.vci, m.Socket}
	ports := c.s.ports
	switch m.Op {
	case message.OpBind:
		if m.N > 1 {
			return m.Local, 0, unix.EINVAL
		}
		if errno := c.mayBind(m.Local); errno != 0 {
			return m.Local, 0, errno
		}
		local, errno := ports.bind(id, m.Local, m.N == 1)
		return local, c.s.listenMTU(local.Addr), errno
	case message.OpListen:
		return m.Local, 0, c.listenNIC(id)
	default:
		c.unlistenNIC(id)
		return m.Local, 0, ports.unbind(id)
	}
}

// forward does a Forward: OpOpen takes a connection, OpClose gives it back. The
// remote end must be on a host of the ring, or there must be a way to it by a device
// that is served, whose MTU is returned: EHOSTUNREACH, or what the kernel says.
func (c *child) forward(m *message.Message) (wire.Endpoint, uint32, unix.Errno) {
	ports := c.s.ports
	if m.Op == message.OpClose {
		flow := wire.Flow{Local: m.Local, Remote: m.Remote}
		c.disconnectNIC(flow)
		return m.Local, 0, ports.close(c.vci, flow)
	}
	if c.pool != nil && !c.s.onRing(m.Remote.Addr) {
		return c.connectNIC(m)
	}
	id := socketID{c.vci, m.Socket}
	local, errno := ports.open(id, m.Local, m.Remote)
	if errno != 0 {
		return m.Local, 0, errno
	}
	if !c.s.onRing(m.Remote.Addr) {
		c.giveBack(wire.Flow{Local: local, Remote: m.Remote})
		return m.Local, 0, unix.EHOSTUNREACH
	}
	return local, 0, 0
}

// giveBack gives a connection back that has just been taken.
func (c *child) giveBack(flow wire.Flow) {
	if c.s.ports.close(c.vci, flow) != 0 {
		panic("BUG: a connection just taken cannot be given back")
	}
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
