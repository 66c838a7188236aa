package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

// pair is a connection with chunks but without octets, established with an MSS.
type pair struct {
	c   Conn
	m   Memory
	now Time
	out Segment
}

func newPair(tb testing.TB, mss uint16) *pair {
	p := &pair{now: Second}
	p.m.Chunks = make([]Chunk, 4096)
	opt := DefaultOptions()
	opt.MSS = mss
	opt.RcvBuf, opt.SndBuf = 4<<20, 4<<20
	syn := Segment{Seq: peerISS, Flags: sS, Window: 65535}
	syn.Options = wire.Options{
		Present: wire.HasMSS | wire.HasTimestamps | wire.HasWindowScale | wire.HasSACKPermitted,
		MSS:     mss, WindowScale: 10, TSVal: 1,
	}
	p.c.OpenPassive(&p.m, p.now, testFlow, ourISS, &opt, &syn)
	if !p.c.NextSegment(&p.m, p.now, &p.out) {
		tb.Fatal("no SYN-ACK")
	}
	ack := p.segment(0)
	p.c.Input(&p.m, p.now, &ack)
	if p.c.State != Established {
		tb.Fatal(p.c.State)
	}
	p.c.cc.cwnd = 8 << 20
	return p
}

// segment returns the next segment of the peer, with n octets in chunk 1.
func (p *pair) segment(n uint32) Segment {
	seg := Segment{Seq: p.c.rcv.nxt, Ack: p.c.snd.nxt, Flags: sA, Window: 65535, Len: n}
	seg.Options.Present = wire.HasTimestamps
	seg.Options.TSVal, seg.Options.TSEcr = 1, p.c.tsNow(p.now)
	return seg
}

// receive lets a segment of n octets arrive, be acknowledged if that is due, and
// be read.
func (p *pair) receive(seg *Segment, chunk, n uint32) {
	seg.Seq = p.c.rcv.nxt
	seg.Ack = p.c.snd.nxt
	seg.Len = n
	seg.Payload = Queue{Head: chunk, Tail: chunk, Count: 1, Bytes: n}
	p.m.Chunks[chunk].Len = n
	p.c.Input(&p.m, p.now, seg)
	for p.c.HasOutput() && p.c.NextSegment(&p.m, p.now, &p.out) {
	}
	p.c.Consume(&p.m, p.now, n)
	p.c.Freed[freedRead] = Queue{}
	p.now += 10 * Microsecond
}

// send lets the program write n octets, which leave and are acknowledged.
func (p *pair) send(ack *Segment, chunk, n uint32) {
	p.m.Chunks[chunk] = Chunk{Len: n}
	p.c.Append(&p.m, p.now, Queue{Head: chunk, Tail: chunk, Count: 1, Bytes: n})
	for p.c.HasOutput() && p.c.NextSegment(&p.m, p.now, &p.out) {
	}
	ack.Seq = p.c.rcv.nxt
	ack.Ack = p.c.snd.nxt
	p.c.Input(&p.m, p.now, ack)
	p.c.Freed[freedSent] = Queue{}
	p.now += 10 * Microsecond
}

var benchSizes = []struct {
	name string
	mss  uint16
	n    uint32
}{{"64KB", 65495, 65483}, {"1448", 1460, 1448}, {"1", 1460, 1}}

// BenchmarkSegmentIn is a data segment in, its acknowledgement if one is due, and
// the program's reading.
func BenchmarkSegmentIn(b *testing.B) {
	for _, x := range benchSizes {
		b.Run(x.name, func(b *testing.B) {
			p := newPair(b, x.mss)
			seg := p.segment(0)
			i := uint32(0)
			b.ReportAllocs()
			b.SetBytes(int64(x.n))
			for b.Loop() {
				i++
				p.receive(&seg, i%64, x.n)
			}
		})
	}
}

// BenchmarkSegmentOut is a write, its segment, and the acknowledgement that comes
// back.
func BenchmarkSegmentOut(b *testing.B) {
	for _, x := range benchSizes {
		b.Run(x.name, func(b *testing.B) {
			p := newPair(b, x.mss)
			ack := p.segment(0)
			i := uint32(0)
			b.ReportAllocs()
			b.SetBytes(int64(x.n))
			for b.Loop() {
				i++
				p.send(&ack, i%64, x.n)
			}
		})
	}
}

// BenchmarkNextSegment is the making of one segment of new data alone.
func BenchmarkNextSegment(b *testing.B) {
	p := newPair(b, 1460)
	fresh := p.c
	left := 0
	b.ReportAllocs()
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			p.c = fresh
			for i := range uint32(64) {
				p.m.Chunks[i] = Chunk{Len: 1448 * 32, Next: i + 1}
			}
			p.c.Append(&p.m, p.now, Queue{Tail: 63, Count: 64, Bytes: 64 * 32 * 1448})
			left = 64 * 32
			b.StartTimer()
		}
		if !p.c.NextSegment(&p.m, p.now, &p.out) {
			b.Fatal("no segment")
		}
		left--
	}
}

// BenchmarkTrain is the making of one train of 44 segments of new data, to be
// cut by the driver: compare its time for a segment with BenchmarkNextSegment's.
func BenchmarkTrain(b *testing.B) {
	const train = 44 * 1448
	p := newPair(b, 1460)
	p.c.SetOffload(train)
	fresh := p.c
	left := 0
	b.ReportAllocs()
	b.SetBytes(train)
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			p.c = fresh
			for i := range uint32(64) {
				p.m.Chunks[i] = Chunk{Len: train, Next: i + 1}
			}
			p.c.Append(&p.m, p.now, Queue{Tail: 63, Count: 64, Bytes: 64 * train})
			left = 64
			b.StartTimer()
		}
		if !p.c.NextSegment(&p.m, p.now, &p.out) || p.out.Len != train {
			b.Fatalf("no train: %d octets", p.out.Len)
		}
		left--
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/44, "ns/segment")
}

// BenchmarkInput is the arrival of one segment of data in order alone.
func BenchmarkInput(b *testing.B) {
	p := newPair(b, 1460)
	seg := p.segment(0)
	fresh := p.c
	left := 0
	b.ReportAllocs()
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			p.c = fresh
			left = 2000
			b.StartTimer()
		}
		left--
		i := uint32(left)
		p.m.Chunks[i] = Chunk{Len: 1448}
		seg.Seq, seg.Len = p.c.rcv.nxt, 1448
		seg.Payload = Queue{Head: i, Tail: i, Count: 1, Bytes: 1448}
		p.c.Input(&p.m, p.now, &seg)
	}
}

// BenchmarkAckIn is the arrival of one acknowledgement of a segment alone.
func BenchmarkAckIn(b *testing.B) {
	p := newPair(b, 1460)
	p.m.Chunks[0] = Chunk{Len: 3 << 20}
	p.c.Append(&p.m, p.now, Queue{Count: 1, Bytes: 3 << 20})
	for p.c.NextSegment(&p.m, p.now, &p.out) {
	}
	full := p.c
	ack := p.segment(0)
	at := full.snd.una
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(1448)
		if !at.Before(full.snd.nxt) {
			p.c = full
			at = full.snd.una.Add(1448)
		}
		ack.Ack = at
		p.c.Input(&p.m, p.now, &ack)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	p := newPair(t, 1460)
	seg := p.segment(0)
	ack := p.segment(0)
	i := uint32(0)
	if n := testing.AllocsPerRun(1000, func() {
		i++
		p.receive(&seg, i%64, 1448)
		p.send(&ack, 64+i%64, 1448)
	}); n != 0 {
		t.Errorf("%v allocations for a segment in and one out", n)
	}
}
