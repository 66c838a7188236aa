package child

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// serverTimeout is how long the child waits for an answer of its server.
const serverTimeout = 4 * time.Second

// request does what the application asks for, and answers.
func (c *child) request(m *message.Message) {
	r := message.Message{Type: message.GeneralReply, ID: m.ID, Socket: m.Socket, Local: m.Local}
	var errno unix.Errno
	switch m.Type {
	case message.NewSocket:
		if m.Op == message.OpLink {
			r.Files, errno = c.linkFiles(m.N)
		}
	case message.Bind:
		r.Type = message.BindReply
		r.Local, errno = c.bind(m)
	case message.ListenChild:
		errno = c.listen(m)
	case message.Connect:
		r.Type = message.ConnectReply
		r.Local, errno = c.connect(m)
	case message.SetTxBufs, message.SetRxBufs, message.SetReuseAddr:
		errno = c.set(m)
	default:
		errno = unix.EOPNOTSUPP
	}
	r.Errno = uint32(errno)
	if err := c.user.SendMessage(&r); err == nil {
		c.wake()
	}
}

// ask sends a request to the server and returns its answer.
func (c *child) ask(m *message.Message) (message.Message, unix.Errno) {
	ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
	defer cancel()
	r, err := c.control.Call(ctx, m)
	switch {
	case errors.Is(err, message.ErrEnded):
		return r, unix.EHOSTDOWN
	case err != nil:
		return r, unix.ETIMEDOUT
	}
	return r, unix.Errno(r.Errno)
}

// linkFiles returns the descriptors of a circuit.
func (c *child) linkFiles(n uint32) (files []int, errno unix.Errno) {
	errno = unix.ENOENT
	c.bottom.Change(func() {
		if n < pool.MaxCircuit {
			if files = c.driver.Files(uint16(n)); files != nil {
				errno = 0
			}
		}
	})
	return files, errno
}

// bind takes a local address, from the kernel first if it is the kernel's too
// (paper section 4.4.5).
func (c *child) bind(m *message.Message) (wire.Endpoint, unix.Errno) {
	for range bindTries {
		r, errno := c.ask(&message.Message{Type: message.Listen, Op: message.OpBind, Socket: m.Socket, Local: m.Local, N: m.N})
		if errno != 0 {
			return m.Local, errno
		}
		errno = c.points.take(m.Socket, r.Local, c.kernelAddrs(r.Local), m.N != 0)
		if errno == 0 {
			c.bottom.SetMTU(m.Socket, r.N)
			if !c.bottom.Register(m.Socket, half.RegisteredBind) {
				c.giveBack(m.Socket, half.RegisteredBind, wire.Flow{})
				return m.Local, unix.EBADF
			}
			return r.Local, 0
		}
		c.ask(&message.Message{Type: message.Listen, Op: message.OpClose, Socket: m.Socket, Local: r.Local})
		if m.Local.Port != 0 || errno != unix.EADDRINUSE {
			return m.Local, errno
		}
	}
	return m.Local, unix.EADDRINUSE
}

// bindTries is how many ports are tried that the ring has free but the kernel
// has not.
const bindTries = 16

// listen lets SYNs for the address come that was bound before.
func (c *child) listen(m *message.Message) unix.Errno {
	_, errno := c.ask(&message.Message{Type: message.Listen, Op: message.OpListen, Socket: m.Socket, Local: m.Local, N: m.N})
	return errno
}

// connect takes a connection and sends its SYN.
func (c *child) connect(m *message.Message) (wire.Endpoint, unix.Errno) {
	for range bindTries {
		r, errno := c.ask(&message.Message{Type: message.Forward, Op: message.OpOpen, Socket: m.Socket, Local: m.Local, Remote: m.Remote})
		if errno != 0 {
			return m.Local, errno
		}
		flow := wire.Flow{Local: r.Local, Remote: m.Remote}
		if !c.points.has(m.Socket) {
			errno = c.points.take(m.Socket, r.Local, c.kernelAddrs(r.Local), true)
		}
		if errno == 0 {
			return r.Local, c.begin(m.Socket, flow, r.N)
		}
		c.ask(&message.Message{Type: message.Forward, Op: message.OpClose, Socket: m.Socket, Local: r.Local, Remote: m.Remote})
		if m.Local.Port != 0 || errno != unix.EADDRINUSE {
			return m.Local, errno
		}
	}
	return m.Local, unix.EADDRNOTAVAIL
}

// giveBack tells the server what is free again, and closes the kernel's bind
// point last.
func (c *child) giveBack(socket uint32, what half.Registered, flow wire.Flow) {
	if what&half.RegisteredFlow != 0 {
		c.ask(&message.Message{Type: message.Forward, Op: message.OpClose, Socket: socket, Local: flow.Local, Remote: flow.Remote})
	}
	if what&half.RegisteredBind != 0 {
		c.keepFlows(flow.Local)
		c.ask(&message.Message{Type: message.Listen, Op: message.OpClose, Socket: socket})
	}
	c.points.drop(socket)
}

// set changes a limit of the pool, or an option of a bind point.
func (c *child) set(m *message.Message) unix.Errno {
	switch m.Type {
	case message.SetRxBufs:
		if m.N == 0 || !c.bottom.Change(func() { c.bottom.SetRxLimit(int(m.N)) }) {
			return unix.EINVAL
		}
	case message.SetTxBufs:
		if m.N == 0 || !c.bottom.Change(func() { c.setTxLimit(int(m.N)) }) {
			return unix.EINVAL
		}
	default:
		return c.points.reuse(m.Socket, m.N != 0)
	}
	return 0
}
