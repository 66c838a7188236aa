package child

import (
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// socketLocks is how many requests, of different sockets, may go on at once.
const socketLocks = 64

// serverTimeout is how long the child waits for an answer of its server: long enough
// for one on a loaded machine to which hundreds of connections are asked for at once,
// shorter than a program's usual patience with one that is stopped.
const serverTimeout = 20 * time.Second

// request does what the application's process p asks for, and answers.
func (c *child) request(p *program, m *message.Message) {
	// Requests of one socket come one after the other, so that one that comes
	// again, since a child has died over it, finds what the first has done.
	if m.Type != message.NewSocket {
		l := &c.sockets[m.Socket%socketLocks]
		l.Lock()
		defer l.Unlock()
	}
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
	case message.HandOver:
		errno = c.offer(m)
	case message.Move:
		errno = c.claim()
	case message.TakeOver:
		c.handOut(p, m)
		return
	default:
		errno = unix.EOPNOTSUPP
	}
	r.Errno = uint32(errno)
	if err := p.ch.SendMessage(&r); err == nil {
		c.wake()
	}
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

// bind takes a local address.
func (c *child) bind(m *message.Message) (wire.Endpoint, unix.Errno) {
	if local, ok := c.record.bound(m.Socket); ok { // the child before this one has taken it
		return local, 0
	}
	how, ok := message.BindHowOf(m.N)
	if !ok {
		return m.Local, unix.EINVAL
	}
	c.awaitClosed(m.Local.Port)
	r, errno := c.agree(&message.Message{Type: message.Listen, Op: message.OpBind, Socket: m.Socket, Local: m.Local, N: m.N}, func(r *message.Message) {
		c.record.bind(m.Socket, r.Local, how, r.Files)
	})
	if errno != 0 {
		return m.Local, errno
	}
	c.bottom.SetMTU(m.Socket, r.N)
	if !c.bottom.Register(m.Socket, half.RegisteredBind) {
		c.giveBack(m.Socket, half.RegisteredBind, wire.Flow{})
		return m.Local, unix.EBADF
	}
	return r.Local, 0
}

// awaitClosed waits until sockets with a port that the program has closed have given it
// back: when Close has returned the port is to be had again, as with the kernel.
func (c *child) awaitClosed(port uint16) {
	if port == 0 {
		return
	}
	for socket, gone := range c.record.boundTo(port) {
		if !c.bottom.Departed(socket) {
			continue
		}
		select {
		case <-gone:
		case <-c.link.Load().control.Done():
		case <-time.After(serverTimeout):
		}
	}
}

// listen lets SYNs for the address come that was bound before.
func (c *child) listen(m *message.Message) unix.Errno {
	_, errno := c.agree(&message.Message{Type: message.Listen, Op: message.OpListen, Socket: m.Socket, Local: m.Local, N: m.N}, func(*message.Message) {
		c.record.listen(m.Socket)
	})
	return errno
}

// connect takes a connection and sends its SYN.
func (c *child) connect(m *message.Message) (wire.Endpoint, unix.Errno) {
	if flow, ok := c.record.opened(m.Socket); ok { // by the child before this one
		if c.bottom.Begun(m.Socket, flow) {
			return flow.Local, 0
		}
		c.giveBackUnused(m.Socket, flow) // what it has to follow, if anything, has gone with that child
	}
	o, errno := c.open(m)
	if errno != 0 {
		return m.Local, errno
	}
	flow, circuit := o.flow, c.circuitFor(m.Socket, o.flow, o.mtu)
	if c.bottom.Register(m.Socket, half.RegisteredFlow) && c.bottom.ConnectAfter(m.Socket, flow, circuit, o.was) {
		switch {
		case m.Local.Port != 0:
		case circuit == pool.NIC:
			go c.openedByDevice()
		default:
			go c.opened()
		}
		return flow.Local, 0
	}
	c.giveBackUnused(m.Socket, flow)
	return m.Local, unix.EBADF
}

// agree asks the server for something and notes what it has given, so that no new
// server comes in between.
func (c *child) agree(m *message.Message, note func(*message.Message)) (message.Message, unix.Errno) {
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	r, errno := c.ask(m)
	if errno == 0 {
		note(&r)
	}
	return r, errno
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
		return c.record.reuse(m.Socket, m.N != 0)
	}
	return 0
}
