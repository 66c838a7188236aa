package tcp

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkConns is what a segment costs when there are many connections, which
// come in random order: a data segment in, read and acknowledged if that is due;
// and a write, its segment, and the acknowledgement of it. OneBusy is In and Out for
// one connection beside which all others are idle.
func BenchmarkConns(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		f := newFlock(b, n)
		b.Run(fmt.Sprintf("In/%d", n), func(b *testing.B) { f.bench(b, f.in) })
		b.Run(fmt.Sprintf("Out/%d", n), func(b *testing.B) { f.bench(b, f.send) })
		clear(f.order)
		b.Run(fmt.Sprintf("OneBusyIn/%d", n), func(b *testing.B) { f.bench(b, f.in) })
		b.Run(fmt.Sprintf("OneBusyOut/%d", n), func(b *testing.B) { f.bench(b, f.send) })
	}
}

// flock is many connections that share a few chunks.
type flock struct {
	conns []Conn
	order []uint32 // in which they come
	m     Memory
	seg   Segment
	out   Segment
	now   Time
}

func newFlock(tb testing.TB, n int) *flock {
	p := newPair(tb, 1460)
	f := &flock{conns: make([]Conn, n), order: make([]uint32, max(n, 1<<12)), m: p.m, seg: p.segment(0), now: p.now}
	for i := range f.conns {
		f.conns[i] = p.c
	}
	for i := range f.order {
		f.order[i] = uint32(i % n)
	}
	r := rand.New(rand.NewPCG(1, 1e5))
	r.Shuffle(len(f.order), func(i, j int) { f.order[i], f.order[j] = f.order[j], f.order[i] })
	return f
}

// bench lets step happen to one connection after the other. Between two steps of
// one connection 10 us go by.
func (f *flock) bench(b *testing.B, step func(c *Conn, chunk uint32)) {
	f.round(step) // so that all are warm
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		step(&f.conns[f.order[i]], uint32(i%64))
		if i++; i == len(f.order) {
			i = 0
		}
		if i%len(f.conns) == 0 {
			f.now += 10 * Microsecond
		}
	}
}

func (f *flock) round(step func(c *Conn, chunk uint32)) {
	for i := range f.conns {
		step(&f.conns[i], uint32(i%64))
	}
	f.now += 10 * Microsecond
}

// in lets a full segment arrive, be read, and be acknowledged if that is due.
func (f *flock) in(c *Conn, chunk uint32) {
	const n = 1448
	s := &f.seg
	s.Seq, s.Ack, s.Len = c.rcv.nxt, c.snd.nxt, n
	s.Payload = Queue{Head: chunk, Tail: chunk, Count: 1, Bytes: n}
	f.m.Chunks[chunk].Len = n
	c.Input(&f.m, f.now, s)
	for c.HasOutput() && c.NextSegment(&f.m, f.now, &f.out) {
	}
	c.Consume(&f.m, f.now, n)
	c.Freed[freedRead] = Queue{}
}

// send lets the program write a full segment, which leaves and is acknowledged.
func (f *flock) send(c *Conn, chunk uint32) {
	const n = 1448
	s := &f.seg
	f.m.Chunks[chunk] = Chunk{Len: n}
	c.Append(&f.m, f.now, Queue{Head: chunk, Tail: chunk, Count: 1, Bytes: n})
	for c.HasOutput() && c.NextSegment(&f.m, f.now, &f.out) {
	}
	s.Seq, s.Ack, s.Len, s.Payload = c.rcv.nxt, c.snd.nxt, 0, Queue{}
	s.Options.TSEcr = c.tsNow(f.now)
	c.Input(&f.m, f.now, s)
	c.Freed[freedSent] = Queue{}
}
