package tcp

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"usertcp/internal/wire"
)

func TestYoungConnectionAcknowledgesAtOnce(t *testing.T) {
	a := established(t)
	at := 1
	for range quickAcks {
		a.inject(sA, at, 1, 10)
		at += 10
		a.want(sA, 1, at, 0)
	}
	a.inject(sA, at, 1, 10)
	a.wantNone()
}

func TestDelayedAcknowledgement(t *testing.T) {
	a := calm(established(t))
	a.inject(sPA, 1, 1, 100)
	a.wantNone()
	a.advance(delayedAck - 1)
	a.wantNone()
	a.advance(1)
	a.want(sA, 1, 101, 0)
	a.wantNone()
	if a.c.Deadline() != Never {
		t.Error("a timer still runs")
	}
}

func TestEverySecondFullSizedSegmentIsAcknowledged(t *testing.T) {
	a := calm(established(t))
	for i := range 5 {
		a.inject(sA, 1+2000*i, 1, 1000)
		a.wantNone()
		a.inject(sA, 1001+2000*i, 1, 1000)
		a.want(sA, 1, 2001+2000*i, 0)
		a.wantNone()
		a.readAll()
	}
}

func TestSizeOfThePeersSegmentsIsLearnt(t *testing.T) {
	a := established(t)
	a.c.rcv.quick = 0
	a.inject(sA, 1, 1, 600)
	a.wantNone() // larger than what was expected, so it is a full-sized one
	a.inject(sA, 601, 1, 600)
	a.want(sA, 1, 1201, 0)
}

func TestQuickAckOption(t *testing.T) {
	a := calm(established(t, option(func(o *ConnOptions) { o.QuickAck = 1 })))
	a.inject(sA, 1, 1, 1)
	a.want(sA, 1, 2, 0)
	b := calm(established(t))
	b.inject(sA, 1, 1, 1)
	b.wantNone()
	b.c.Opt.QuickAck = 1
	b.c.OptionsChanged(b.now)
	b.want(sA, 1, 2, 0)
}

func TestConversationEndsQuickAcknowledgements(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 10)
	a.want(sA, 1, 11, 0)
	a.write(10)
	a.want(sPA, 1, 11, 10)
	a.inject(sPA, 11, 11, 10)
	a.wantNone() // the answer will carry it
	a.write(10)
	a.want(sPA, 11, 21, 10)
}

func TestGapIsReportedAtOnceAndSoIsItsFilling(t *testing.T) {
	a := calm(established(t, withSACK))
	a.inject(sA, 11, 1, 10)
	seg := a.want(sA, 1, 1, 0)
	wantBlocks(t, seg, 11, 21)
	a.inject(sA, 31, 1, 10)
	wantBlocks(t, a.want(sA, 1, 1, 0), 31, 41, 11, 21)
	a.inject(sA, 1, 1, 10)
	wantBlocks(t, a.want(sA, 1, 21, 0), 31, 41)
	a.inject(sA, 21, 1, 10)
	wantBlocks(t, a.want(sA, 1, 41, 0))
	a.wantNone()
	if a.readAll() != 40 {
		t.Error("not all is there")
	}
}

// wantBlocks fails the test unless the SACK blocks of seg are these.
func wantBlocks(t *testing.T, seg *Segment, edges ...int) {
	t.Helper()
	var got []int
	for _, b := range seg.Options.SACK[:seg.Options.SACKBlocks] {
		got = append(got, rel(b.Start, peerISS), rel(b.End, peerISS))
	}
	if fmt.Sprint(got) != fmt.Sprint(edges) {
		t.Errorf("SACK %v, want %v", got, edges)
	}
}

func TestWithoutSackThereAreNoBlocks(t *testing.T) {
	a := established(t)
	a.inject(sA, 11, 1, 10)
	wantBlocks(t, a.want(sA, 1, 1, 0))
}

func TestFirstBlockIsThatOfTheLastSegment(t *testing.T) {
	a := established(t, withSACK, withTimestamps)
	for _, s := range []int{101, 201, 301, 401, 501} {
		a.inject(sA, s, 1, 10)
	}
	wantBlocks(t, a.want(sA, 1, 1, 0), 501, 511, 401, 411, 301, 311) // three beside timestamps
	a.inject(sA, 211, 1, 10)
	wantBlocks(t, a.want(sA, 1, 1, 0), 201, 221, 501, 511, 401, 411)
	a.inject(sA, 101, 1, 5) // a duplicate too
	wantBlocks(t, a.want(sA, 1, 1, 0), 101, 106, 101, 111, 201, 221)
	a.inject(sA, 1, 1, 100) // joins the first
	wantBlocks(t, a.want(sA, 1, 111, 0), 201, 221, 501, 511, 401, 411)
}

