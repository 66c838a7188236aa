package tcp

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

var soakSeed = flag.Uint64("seed", 0, "run only this seed of the soak test")

// TestSoak lets two engines exchange streams over a network that loses, delays,
// reorders and duplicates, under a virtual clock, and compares what arrives.
func TestSoak(t *testing.T) {
	if *soakSeed != 0 {
		runSoak(t, *soakSeed)
		return
	}
	seeds := uint64(500)
	if testing.Short() {
		seeds = 100
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		runSoak(t, seed)
	}
}

// flying is a segment on its way.
type flying struct {
	at  Time
	n   int // order of departure
	to  *host
	seg Segment
	b   []byte
}

// host is one end of the soak.
type host struct {
	end
	name   string
	peer   *host
	write  []byte // what its program writes
	wrote  int
	got    []byte // what its program has read
	closed bool
	edge   seq.Number // largest that its window ever promised
	seen   bool       // edge is valid

	marked, markedOctets uint32 // of what it sent
}

// soak is a network of two hosts.
type soak struct {
	t      *testing.T
	r      *rand.Rand
	now    Time
	a, b   *host
	wire   []flying
	sent   int
	loss   float64
	dup    float64
	fast   bool    // data of a SYN is taken
	mark   float64 // of the packets that may be
	delay  Time
	jitter Time
	piece  int
}

func runSoak(t *testing.T, seed uint64) {
	s := newSoak(t, rand.New(rand.NewPCG(seed, 9293)))
	defer func() {
		if p := recover(); p != nil || t.Failed() {
			t.Fatalf("seed %d: %v; repeat with -run TestSoak -seed %d", seed, p, seed)
		}
	}()
	for steps := 0; !s.done(); steps++ {
		if steps > 40000 || s.now > 24*3600*Second {
			t.Errorf("seed %d: not done after %d steps and %d s: %s, %s", seed, steps, s.now/Second,
				s.a.status(), s.b.status())
			return
		}
		if !s.turn() {
			t.Errorf("seed %d: nothing will ever happen: %s, %s", seed, s.a.status(), s.b.status())
			return
		}
	}
	s.verdict(seed)
}

func newSoak(t *testing.T, r *rand.Rand) *soak {
	s := &soak{
		t: t, r: r, now: Time(1 + r.Int64N(int64(1000*Second))),
		loss: r.Float64() * 0.15, dup: r.Float64() * 0.1, jitter: Time(r.Int64N(int64(20 * Millisecond))),
		piece: 70 + r.IntN(slot), delay: Millisecond, mark: r.Float64() * 0.3,
	}
	s.a = &host{name: "a", write: pattern(r.IntN(1000), r.IntN(40000))}
	s.b = &host{name: "b", write: pattern(r.IntN(1000), r.IntN(40000)), peer: s.a}
	s.a.peer = s.b
	for _, h := range []*host{s.a, s.b} {
		h.st = newStore(2048)
		h.c.Opt = s.options()
	}
	flowB := wire.Flow{Local: testFlow.Remote, Remote: testFlow.Local}
	issA, issB := seq.Number(r.Uint32()), seq.Number(r.Uint32())
	if r.IntN(2) == 0 {
		issA, issB = -seq.Number(r.Uint32N(20000)), -seq.Number(r.Uint32N(20000))
	}
	s.a.c.OpenActive(&s.a.st.m, s.now, testFlow, issA)
	if r.IntN(4) == 0 {
		s.b.c.OpenActive(&s.b.st.m, s.now, flowB, issB)
	} else {
		s.b.c.Flow, s.b.c.snd.iss = flowB, issB // opened by the first SYN
	}
	return s
}

func (s *soak) options() ConnOptions {
	o := DefaultOptions()
	o.MSS = uint16(100 + s.r.IntN(1361))
	o.SndBuf = uint32(500 + s.r.IntN(60000))
	o.RcvBuf = uint32(500 + s.r.IntN(60000))
	for _, sw := range []*uint8{&o.NoDelay, &o.Cork, &o.QuickAck, &o.Timestamps, &o.SACK, &o.WindowScaling, &o.KeepAlive} {
		*sw = uint8(s.r.IntN(2))
	}
	o.Congestion, o.Pacing = uint8(s.r.IntN(numCongestion)), uint8(s.r.IntN(2))
	o.KeepIdle, o.KeepInterval, o.ECN = 5, 3, uint8(s.r.IntN(6))
	o.SynRetries, o.SynAckTries, o.DataRetries, o.KeepCount = 100, 100, 100, 100
	return o
}

