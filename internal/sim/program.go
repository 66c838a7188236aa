package sim

import (
	"fmt"
	"math/rand/v2"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// talk is a connection with the programs at both ends.
type talk struct {
	key     uint64
	ends    [2]*socket // the one that opened it, the one that accepted it
	streams [2]*stream // what each writes
	excuse  string     // why it may end with an error, if it may
}

// stream is one direction of a talk. Its octets are known from the key and where
// they stand.
type stream struct {
	key   uint64
	wrote int  // octets that a call of the writer has returned as written
	maybe int  // octets of a call that has not returned
	read  int  // octets that the reader has got
	ended bool // the writer has closed it in order: the reader may see the end
}

// octet returns the octet at place at of the stream.
func (s *stream) octet(at int) byte {
	x := (s.key + uint64(at/8)) * 0x9e3779b97f4a7c15
	return byte((x ^ x>>29) >> (at % 8 * 8))
}

func (s *stream) fill(b []byte, at int) {
	for i := range b {
		b[i] = s.octet(at + i)
	}
}

// ending is how a program is done with its socket.
type ending uint8

const (
	endShutdown ending = iota // ends its stream, reads to the end, closes
	endClose                  // closes at once, read or not
	endAbort
)

// activity is what one goroutine of a program does: it acts at a moment, or
// waits for an event.
type activity struct {
	at   tcp.Time // Never: it waits
	done bool
}

// socket is a program's socket: a goroutine that reads and one that writes.
type socket struct {
	h       *host
	i       uint32
	flow    wire.Flow
	talk    *talk
	r       *rand.Rand
	out, in *stream
	rd, wr  activity
	goal    int // octets to be written
	ending  ending
	lazy    bool // its reader takes its time
}

func newSocket(h *host, i uint32, flow wire.Flow, t *talk, side int) *socket {
	p := &h.w.plan
	s := &socket{h: h, i: i, flow: flow, talk: t, r: rand.New(rand.NewPCG(t.key, uint64(side)))}
	t.ends[side] = s
	s.in = t.stream(1-side, t.key)
	s.out = t.stream(side, t.key)
	s.rd.at, s.wr.at = h.w.now, h.w.now
	if p.Urgent {
		// An octet that is taken out of the stream would be missing there.
		h.top.SetOptions(i, func(o *tcp.ConnOptions) { o.UrgentInline = 1 })
	}
	s.goal = s.r.IntN(p.Volume + 1)
	if s.r.IntN(4) == 0 {
		s.goal = 0
	}
	if p.Odd {
		s.ending = pick(s.r, endShutdown, endShutdown, endClose, endAbort)
		s.lazy = s.r.IntN(2) == 0
	}
	return s
}

// happened wakes who waits for what has happened.
func (s *socket) happened(ev tcp.Event) {
	const both = tcp.EventError | tcp.EventClosed | tcp.EventEstablished
	now := s.h.w.now
	if ev&tcp.EventUrgent != 0 {
		s.h.w.result.Marks++
	}
	if ev&(tcp.EventReadable|both) != 0 && s.rd.at == tcp.Never {
		s.rd.at = now
	}
	if ev&(tcp.EventWritable|both) != 0 && s.wr.at == tcp.Never {
		s.wr.at = now
	}
}

// next returns when the program acts next by itself.
func (s *socket) next() tcp.Time {
	at := tcp.Never
	if !s.rd.done {
		at = s.rd.at
	}
	if !s.wr.done {
		at = min(at, s.wr.at)
	}
	return at
}

// act does what is due and reports whether that was anything.
func (s *socket) act() bool {
	now := s.h.w.now
	if s.next() > now {
		return false
	}
	if !s.wr.done && s.wr.at <= now {
		s.write()
	}
	if s.h.sockets[s.i] == s && !s.rd.done && s.rd.at <= now {
		s.read()
	}
	if s.h.sockets[s.i] == s && s.rd.done && s.wr.done {
		s.close()
	}
	return true
}

// pause returns how long the program does something else: nothing mostly.
func (s *socket) pause() tcp.Time {
	switch s.r.IntN(40) {
	case 0, 1, 2:
		return s.h.w.now + tcp.Time(s.r.Int64N(int64(tcp.Millisecond)))
	case 3:
		return s.h.w.now + tcp.Time(s.r.Int64N(int64(200*tcp.Millisecond)))
	}
	return s.h.w.now
}

// close is the program's last use of the socket.
func (s *socket) close() {
	s.h.w.trace("host %d socket %d closes: wrote %d, read %d", s.h.id, s.i, s.out.wrote, s.in.read)
	s.out.ended = true
	s.h.remove(s)
	s.h.top.Close(s.i)
}

func (s *socket) conn() *tcp.Conn { return s.h.top.Conn(s.i) }

// giveUp closes a socket whose other end may be gone without a word, as programs
// do whose patience is at its end. It reports false if there is no reason to.
func (s *socket) giveUp() bool {
	if s.talk.excuse == "" && !s.h.w.plan.Severe() {
		return false
	}
	s.talk.excuse = "given up"
	s.close()
	return true
}

// gone ends both activities of a socket whose connection has ended with an error,
// which must have a cause.
func (s *socket) gone(e tcp.Error) {
	w := s.h.w
	w.trace("host %d socket %d: %v", s.h.id, s.i, e)
	if s.talk.excuse == "" && !w.plan.Severe() {
		w.fail("host %d socket %d %v ends with an error and without a cause: %v", s.h.id, s.i, s.flow, e)
	}
	s.talk.excuse = e.String()
	w.result.Failed++
	s.rd.done, s.wr.done = true, true
}

func (s *socket) String() string {
	return fmt.Sprintf("socket %d %v %v: wrote %d of %d, read %d, reader done %v, writer done %v",
		s.i, s.flow, s.conn().State, s.out.wrote, s.goal, s.in.read, s.rd.done, s.wr.done)
}