// A row of TestOverlaps: pieces arrive in this order, as [from, to); then what
// is in order and which ranges there are.
var overlaps = []struct {
	name    string
	pieces  [][2]int
	inOrder int
	ranges  [][2]int
}{
	{"one behind a gap", [][2]int{{10, 20}}, 0, [][2]int{{10, 20}}},
	{"the same twice", [][2]int{{10, 20}, {10, 20}}, 0, [][2]int{{10, 20}}},
	{"inside another", [][2]int{{10, 40}, {20, 30}}, 0, [][2]int{{10, 40}}},
	{"around another", [][2]int{{20, 30}, {10, 40}}, 0, [][2]int{{10, 40}}},
	{"around two others", [][2]int{{20, 30}, {40, 50}, {10, 60}}, 0, [][2]int{{10, 60}}},
	{"touching on the left", [][2]int{{20, 30}, {10, 20}}, 0, [][2]int{{10, 30}}},
	{"touching on the right", [][2]int{{10, 20}, {20, 30}}, 0, [][2]int{{10, 30}}},
	{"overlapping on the left", [][2]int{{20, 30}, {10, 25}}, 0, [][2]int{{10, 30}}},
	{"overlapping on the right", [][2]int{{10, 20}, {15, 30}}, 0, [][2]int{{10, 30}}},
	{"bridging two", [][2]int{{10, 20}, {30, 40}, {20, 30}}, 0, [][2]int{{10, 40}}},
	{"bridging two with overlaps", [][2]int{{10, 20}, {30, 40}, {15, 35}}, 0, [][2]int{{10, 40}}},
	{"bridging two over a third", [][2]int{{10, 20}, {24, 26}, {30, 40}, {15, 35}}, 0, [][2]int{{10, 40}}},
	{"between two", [][2]int{{10, 20}, {40, 50}, {25, 35}}, 0, [][2]int{{10, 20}, {25, 35}, {40, 50}}},
	{"before all", [][2]int{{40, 50}, {10, 20}}, 0, [][2]int{{10, 20}, {40, 50}}},
	{"the gap is filled", [][2]int{{10, 20}, {0, 10}}, 20, nil},
	{"the gap is filled and more", [][2]int{{10, 20}, {0, 15}}, 20, nil},
	{"the gap is filled beyond the range", [][2]int{{10, 20}, {0, 30}}, 30, nil},
	{"the gap is filled, another is left", [][2]int{{10, 20}, {30, 40}, {0, 10}}, 20, [][2]int{{30, 40}}},
	{"over one range into the next", [][2]int{{10, 20}, {30, 40}, {0, 35}}, 40, nil},
	{"old and new", [][2]int{{0, 10}, {5, 20}}, 20, nil},
	{"old only", [][2]int{{0, 10}, {5, 10}}, 10, nil},
}

func TestOverlaps(t *testing.T) {
	for _, pieces := range []int{1, 3, slot} {
		for _, x := range overlaps {
			t.Run(fmt.Sprintf("%s, chunks of %d", x.name, pieces), func(t *testing.T) {
				a := established(t, func(tk *talk) { tk.pieces = pieces })
				for _, p := range x.pieces {
					a.inject(sA, 1+p[0], 1, p[1]-p[0])
				}
				var got [][2]int
				for _, r := range a.c.ooo.view(&a.st.m) {
					got = append(got, [2]int{rel(r.start, peerISS) - 1, rel(r.end, peerISS) - 1})
				}
				if fmt.Sprint(got) != fmt.Sprint(x.ranges) {
					t.Errorf("ranges %v, want %v", got, x.ranges)
				}
				if n := a.readAll(); n != x.inOrder {
					t.Errorf("read %d octets, want %d", n, x.inOrder)
				}
			})
		}
	}
}

// TestFullListKeepsTheLowestRanges fills the list of ranges, with an annex and
// without.
func TestFullListKeepsTheLowestRanges(t *testing.T) {
	for most, annexes := range map[int][]uint32{nearRanges: nil, maxRanges: {0}} {
		a := established(t, func(tk *talk) { tk.st = newStore(1024) })
		a.st.annexes = annexes
		for i := range most {
			a.inject(sA, 1001+20*i, 1, 10)
		}
		a.inject(sA, 1001+20*most, 1, 10) // the highest: dropped
		if a.held() != most || a.c.Stats.DropFull != 1 {
			t.Errorf("%d chunks, %d dropped", a.held(), a.c.Stats.DropFull)
		}
		a.inject(sA, 951, 1, 10) // the lowest: the highest makes way
		rs := a.c.ooo.view(&a.st.m)
		if r := rs[0]; rel(r.start, peerISS) != 951 || a.held() != most {
			t.Errorf("the first range begins at %d; %d chunks", rel(r.start, peerISS), a.held())
		}
		if r := rs[most-1]; rel(r.start, peerISS) != 1001+20*(most-2) {
			t.Errorf("the last range begins at %d", rel(r.start, peerISS))
		}
		a.drain()
		a.inject(sA, 1, 1, 950) // the first gap is filled: the rest stays
		a.inject(sA, 961, 1, 1001+20*most-961)
		if n := a.readAll(); n != 1000+20*most || a.held() != 0 {
			t.Errorf("%d octets read, %d chunks held", n, a.held())
		}
		if a.c.Annex != 0 || len(a.st.annexes) != len(annexes) {
			t.Error("the annex was not given back")
		}
	}
}

