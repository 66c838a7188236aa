package sim

import "usertcp/internal/tcp"

// stream returns what side writes, made when first asked for.
func (t *talk) stream(side int, key uint64) *stream {
	if t.streams[side] == nil {
		t.streams[side] = &stream{key: key + uint64(side)<<40}
	}
	return t.streams[side]
}

// opening reports whether the handshake is not complete, and nothing can be done
// before it is.
func opening(c *tcp.Conn) bool {
	return c.State == tcp.SynSent && !c.FastHeld() || c.State == tcp.SynReceived && !c.FastPending()
}

// write is a turn of the writing goroutine.
func (s *socket) write() {
	c := s.conn()
	switch {
	case opening(c):
		s.wr.at = tcp.Never
		return
	case c.Error != tcp.ErrNone:
		s.gone(c.Error)
		return
	case c.State != tcp.Established && c.State != tcp.CloseWait && !c.FastHeld() && !c.FastPending():
		s.wr.done = true // the connection has ended in order, as far as we know
		return
	case s.out.wrote >= s.goal:
		s.endWriting()
		return
	}
	if s.h.w.plan.Odd && s.r.IntN(10) == 0 {
		s.oddity()
	}
	want := min(s.goal-s.out.wrote, 1+s.r.IntN(pick(s.r, 10, 2000, 70000)))
	b := make([]byte, want)
	s.out.fill(b, s.out.wrote)
	s.out.maybe = want
	s.h.mayDie(s, dieWriting, b)
	n := s.send(b)
	s.out.maybe = 0
	s.out.wrote += n
	if n == 0 {
		s.wr.at = tcp.Never
		if c := s.conn(); c.Error != tcp.ErrNone || c.State != tcp.Established && c.State != tcp.CloseWait && !opening(c) && !c.FastHeld() && !c.FastPending() {
			s.wr.at = s.h.w.now
		}
		return
	}
	s.wr.at = s.pause()
}

// send writes b, now and then as urgent data.
func (s *socket) send(b []byte) int {
	if s.h.w.plan.Urgent && s.r.IntN(4) == 0 {
		s.h.w.result.Urgent++
		return s.h.top.WriteUrgent(s.i, b)
	}
	return s.h.top.Write(s.i, b)
}

// endWriting does what the program does when it has written all.
func (s *socket) endWriting() {
	s.wr.done = true
	switch s.ending {
	case endShutdown:
		s.h.w.trace("host %d socket %d shuts down after %d", s.h.id, s.i, s.out.wrote)
		s.out.ended = true
		s.h.top.Shutdown(s.i)
	case endClose:
		s.talk.excuse = "closed without reading to the end"
		s.close()
	case endAbort:
		s.h.w.trace("host %d socket %d aborts after %d", s.h.id, s.i, s.out.wrote)
		s.talk.excuse = "aborted"
		s.h.remove(s)
		s.h.top.Abort(s.i)
	}
}

// read is a turn of the reading goroutine.
func (s *socket) read() {
	c := s.conn()
	if opening(c) {
		s.rd.at = tcp.Never
		return
	}
	if s.h.w.plan.Odd && s.r.IntN(200) == 0 {
		s.h.w.trace("host %d socket %d reads no more", s.h.id, s.i)
		s.rd.done = true
		s.talk.excuse = "closed without reading to the end"
		s.h.top.CloseRead(s.i)
		return
	}
	b := make([]byte, 1+s.r.IntN(pick(s.r, 100, 5000, 70000)))
	s.h.mayDie(s, dieReading, nil)
	n, fin := s.h.top.Read(s.i, b)
	s.compare(b[:n])
	switch {
	case fin:
		s.endReading()
	case n > 0:
		s.rd.at = s.pause()
		if s.lazy && !s.h.w.healed && s.r.IntN(10) == 0 {
			s.rd.at += tcp.Time(s.r.Int64N(int64(5 * tcp.Second)))
		}
	case c.Error != tcp.ErrNone:
		s.gone(c.Error)
	case c.State == tcp.Closed:
		s.h.w.fail("host %d socket %d %v is closed without an end of the stream or an error", s.h.id, s.i, s.flow)
	default:
		s.rd.at = tcp.Never
	}
}

// compare checks what was read against what was written.
func (s *socket) compare(b []byte) {
	in := s.in
	for i, x := range b {
		if x != in.octet(in.read+i) {
			s.h.w.fail("host %d socket %d %v: octet %d is %#x, and was written as %#x", s.h.id, s.i, s.flow, in.read+i, x, in.octet(in.read+i))
		}
	}
	in.read += len(b)
	s.h.w.result.Octets += len(b)
	if in.read > in.wrote+in.maybe {
		s.h.w.fail("host %d socket %d %v: %d octets read, %d written", s.h.id, s.i, s.flow, in.read, in.wrote)
	}
}

// endReading is the end of the stream.
func (s *socket) endReading() {
	in := s.in
	s.rd.done = true
	if !in.ended || in.read < in.wrote {
		s.h.w.fail("host %d socket %d %v: the stream ends after %d octets; %d were written, ended by its writer: %v", s.h.id, s.i, s.flow, in.read, in.wrote, in.ended)
	}
}
