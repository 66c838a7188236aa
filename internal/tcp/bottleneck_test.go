package tcp

import (
	"math/rand/v2"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// link is a way with one bottleneck.
type link struct {
	rate   uint64 // octets a second of the bottleneck
	delay  Time   // of propagation, there and back
	buffer uint32 // octets that wait before the bottleneck, at most
	loss   float64
	jitter Time // of the way there, without reordering
	seed   uint64
}

// bottleneck is two engines joined by a path, under a virtual clock: one sends
// without end, the other reads all. Payload has no octets.
type bottleneck struct {
	t    testing.TB
	path link
	r    *rand.Rand
	now  Time
	snd  flowEnd
	rcv  flowEnd
	data transit // towards the receiver
	acks transit
	free Time // when the bottleneck will have sent all that waits

	sent, dropped int    // segments of data
	got           uint64 // octets read
	queued        Time   // sum of the time that segments waited
	pause         Time   // until then the program writes nothing
	offload       uint32 // octets that the sender's driver cuts
	trains        int    // segments made out by the engine, trains counted once
}

// flowEnd is one end, and its store of chunks.
type flowEnd struct {
	c    Conn
	m    Memory
	free []uint32
}

// transit is what is on its way in one direction, in order.
type transit struct {
	q    []carried
	head int
}

type carried struct {
	at  Time
	seg Segment
}

const (
	bottleneckMSS   = 1460
	bottleneckChunk = 64 << 10
	headerOctets    = 52
)

func newBottleneck(t testing.TB, p link, congestion uint8) *bottleneck {
	b := &bottleneck{t: t, path: p, r: rand.New(rand.NewPCG(p.seed, 9438)), now: 100 * Second}
	for _, e := range []*flowEnd{&b.snd, &b.rcv} {
		e.m.Chunks = make([]Chunk, 8192)
		e.m.Annexes = make([]Annex, 1)
		for i := range e.m.Chunks {
			e.free = append(e.free, uint32(i))
		}
		e.c.Opt = DefaultOptions()
		e.c.Opt.MSS = bottleneckMSS
		e.c.Opt.SndBuf, e.c.Opt.RcvBuf = 6<<20, 6<<20
		e.c.Opt.SndLock, e.c.Opt.RcvLock = 1, 1
		e.c.Opt.Congestion, e.c.Opt.ECN = congestion, ECNOff
	}
	b.snd.c.OpenActive(&b.snd.m, b.now, testFlow, ourISS)
	b.output(&b.snd)
	return b
}

// run lets d pass.
func (b *bottleneck) run(d Time) {
	for end := b.now + d; ; {
		at := min(b.snd.c.Deadline(), b.rcv.c.Deadline(), b.data.next(), b.acks.next())
		if b.pause > b.now {
			at = min(at, b.pause)
		}
		if at > end {
			b.now = end
			return
		}
		b.now = max(b.now, at)
		switch at {
		case b.data.next():
			b.arrive(&b.rcv, b.data.take())
		case b.acks.next():
			b.arrive(&b.snd, b.acks.take())
		default:
			b.snd.c.Timeout(&b.snd.m, b.now)
			b.rcv.c.Timeout(&b.rcv.m, b.now)
		}
		b.programs()
	}
}

func (q *transit) next() Time {
	if q.head == len(q.q) {
		return Never
	}
	return q.q[q.head].at
}

func (q *transit) take() *Segment {
	s := &q.q[q.head].seg
	if q.head++; q.head > 4096 && q.head*2 > len(q.q) {
		seg := *s
		q.q = append(q.q[:0], q.q[q.head:]...)
		q.head = 0
		return &seg
	}
	return s
}

func (q *transit) put(at Time, s *Segment) { q.q = append(q.q, carried{at, *s}) }

// arrive gives a segment to e.
func (b *bottleneck) arrive(e *flowEnd, seg *Segment) {
	seg.Payload = noChunks
	if seg.Len > 0 {
		i := e.alloc()
		e.m.Chunks[i] = Chunk{Len: seg.Len}
		seg.Payload = Queue{Head: i, Tail: i, Count: 1, Bytes: seg.Len}
	}
	if e.c.State == Closed && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN {
		opt, flow := e.c.Opt, wire.Flow{Local: testFlow.Remote, Remote: testFlow.Local}
		e.c.OpenPassive(&e.m, b.now, flow, peerISS, &opt, seg)
	} else {
		e.c.Input(&e.m, b.now, seg)
	}
	e.release(seg.Payload)
}

// programs lets both programs do what they can.
func (b *bottleneck) programs() {
	s := &b.snd
	s.gather()
	for least := b.least(); b.pause <= b.now && s.c.SendSpace() >= least; {
		i, n := s.alloc(), min(s.c.SendSpace(), bottleneckChunk)
		s.m.Chunks[i] = Chunk{Len: n}
		s.c.Append(&s.m, b.now, Queue{Head: i, Tail: i, Count: 1, Bytes: n})
	}
	b.rcv.gather()
	if n, _ := b.rcv.c.Readable(); n > 0 {
		b.got += uint64(n)
		b.rcv.c.Consume(&b.rcv.m, b.now, n)
		b.rcv.gather()
	}
	b.output(&b.snd)
	b.output(&b.rcv)
}

// least returns for how much room the program writes: where trains leave, SendSpace
// is never more than one of them.
func (b *bottleneck) least() uint32 {
	if b.offload > 0 {
		return 1
	}
	return bottleneckChunk
}

// output puts on the way what e has to send.
func (b *bottleneck) output(e *flowEnd) {
	var out Segment
	if e == &b.snd {
		e.c.SetOffload(b.offload)
	}
	for n := 0; e.c.HasOutput(); n++ {
		if n > 100_000 {
			b.t.Fatal("segments without end")
		}
		more := e.c.NextSegment(&e.m, b.now, &out)
		e.gather()
		if !more {
			return
		}
		if e == &b.rcv {
			b.acks.put(b.now+b.path.delay/2, &out)
			continue
		}
		b.trains++
		b.cut(out)
	}
}

// cut sends a segment, or what a driver makes of a train, through the bottleneck.
func (b *bottleneck) cut(out Segment) {
	rest := out.Len
	if out.SegSize != 0 {
		out.Len = out.SegSize
	}
	for ; rest > out.Len; rest -= out.SegSize {
		seg := out
		b.forward(&seg)
		out.Seq = out.Seq.Add(seq.Size(out.SegSize))
		out.Flags &^= wire.CWR
	}
	out.Len = rest
	b.forward(&out)
}

// forward sends a segment through the bottleneck.
func (b *bottleneck) forward(out *Segment) {
	b.sent++
	size := uint64(out.Len + headerOctets)
	b.free = max(b.free, b.now)
	wait := b.free - b.now
	if uint64(wait)*b.path.rate/uint64(Second)+size > uint64(b.path.buffer) || b.r.Float64() < b.path.loss {
		b.dropped++
		return
	}
	b.queued += wait
	b.free += takes(uint32(size), b.path.rate)
	at := b.free + b.path.delay/2
	if b.path.jitter > 0 {
		at += Time(b.r.Int64N(int64(b.path.jitter)))
	}
	if n := len(b.data.q); n > b.data.head {
		at = max(at, b.data.q[n-1].at)
	}
	b.data.put(at, out)
}

func (e *flowEnd) alloc() uint32 {
	i := e.free[len(e.free)-1]
	e.free = e.free[:len(e.free)-1]
	return i
}

// gather takes what the connection has freed.
func (e *flowEnd) gather() {
	for i := range e.c.Freed {
		e.release(e.c.Freed[i])
		e.c.Freed[i] = Queue{}
	}
	e.c.Spent = 0
	if e.c.WantsAnnex() {
		e.c.GiveAnnex(&e.m, 0)
	}
}

func (e *flowEnd) release(q Queue) {
	for i := q.Head; q.Count > 0; q.Count-- {
		next := e.m.Chunks[i].Next
		e.free = append(e.free, i)
		i = next
	}
}

// goodput runs a path for d and returns what arrived in Mbit/s of payload.
func goodput(t testing.TB, p link, congestion uint8, d Time) (mbit float64, b *bottleneck) {
	b = newBottleneck(t, p, congestion)
	b.run(d)
	if err := b.snd.c.CheckInvariants(&b.snd.m); err != nil {
		t.Errorf("%+v: %v", p, err)
	}
	return float64(b.got) * 8 / 1e6 / (float64(d) / 1e9), b
}
