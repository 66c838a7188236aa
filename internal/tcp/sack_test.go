package tcp

import (
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// sacks is a mod that gives a segment of the peer SACK blocks, in relative
// numbers.
func sacks(edges ...int) func(*Segment) {
	return func(s *Segment) {
		for i := 0; i < len(edges); i += 2 {
			s.Options.SACK[i/2] = wire.Block{Start: ourISS + seq.Number(edges[i]), End: ourISS + seq.Number(edges[i+1])}
		}
		s.Options.SACKBlocks = uint8(len(edges) / 2)
	}
}

// wantPhase fails the test unless loss recovery is in phase p.
func (tk *talk) wantPhase(p phase) {
	tk.t.Helper()
	if tk.c.loss.phase != p {
		tk.t.Fatalf("loss recovery is in phase %d, want %d", tk.c.loss.phase, p)
	}
}

// wantFates fails the test unless so many octets are known to have arrived, and
// so many are believed lost.
func (tk *talk) wantFates(sacked, lost uint32) {
	tk.t.Helper()
	if b := &tk.c.board; b.sacked != sacked || b.lost != lost {
		tk.t.Fatalf("%d octets are sacked and %d lost, want %d and %d", b.sacked, b.lost, sacked, lost)
	}
}

// selective starts a conversation with SACK and Reno, in which n segments have
// just been sent; 10 ms, one round trip, pass then.
func selective(t *testing.T, n int, mods ...func(*talk)) *talk {
	t.Helper()
	mods = append([]func(*talk){withSACK, option(func(o *ConnOptions) { o.Congestion = CongestionReno })}, mods...)
	a := established(t, mods...)
	flood(a, n)
	a.advance(10 * Millisecond)
	return a
}

func TestHolesAreSentAgainOnceInARoundTrip(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(1001, 2001))
	a.inject(sA, 1, 1, 0, sacks(1001, 2001, 3001, 4001))
	a.wantNone()
	a.inject(sA, 1, 1, 0, sacks(1001, 2001, 3001, 4001, 6001, 10001))
	a.wantPhase(phaseRecovery)
	a.wantFates(6000, 4000)
	a.want(sA, 1, 1, 1000) // at once
	a.want(sA, 2001, 1, 1000)
	a.want(sA, 4001, 1, 1000)
	a.want(sA, 5001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 1, 0, sacks(1001, 2001, 3001, 4001, 6001, 10001))
	a.wantNone()
	a.wantFates(6000, 0)
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 2001, 0, sacks(3001, 4001, 6001, 10001))
	a.wantNone()
	a.inject(sA, 1, 4001, 0, sacks(6001, 10001))
	a.wantNone()
	a.inject(sA, 1, 10001, 0)
	a.wantNone()
	a.wantPhase(phaseOpen)
	if a.c.Stats.Resent != 4 || a.c.Stats.Timeouts != 0 || a.c.Stats.FastRetransmits != 1 {
		t.Errorf("%+v", a.c.Stats)
	}
	if a.c.Stats.SackedBytes != 6000 || a.c.Stats.LostBytes != 4000 {
		t.Errorf("%d sacked, %d lost", a.c.Stats.SackedBytes, a.c.Stats.LostBytes)
	}
}

func TestALostRetransmissionIsSentAgainWithoutATimeout(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(1001, 2001, 3001, 10001))
	a.want(sA, 1, 1, 1000)
	a.want(sA, 2001, 1, 1000)
	a.wantNone()
	a.write(1000)
	a.want(sPA, 10001, 1, 1000)
	a.advance(10 * Millisecond)
	// The second retransmission arrives, and what was sent after both; not the first.
	a.inject(sA, 1, 1, 0, sacks(1001, 11001))
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 11001, 0)
	a.wantPhase(phaseOpen)
	if a.c.Stats.Timeouts != 0 || a.c.Stats.Resent != 3 {
		t.Errorf("%+v", a.c.Stats)
	}
}

func TestNewDataLeavesWhileHolesAreOpen(t *testing.T) {
	a := selective(t, 10)
	a.write(4000)
	a.wantNone()                             // cwnd is full
	a.inject(sA, 1, 1, 0, sacks(1001, 2001)) // limited transmit: a segment has left the network
	a.want(sA, 10001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 1, 0, sacks(1001, 3001))
	a.want(sA, 11001, 1, 1000)
	a.wantNone()
}

