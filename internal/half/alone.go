package half

import (
	"syscall"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// A top half can do without a child: for testers, which have a network of their
// own and no connection server. It gives slots back itself then.

// Alone makes the top half do without a bottom half.
func (t *Top) Alone() { t.alone = true }

// Kick makes the top half look at its pool now: a driver of this process has
// something for it.
func (t *Top) Kick() {
	t.enter()
	t.step()
	t.leave()
}

// bury gives the slots of connections that are done back.
func (t *Top) bury() {
	for {
		i := t.delist(listBottom)
		if i == none {
			return
		}
		if t.aux[i].use == useDone {
			t.output(i) // a last RST
			t.purge(i)
			t.freeConn(i)
		}
	}
}

// Connect begins an active open by circuit. It returns EADDRNOTAVAIL if there
// is such a connection.
func (s *Socket) Connect(flow wire.Flow, circuit uint16) error {
	t := s.t
	t.enter()
	defer t.leave()
	t.now = t.clock()
	if t.lookup(&flow) != none {
		return syscall.EADDRNOTAVAIL
	}
	t.connect(s.i, flow, circuit, nil)
	t.settle()
	return nil
}

// SetNonblock makes calls that would wait fail with EAGAIN. Who asks for urgent
// data does never wait in the kernel, and does not wait after this.
func (s *Socket) SetNonblock(on bool) {
	s.t.enter()
	s.rd.nonblock, s.wr.nonblock, s.ur.nonblock = on, on, true
	s.t.leave()
}

// StopReading is shutdown(SHUT_RD) of Linux: a reader does not wait any more, but
// finds what has come, and what still comes. CloseRead gives that up.
func (s *Socket) StopReading() {
	t := s.t
	t.enter()
	s.deaf = true
	t.signal(&s.rd)
	t.signal(&s.ur)
	t.leave()
}

// State returns a copy of the connection, for whoever wants to look.
func (s *Socket) State() tcp.Conn {
	s.t.enter()
	defer s.t.leave()
	return s.t.conns[s.i]
}

// Ready reports whether a read and a write would not wait.
func (s *Socket) Ready() (read, write bool) {
	t := s.t
	t.enter()
	defer t.leave()
	c := &t.conns[s.i]
	have, fin := c.Readable()
	read = have > 0 && have >= c.Opt.RcvLowat || fin || s.deaf || c.State == tcp.Closed || t.aux[s.i].acceptHead != 0
	return read, c.Writable() || c.Error != tcp.ErrNone
}

// Failure returns why the connection has ended, if it has.
func (s *Socket) Failure() error {
	s.t.enter()
	defer s.t.leave()
	return s.failure()
}
