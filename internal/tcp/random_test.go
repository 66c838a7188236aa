package tcp

import (
	"math/rand/v2"
	"testing"
)

// TestRandomScripts plays random scripts of FuzzSegments.
func TestRandomScripts(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		code := make([]byte, 50+r.IntN(500))
		for i := range code {
			code[i] = byte(r.Uint32())
			if r.IntN(3) > 0 {
				code[i] %= 24 // small numbers say more
			}
		}
		func() {
			defer func() {
				if p := recover(); p != nil || t.Failed() {
					t.Fatalf("seed %d: %v", seed, p)
				}
			}()
			x := newFuzzer(t, code)
			for x.more() {
				x.play()
			}
		}()
	}
}

// withManyInFlight returns a connection with 200 small segments in flight.
func withManyInFlight(t *testing.T) *talk {
	t.Helper()
	a := selective(t, 10, option(func(o *ConnOptions) { o.NoDelay = 1 }))
	a.inject(sA, 1, 10001, 0)
	a.c.cc.cwnd = 200000
	for range 200 {
		a.write(100)
		a.drain()
	}
	return a
}

// TestUndoWithManyGaps lets every step of a connection that loses much, both ways,
// be compared with what a Conn of before would find: see end.step. Pieces come in
// random order, so that ranges and runs come and go in the annex.
func TestUndoWithManyGaps(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 12))
		a := withManyInFlight(t)
		most, far := uint32(0), false
		for _, i := range r.Perm(200) {
			at := 10001 + 100*i
			a.inject(sA, 1+100*i, 10001, 100, sacks(at, at+100))
			most = max(most, a.c.ooo.n)
			far = far || a.c.board.at.far != 0 && a.c.ooo.at.far != 0
			if r.IntN(4) == 0 {
				a.drain()
			}
		}
		a.drain()
		a.inject(sA, 20001, rel(a.c.snd.nxt, ourISS), 0)
		if n := a.readAll(); n != 20000 || most < 30 || !far {
			t.Errorf("seed %d: %d octets read, %d ranges at most, both in the annex: %v", seed, n, most, far)
		}
		if a.c.Annex != 0 || len(a.st.annexes) != 2 {
			t.Errorf("seed %d: the annex was not given back", seed)
		}
	}
}

// TestUndo lets a step happen, puts back the Conn that was before it, as the
// repair after a death would, and lets the same step happen again: it must find
// the queues as they were and come to the same state.
func TestUndo(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 6))
		a := established(t, withTimestamps, func(tk *talk) { tk.pieces = 50 })
		for range 40 {
			a.write(1 + r.IntN(300))
			a.drain()
			from := 1 + rel(a.c.rcv.nxt, peerISS) - 1 + r.IntN(100) - 20
			seg := Segment{
				Seq: peerISS + peerSeq(from), Ack: a.c.snd.una + peerSeq(r.IntN(int(a.c.flight())+1)), Flags: sA,
				Window: 30000, Len: 1 + r.Uint32N(200),
			}
			seg.Options.Present = hasTS
			seg.Options.TSVal = a.c.rcv.tsRecent
			a.twice(t, &seg)
			if n, _ := a.c.Readable(); n > 500 {
				a.do("Consume", func(m *Memory) { a.c.Consume(m, a.now, n) })
			}
			a.drain()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

// twice gives the connection a segment, undoes that, and gives it again, in
// other chunks.
func (tk *talk) twice(t *testing.T, seg *Segment) {
	t.Helper()
	before := tk.c
	lost := *seg
	lost.Payload = tk.st.put(pattern(0, int(seg.Len)), tk.pieces)
	tk.c.Input(&tk.st.m, tk.now, &lost)
	first := tk.c
	tk.c = before // what the lost step took from free chunks is not given back here
	tk.st.m.Chunks = append(tk.st.m.Chunks, Chunk{})
	again := *seg
	again.Payload = tk.st.put(pattern(0, int(seg.Len)), tk.pieces)
	tk.step(t, "Input after undo", func() {
		tk.c.Input(&tk.st.m, tk.now, &again)
		if tk.c.snd != first.snd && tk.c.snd.next == first.snd.next || tk.c.rcv != first.rcv || tk.c.Stats != first.Stats ||
			tk.c.RcvQ.Bytes != first.RcvQ.Bytes || tk.c.SndQ != first.SndQ || tk.c.ooo.n != first.ooo.n {
			t.Errorf("the step came out differently the second time")
		}
	})
	tk.st.give(again.Payload)
}