// turn lets the next thing happen: a program does something, a segment arrives,
// or time passes until something is due.
func (s *soak) turn() bool {
	if s.r.IntN(3) == 0 {
		s.program(s.a)
		s.program(s.b)
	}
	next := min(s.a.c.Deadline(), s.b.c.Deadline())
	first := -1
	for i := range s.wire {
		f := &s.wire[i]
		if f.at < next || f.at == next && first >= 0 && f.n < s.wire[first].n {
			next, first = f.at, i
		}
	}
	if next == Never {
		busy := s.a.busy() || s.b.busy()
		s.program(s.a)
		s.program(s.b)
		return busy || s.done()
	}
	s.now = max(s.now, next)
	if first >= 0 {
		f := s.wire[first]
		s.wire = append(s.wire[:first], s.wire[first+1:]...)
		s.arrive(&f)
		return true
	}
	for _, h := range []*host{s.a, s.b} {
		h.step(s.t, h.name+" Timeout", func() { h.c.Timeout(&h.st.m, s.now) })
		s.output(h)
	}
	return true
}

// busy reports whether the program of h has something left to do.
func (h *host) busy() bool {
	n, _ := h.c.Readable()
	return n > 0 || h.wrote < len(h.write) || !h.closed
}

func (s *soak) arrive(f *flying) {
	h := f.to
	f.seg.Payload = h.st.put(f.b, s.piece)
	switch {
	case h.c.State == Closed && h.c.Stats.SegsOut > 0:
		// Gone, perhaps after TIME-WAIT, while the peer waits for an acknowledgement.
		var out Segment
		if ResetFor(&f.seg, &out) {
			s.launch(h, &out)
		}
	case h.c.State == Closed:
		if f.seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN {
			opt, flow, iss := h.c.Opt, h.c.Flow, h.c.snd.iss
			h.step(s.t, "OpenPassive", func() { h.c.OpenPassive(&h.st.m, s.now, flow, iss, &opt, &f.seg) })
			if s.fast && f.seg.Len > 0 {
				h.c.AcceptFast()
				h.step(s.t, "Input of the SYN", func() { h.c.Input(&h.st.m, s.now, &f.seg) })
			}
		}
	default:
		h.step(s.t, h.name+" Input", func() { h.c.Input(&h.st.m, s.now, &f.seg) })
	}
	h.st.give(f.seg.Payload)
	s.output(h)
}

// output sends what h has to send.
func (s *soak) output(h *host) {
	for range 1000 {
		var out Segment
		more := false
		h.step(s.t, h.name+" NextSegment", func() { more = h.c.NextSegment(&h.st.m, s.now, &out) })
		if !more {
			return
		}
		s.checkSegment(h, &out)
		s.launch(h, &out)
	}
	s.t.Fatal("segments without end")
}

// checkSegment checks what must hold for all segments that leave.
func (s *soak) checkSegment(h *host, out *Segment) {
	size := out.Len + uint32(out.Options.SACKBlocks)*8
	if out.Options.Has(wire.HasAccECN) {
		size += uint32(2+3*out.Options.AccECNCount+3) &^ 3
	}
	if n := size - out.Len + timestampsLen; out.Flags&wire.SYN == 0 && n > optionsLen+timestampsLen {
		s.t.Fatalf("%d octets of options", n)
	}
	if out.Options.Has(wire.HasTimestamps) {
		size += timestampsLen
	}
	if most := min(h.c.Opt.MSS, h.peer.c.Opt.MSS); h.c.State.Synchronized() && out.Len > 0 && size > uint32(most) {
		s.t.Fatalf("a segment of %d octets with its options; MSS is %d", size, most)
	}
	if out.Flags&wire.ACK == 0 || out.Flags&wire.RST != 0 {
		return
	}
	scale := h.c.rcv.scale
	if out.Flags&wire.SYN != 0 {
		scale = 0
	}
	edge := out.Ack.Add(seq.Size(out.Window) << scale)
	if h.seen && edge.Before(h.edge.Minus(seq.Size(1)<<scale)) {
		s.t.Fatalf("%s takes back its window, from %d to %d", h.name, h.edge, edge)
	}
	if !h.seen || edge.After(h.edge) {
		h.edge, h.seen = edge, true
	}
}