func TestOddBlocksAreNotBelieved(t *testing.T) {
	for _, x := range []struct {
		name  string
		edges []int
	}{
		{"beyond nxt", []int{5001, 10002}},
		{"empty", []int{5001, 5001}},
		{"backwards", []int{6001, 5001}},
		{"backwards around the space", []int{5001, 5001 - 1<<31 + 10}},
		{"below the acknowledgement", []int{-999, 1}},
		{"far below it", []int{-1 << 30, -1<<30 + 1000}},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := selective(t, 10)
			for range 4 {
				a.inject(sA, 1, 1, 0, sacks(x.edges...))
			}
			a.wantNone()
			a.wantPhase(phaseOpen)
			a.wantFates(0, 0)
		})
	}
}

func TestBlockAroundUnaCountsForWhatIsAboveIt(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 3001, 0)
	a.advance(Millisecond)
	a.inject(sA, 1, 1001, 0, sacks(2001, 4001)) // an acknowledgement that came late
	a.wantFates(1000, 0)
}

func TestPeerThatTakesBackWhatItSacked(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(1001, 10001))
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 1001, 0) // and no more: it has given up the rest
	a.wantFates(9000, 0)
	a.wantNone()
	a.advance(a.c.RTO())
	if a.c.Stats.Reneged != 1 || a.c.Stats.Timeouts != 1 {
		t.Errorf("%+v", a.c.Stats)
	}
	a.wantFates(0, 9000)
	a.want(sA, 1001, 1, 1000)
	for at := 2001; at < 10001; {
		a.inject(sA, 1, at, 0)
		if n := a.drain(); n == 0 {
			t.Fatalf("nothing is sent at %d", at)
		}
		at = rel(a.c.snd.againSeq, ourISS)
	}
	a.inject(sA, 1, 10001, 0)
	a.wantPhase(phaseOpen)
}

func TestTimeoutKeepsWhatWasSacked(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(1001, 2001, 3001, 10001))
	a.drain()
	a.advance(a.c.RTO())
	a.wantPhase(phaseLoss)
	a.wantFates(8000, 2000)
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 2001, 0, sacks(3001, 10001))
	a.want(sA, 2001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 10001, 0)
	a.wantPhase(phaseOpen)
}

func TestFinIsSentAgainWithTheLastHole(t *testing.T) {
	a := selective(t, 3)
	a.write(500)
	a.shutdown()
	a.want(sFA|sPA, 3001, 1, 500)
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1, 0, sacks(1001, 3001))
	a.advance(3 * Millisecond) // the reordering window
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 3001, 0)
	a.advance(a.c.RTO())
	a.want(sFA|sPA, 3001, 1, 500)
	a.inject(sA, 1, 3502, 0)
	a.wantState(FinWait2)
}

func TestSackEndsTheTimingOfASegment(t *testing.T) {
	a := selective(t, 10) // the first is timed
	a.inject(sA, 1, 1001, 0)
	a.write(1000)
	a.drain() // this one is timed
	srtt, _ := a.c.SmoothedRTT()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1001, 0, sacks(10001, 11001))
	if a.c.has(flagTiming) {
		t.Error("the timing goes on")
	}
	if after, _ := a.c.SmoothedRTT(); after != srtt {
		t.Errorf("srtt was %v and is %v", srtt, after)
	}
}

func TestManyHolesDoNotFit(t *testing.T) {
	a := selective(t, 10, option(func(o *ConnOptions) { o.NoDelay = 1 }))
	a.st.annexes = nil
	a.inject(sA, 1, 10001, 0)
	a.c.cc.cwnd = 200000
	for range 300 {
		a.write(100)
		a.want(sPA, rel(a.c.snd.nxt, ourISS), 1, 100)
	}
	a.advance(10 * Millisecond)
	// Every other one has arrived.
	for at := 10101; at < 40000; at += 200 {
		a.inject(sA, 1, 10001, 0, sacks(at, at+100))
	}
	if a.c.board.n > nearRuns {
		t.Errorf("%d runs", a.c.board.n)
	}
	// All that did not is sent again in the end.
	got := map[int]bool{}
	for turn := 0; a.c.snd.una != a.c.snd.nxt && turn < 400; turn++ {
		var out Segment
		for a.next(&out) {
			for i := range int(out.Len) {
				got[rel(out.Seq, ourISS)+i] = true
			}
		}
		una := rel(a.c.snd.una, ourISS)
		for una < 40001 && ((una-1)/100%2 == 1 || got[una]) {
			una++
		}
		a.advance(20 * Millisecond)
		a.inject(sA, 1, una, 0)
	}
	if a.c.snd.una != a.c.snd.nxt {
		t.Errorf("stuck at %d", rel(a.c.snd.una, ourISS))
	}
}