// TestReassemblyAgainstAModel throws random pieces at a connection and compares
// what can be read with a bitmap of what came.
func TestReassemblyAgainstAModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		a := established(t, func(tk *talk) { tk.pieces = 1 + r.IntN(20) })
		if seed%2 == 0 {
			a.st.annexes = nil
		}
		const size = 300
		var came [size]bool
		for range 60 {
			from := r.IntN(size)
			n := 1 + r.IntN(min(40, size-from))
			full := a.c.ooo.n == nearRanges && a.c.Annex == 0
			a.inject(sA, 1+from, 1, n)
			a.drain()
			if full {
				break // from here on what came may have been dropped
			}
			for i := from; i < from+n; i++ {
				came[i] = true
			}
		}
		next := 0
		for next < size && came[next] {
			next++
		}
		if n := a.readAll(); n != next && (a.c.ooo.n < nearRanges || a.c.Annex != 0) {
			t.Errorf("seed %d: read %d octets, want %d", seed, n, next)
		}
	}
}

func TestChunksThatBringNothingNewAreLeftToTheCaller(t *testing.T) {
	a := established(t, func(tk *talk) { tk.pieces = 10 })
	a.inject(sA, 1, 1, 100)
	free := len(a.st.free)
	a.inject(sA, 1, 1, 100) // all old: nothing is kept
	if len(a.st.free) != free {
		t.Errorf("%d chunks were kept", free-len(a.st.free))
	}
	a.inject(sA, 51, 1, 75) // 25 new octets: of 8 chunks 3 are kept
	if kept := free - len(a.st.free); kept != 3 {
		t.Errorf("%d chunks were kept, want 3", kept)
	}
}

func TestPAWS(t *testing.T) {
	old := func(s *Segment) { s.Options.TSVal -= 100 }
	none := func(s *Segment) { s.Options = wire.Options{} }
	t.Run("an old timestamp drops text", func(t *testing.T) {
		a := established(t, withTimestamps)
		a.inject(sA, 1, 1, 10, old)
		a.want(sA, 1, 1, 0)
		if a.c.Stats.DropPAWS != 1 {
			t.Errorf("%+v", a.c.Stats)
		}
	})
	t.Run("an old timestamp drops an acknowledgement", func(t *testing.T) {
		a := established(t, withTimestamps)
		a.write(10)
		a.drain()
		a.inject(sA, 1, 11, 0, old)
		if a.c.SndQ.Count == 0 {
			t.Error("it was taken")
		}
	})
	t.Run("no timestamp drops too", func(t *testing.T) {
		a := established(t, withTimestamps)
		a.inject(sA, 1, 1, 10, none)
		a.wantNone()
		if n, _ := a.c.Readable(); n != 0 {
			t.Error("it was taken")
		}
	})
	t.Run("an RST needs none", func(t *testing.T) {
		a := established(t, withTimestamps)
		a.inject(sR, 1, 0, 0, none)
		a.wantEnd(ErrReset)
	})
	t.Run("after 24 days of silence no timestamp is old", func(t *testing.T) {
		a := established(t, withTimestamps)
		a.now += pawsAge + 1
		a.inject(sA, 1, 1, 10, old)
		if n, _ := a.c.Readable(); n != 10 {
			t.Error("it was dropped")
		}
	})
	t.Run("the timestamp that is echoed is that of the segment at the left edge", func(t *testing.T) {
		a := established(t, withTimestamps)
		first := a.tsval
		a.advance(5 * Millisecond)
		a.inject(sA, 11, 1, 10)
		if seg := a.want(sA, 1, 1, 0); seg.Options.TSEcr != first {
			t.Errorf("echo is %d, want %d", seg.Options.TSEcr, first)
		}
		a.advance(5 * Millisecond)
		a.inject(sA, 1, 1, 10)
		if seg := a.want(sA, 1, 21, 0); seg.Options.TSEcr != a.tsval {
			t.Errorf("echo is %d, want %d", seg.Options.TSEcr, a.tsval)
		}
	})
}

func TestLengthAndPayloadMustAgree(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	a := established(t)
	seg := Segment{Seq: peerISS + 1, Flags: sA, Len: 10}
	a.c.Input(&a.st.m, a.now, &seg)
}

func TestFreedChunksMustBeTaken(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	a := established(t)
	a.inject(sA, 1, 1, 10)
	a.c.Consume(&a.st.m, a.now, 10)
	a.c.Consume(&a.st.m, a.now, 0)
}

func TestQueuesNamesAllChunks(t *testing.T) {
	a := established(t, func(tk *talk) { tk.pieces = 10 })
	a.write(30)
	a.inject(sA, 1, 1, 20)
	a.inject(sA, 101, 1, 40)
	a.inject(sA, 201, 1, 50)
	chunks, octets := uint32(0), uint32(0)
	for _, q := range a.c.Queues(&a.st.m, nil) {
		chunks += q.Count
		octets += q.Bytes
	}
	if chunks != 14 || octets != 140 || a.held() != 14 {
		t.Errorf("%d chunks with %d octets are named, %d held", chunks, octets, a.held())
	}
}