// launch puts a segment on the wire, or not, or twice.
func (s *soak) launch(h *host, out *Segment) {
	copies := 1
	if s.r.Float64() < s.loss {
		copies = 0
	} else if s.r.Float64() < s.dup {
		copies = 2
	}
	if out.ECN != NotECT && s.r.Float64() < s.mark {
		out.ECN = CE
		h.marked++
		h.markedOctets += out.Len
	}
	var b []byte
	if out.Len > 0 {
		b = h.st.read(out.First, out.Skip, out.Len)
	}
	for range copies {
		s.sent++
		s.wire = append(s.wire, flying{
			at: s.now + s.delay + Time(s.r.Int64N(int64(s.jitter+1))),
			n:  s.sent, to: h.peer, seg: *out, b: b,
		})
	}
}

// program lets the program of h write, read and close as it likes.
func (s *soak) program(h *host) {
	if n, _ := h.c.Readable(); n > 0 {
		n = 1 + s.r.Uint32N(n)
		h.got = append(h.got, h.st.read(h.c.RcvQ.Head, h.c.RcvHead, n)...)
		h.step(s.t, h.name+" Consume", func() { h.c.Consume(&h.st.m, s.now, n) })
	}
	if n := min(int(h.c.SendSpace()), len(h.write)-h.wrote); n > 0 {
		s.programWrites(h, 1+s.r.IntN(n))
	}
	if h.wrote == len(h.write) && !h.closed && h.c.State >= Established {
		h.closed = true
		h.step(s.t, h.name+" Shutdown", func() { h.c.Shutdown(&h.st.m, s.now) })
	}
	s.output(h)
}

func (s *soak) programWrites(h *host, n int) {
	b := h.write[h.wrote : h.wrote+n]
	if q := &h.c.SndQ; q.Count > 0 && s.r.IntN(2) == 0 {
		ch := h.st.m.Chunks[q.Tail]
		if k := min(n, slot-int(ch.Len)); k > 0 {
			copy(h.st.data[ch.Off+ch.Len:], b[:k])
			h.wrote += k
			h.step(s.t, h.name+" Extend", func() { h.c.Extend(&h.st.m, s.now, uint32(k)) })
			return
		}
	}
	q := h.st.put(b, s.piece)
	h.wrote += n
	h.step(s.t, h.name+" Append", func() { h.c.Append(&h.st.m, s.now, q) })
}

func (s *soak) done() bool {
	return s.a.finished() && s.b.finished()
}

// finished reports whether h has nothing to wait for: it may lie in TIME-WAIT.
func (h *host) finished() bool {
	n, _ := h.c.Readable()
	return n == 0 && h.closed && (h.c.State == Closed || h.c.State == TimeWait) && len(h.got) == len(h.peer.write)
}

func (h *host) status() string {
	return fmt.Sprintf("%s %s: wrote %d of %d, read %d of %d, %s, deadline %d", h.name, h.c.State, h.wrote,
		len(h.write), len(h.got), len(h.peer.write), h.c.Error, h.c.Deadline())
}

func (s *soak) verdict(seed uint64) {
	for _, h := range []*host{s.a, s.b} {
		if !bytes.Equal(h.got, h.peer.write) {
			s.t.Errorf("seed %d: %s read something else than was written", seed, h.name)
		}
		if h.c.Error != ErrNone {
			s.t.Errorf("seed %d: %s: %s", seed, h.name, h.c.Error)
		}
		acked := h.c.Stats.BytesAcked == uint64(len(h.write)) || h.c.Stats.Resets > 0
		if h.c.Stats.BytesIn != uint64(len(h.peer.write)) || !acked {
			s.t.Errorf("seed %d: %s counted %+v", seed, h.name, h.c.Stats)
		}
		h.step(s.t, "Close", func() { h.c.Close(&h.st.m, s.now) })
		if n := h.held(); n != 0 || len(h.st.free) != len(h.st.m.Chunks) {
			s.t.Errorf("seed %d: %s holds %d chunks, %d of %d are free", seed, h.name, n, len(h.st.free), len(h.st.m.Chunks))
		}
	}
}
