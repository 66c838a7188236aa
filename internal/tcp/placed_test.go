package tcp

import (
	"math/rand/v2"
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// place gives the connection a segment of n octets, of which a reader has the first
// placed ones and the chunks have not. If they are not what comes next they are put
// back.
func (tk *talk) place(flags wire.Flags, s, n, placed int, mods ...func(*Segment)) (read bool) {
	tk.t.Helper()
	seg := Segment{Seq: peerISS + seq.Number(s), Ack: tk.c.snd.una, Flags: flags, Window: tk.window, Len: uint32(n)}
	if tk.c.has(flagTimestamps) {
		seg.Options = wire.Options{Present: wire.HasTimestamps, TSVal: tk.tsval, TSEcr: tk.tsecho}
	}
	seg.Payload = tk.st.put(pattern(s, n), tk.pieces)
	var chunks [][]byte
	for i, left, k := seg.Payload.Head, placed, seg.Payload.Count; k > 0; i, k = tk.st.m.Chunks[i].Next, k-1 {
		ch := tk.st.m.Chunks[i]
		chunks = append(chunks, tk.st.data[ch.Off:ch.Off+ch.Len])
		m := min(left, int(ch.Len))
		clear(tk.st.data[ch.Off : int(ch.Off)+m])
		left -= m
	}
	for _, mod := range mods {
		mod(&seg)
	}
	tk.do("InputRead", func(m *Memory) {
		if read = tk.c.InputRead(m, tk.now, &seg, uint32(placed)); !read {
			at := s
			for _, b := range chunks {
				at += copy(b, pattern(at, len(b)))
			}
		}
	})
	if read {
		tk.read += placed
	}
	tk.st.give(seg.Payload)
	return read
}

func more(s *Segment) { s.More = true }

func TestPlacedOctetsCountAsRead(t *testing.T) {
	a := calm(established(t))
	if !a.place(sPA, 1, 1500, 1500) {
		t.Fatal("not read")
	}
	if have, _ := a.c.Readable(); have != 0 || a.c.RcvQ.Count != 0 || a.st.m.Chunks[0].Len != 0xdead && a.held() != 0 {
		t.Errorf("%d octets are still there, in %d chunks", have, a.held())
	}
	a.wantEvents(EventReadable)
	if seg := a.want(sA, 1, 1501, 0); uint32(seg.Window) != min(a.c.Opt.RcvBuf, 65535) {
		t.Errorf("a window of %d where nothing is unread", seg.Window)
	}
	a.wantNone()
	// What there was no room for waits for the next call.
	if !a.place(sA, 1501, 5000, 3000) || a.readAll() != 2000 {
		t.Error("the rest is not there")
	}
}

func TestPlacedWithFIN(t *testing.T) {
	a := established(t)
	if !a.place(sFA, 1, 100, 60) {
		t.Fatal("not read")
	}
	a.wantState(CloseWait)
	if n, fin := a.c.Readable(); n != 40 || !fin {
		t.Errorf("%d octets to be read, FIN: %v", n, fin)
	}
	a.readAll()
	a.want(sA, 1, 102, 0)
}

// Each of these is no hit, and all of it is there to be read as if nothing had been
// placed.
func TestWhatWasPlacedInVainIsReadAsAlways(t *testing.T) {
	for _, row := range []struct {
		name    string
		prepare func(a *talk)
		s       int
		mods    []func(*Segment)
		read    int
	}{
		{"unread octets before it", func(a *talk) { a.inject(sA, 1, 1, 10) }, 11, nil, 110},
		{"octets before it are missing", func(a *talk) {}, 101, nil, 0},
		{"a gap behind it", func(a *talk) { a.inject(sA, 101, 1, 10) }, 1, nil, 110},
		{"a gap behind it, and an overlap", func(a *talk) { a.inject(sA, 51, 1, 60) }, 1, nil, 110},
		{"part of it was there", func(a *talk) { a.inject(sA, 1, 1, 10); a.readAll() }, 1, nil, 90},
		{"all of it was there", func(a *talk) { a.inject(sA, 1, 1, 100); a.readAll() }, 1, nil, 0},
		{"urgent data in it", func(a *talk) {}, 1, []func(*Segment){urgentAt(50)}, 100},
		{"urgent data ahead", func(a *talk) { a.inject(sUA, 1, 1, 0, urgentAt(300)) }, 1, nil, 100},
		{"not all of it in the window", func(a *talk) { a.c.rcv.edge = a.c.rcv.nxt.Add(70) }, 1, nil, 70},
		{"a reset", func(a *talk) {}, 1, []func(*Segment){func(s *Segment) { s.Flags |= wire.RST }}, 0},
		{"no acknowledgement", func(a *talk) {}, 1, []func(*Segment){func(s *Segment) { s.Flags = 0 }}, 0},
		{"acknowledges what was not sent", func(a *talk) {}, 1, []func(*Segment){func(s *Segment) { s.Ack += 7 }}, 0},
		{"reading has ended", func(a *talk) { a.do("CloseRead", func(m *Memory) { a.c.CloseRead(m, a.now) }) }, 1, nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := calm(established(t))
			row.prepare(a)
			if a.place(sA, row.s, 100, 100, row.mods...) {
				t.Fatal("read")
			}
			if n := a.readAll(); n != row.read {
				t.Errorf("%d octets to be read, want %d", n, row.read)
			}
		})
	}
}

