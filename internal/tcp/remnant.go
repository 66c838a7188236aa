package tcp

import (
	"encoding/binary"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// Remnant is what TIME-WAIT needs of a connection: as much as answers segments as
// the whole connection would. It lets go of the rest, and of the process that has
// it.
type Remnant struct {
	Flow             wire.Flow
	End              Time // of TIME-WAIT
	sndNxt           seq.Number
	rcvNxt, rcvEdge  seq.Number
	tsRecent, offset uint32
	maxWnd           uint32 // tells an old acknowledgement from one that never was
	lastOdd          Time
	scale            uint8
	stamped          bool // timestamps are in use
	called           bool // a SYN has come, see flagCalled
}

// Remnant returns what TIME-WAIT needs of the connection; ok is false if it is not
// in TIME-WAIT, or still owes a segment.
func (c *Conn) Remnant() (r Remnant, ok bool) {
	if c.State != TimeWait || c.pending != 0 {
		return r, false
	}
	return Remnant{
		Flow: c.Flow, End: c.timers.at[timerLife],
		sndNxt: c.snd.nxt, rcvNxt: c.rcv.nxt, rcvEdge: c.rcv.edge,
		tsRecent: c.rcv.tsRecent, offset: c.snd.tsOffset, lastOdd: c.rcv.lastOdd,
		maxWnd: c.snd.maxWnd, scale: c.rcv.scale, stamped: c.has(flagTimestamps), called: c.has(flagCalled),
	}, true
}

// conn returns a connection that behaves as the one of the remnant did.
func (r *Remnant) conn(now Time) (c Conn) {
	c.Opt = DefaultOptions()
	c.State, c.Flow = TimeWait, r.Flow
	c.flags = flagFinQueued | flagFinKnown | flagFinReceived | flagOrphan
	if r.stamped {
		c.flags |= flagTimestamps
	}
	if r.called {
		c.flags |= flagCalled
	}
	c.snd.una, c.snd.nxt, c.snd.end = r.sndNxt, r.sndNxt, r.sndNxt.Add(^seq.Size(0))
	c.snd.mss, c.snd.maxWnd, c.snd.tsOffset = defaultMSS4, r.maxWnd, r.offset
	c.snd.next.chunk, c.snd.again.chunk = None, None
	c.cc.cwnd = c.snd.mss
	c.rcv.nxt, c.rcv.edge, c.rcv.acked = r.rcvNxt, r.rcvEdge, r.rcvNxt
	c.rcv.fin = r.rcvNxt.Add(^seq.Size(0))
	c.rcv.tsRecent, c.rcv.tsRecentAt = r.tsRecent, now
	c.rcv.lastOdd, c.rcv.scale = r.lastOdd, r.scale
	c.SndQ = Queue{Head: None, Tail: None}
	c.RcvQ = c.SndQ
	c.arm(timerLife, r.End)
	return c
}

// Restore makes c, which is fresh, a connection in TIME-WAIT as the remnant's was. It
// reports whether the remnant can be one: a program may have written anything into what it
// was made of.
func (r *Remnant) Restore(c *Conn, now Time) (ok bool) {
	*c = r.conn(now)
	return c.CheckInvariants(&Memory{}) == nil
}

// Input is Conn.Input: it returns whether there is an answer, and puts it into out. If
// TIME-WAIT is over after it, End is not later than now.
// The payload of seg, of which nothing can be new, is not looked at.
func (r *Remnant) Input(now Time, seg, out *Segment) bool {
	c := r.conn(now)
	m := Memory{Chunks: make([]Chunk, 1)}
	m.Chunks[0] = Chunk{Len: seg.Len, Next: None}
	if seg.Payload = (Queue{Head: None, Tail: None}); seg.Len > 0 {
		seg.Payload = Queue{Head: 0, Tail: 0, Count: 1, Bytes: seg.Len}
	}
	c.Input(&m, now, seg)
	answer := c.NextSegment(&m, now, out)
	r.End, r.lastOdd, r.tsRecent, r.called = c.timers.at[timerLife], c.rcv.lastOdd, c.rcv.tsRecent, c.has(flagCalled)
	if c.State != TimeWait {
		r.End = 0
	}
	return answer
}

// MayReopen is Conn.MayReopen.
func (r *Remnant) MayReopen(syn *Segment) bool {
	c := r.conn(r.End)
	return c.MayReopen(syn)
}

// MayReuse is Conn.MayReuse.
func (r *Remnant) MayReuse(now, least Time) bool {
	c := r.conn(now)
	return c.MayReuse(now, least)
}

// RemnantLen is the length of a remnant as octets.
const RemnantLen = 80

// Bits of one octet of it.
const (
	isStamped = 1 << iota
	isCalled
)

// Append appends the remnant as RemnantLen octets, little-endian.
func (r *Remnant) Append(b []byte) []byte {
	le := binary.LittleEndian
	for _, e := range [2]wire.Endpoint{r.Flow.Local, r.Flow.Remote} {
		b = append(b, e.Addr[:]...)
		b = le.AppendUint16(b, e.Port)
	}
	for _, t := range [2]Time{r.End, r.lastOdd} {
		b = le.AppendUint64(b, uint64(t))
	}
	for _, n := range [5]uint32{uint32(r.sndNxt), uint32(r.rcvNxt), uint32(r.rcvEdge), r.tsRecent, r.offset} {
		b = le.AppendUint32(b, n)
	}
	is := byte(0)
	if r.stamped {
		is |= isStamped
	}
	if r.called {
		is |= isCalled
	}
	b = append(b, r.scale, is, 0, 0)
	return le.AppendUint32(b, r.maxWnd)
}

// ParseRemnant reads what Append has written; ok is false if it cannot be that.
func ParseRemnant(b []byte) (r Remnant, ok bool) {
	if len(b) != RemnantLen {
		return r, false
	}
	le := binary.LittleEndian
	for i, e := range [2]*wire.Endpoint{&r.Flow.Local, &r.Flow.Remote} {
		copy(e.Addr[:], b[18*i:])
		e.Port = le.Uint16(b[18*i+16:])
	}
	r.End, r.lastOdd = Time(le.Uint64(b[36:])), Time(le.Uint64(b[44:]))
	r.sndNxt, r.rcvNxt, r.rcvEdge = seq.Number(le.Uint32(b[52:])), seq.Number(le.Uint32(b[56:])), seq.Number(le.Uint32(b[60:]))
	r.tsRecent, r.offset = le.Uint32(b[64:]), le.Uint32(b[68:])
	r.scale, r.stamped, r.called, r.maxWnd = b[72], b[73]&isStamped != 0, b[73]&isCalled != 0, le.Uint32(b[76:])
	ok = r.scale <= maxScale && b[73] <= isStamped|isCalled && r.rcvNxt.AtOrBefore(r.rcvEdge)
	return r, ok
}

// TimeWaitLength is how long TIME-WAIT lasts.
const TimeWaitLength = timeWait