func TestAcknowledgementWaitsForWhatIsThereAlready(t *testing.T) {
	a := calm(established(t, withScale, func(tk *talk) { tk.c.Opt.RcvBuf = 4 << 20 }))
	a.st = newStore(1000)
	at := 1
	for at-1 <= stretchAck-20000 {
		if !a.place(sA, at, 20000, 20000, more) {
			t.Fatal("not read")
		}
		at += 20000
		a.wantNone()
	}
	a.place(sA, at, 20000, 20000, more)
	a.want(sA, 1, at+20000, 0) // enough for one acknowledgement
	a.place(sA, at+20000, 20000, 20000, more)
	a.wantNone()
	a.do("AckOwed", func(*Memory) { a.c.AckOwed() })
	a.want(sA, 1, at+40000, 0)
	a.do("AckOwed", func(*Memory) { a.c.AckOwed() })
	a.wantNone()
	a.place(sA, at+40000, 20000, 20000, more)
	a.wantNone()
	a.advance(delayedAck) // nobody has said anything
	a.want(sA, 1, at+60000, 0)
	a.place(sA, at+60000, 10, 10, more)
	a.do("AckOwed", func(*Memory) { a.c.AckOwed() })
	a.wantNone() // less than two segments: the timer has time
}

func TestAcknowledgementDoesNotWaitForEver(t *testing.T) {
	// Of a small buffer a quarter is enough, and a young connection and gaps wait for
	// nothing.
	a := calm(established(t, func(tk *talk) { tk.c.Opt.RcvBuf = 8000 }))
	a.place(sA, 1, 2000, 2000, more)
	a.wantNone()
	a.place(sA, 2001, 100, 100, more)
	a.want(sA, 1, 2101, 0)
	b := established(t)
	b.place(sA, 1, 2000, 2000, more)
	b.want(sA, 1, 2001, 0)
	c := calm(established(t))
	c.place(sA, 1001, 2000, 2000, more)
	c.want(sA, 1, 1, 0)
	c.place(sA, 1, 1000, 1000, more)
	c.want(sA, 1, 3001, 0)
}

// TestPlacedAtRandom has a stream come in pieces of any size, again, too late, with
// octets missing, each placed as far as a reader of any size had room.
func TestPlacedAtRandom(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 44))
		a := established(t, withTimestamps, withSACK, func(tk *talk) { tk.pieces = 300 + r.IntN(slot) })
		hits := 0
		for range 200 {
			next := rel(a.c.rcv.nxt, peerISS)
			s, n := next, 1+r.IntN(3000)
			switch r.IntN(8) {
			case 0:
				s = max(1, next-r.IntN(2000))
			case 1:
				s = next + r.IntN(3000)
			}
			if a.place(sA, s, n, min(n, 1+r.IntN(3000)), func(seg *Segment) { seg.More = r.IntN(2) == 0 }) {
				hits++
			}
			if r.IntN(2) == 0 {
				a.readAll()
			}
			if r.IntN(4) == 0 {
				a.do("AckOwed", func(*Memory) { a.c.AckOwed() })
			}
			a.drain()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		if a.readAll(); hits == 0 || a.read != rel(a.c.rcv.nxt, peerISS)-1 {
			t.Errorf("seed %d: %d octets read of %d, %d hits", seed, a.read, rel(a.c.rcv.nxt, peerISS)-1, hits)
		}
	}
}
