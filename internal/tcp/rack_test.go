package tcp

import (
	"testing"

	"usertcp/internal/seq"
)

func TestReorderingBelowTheWindowIsNoLoss(t *testing.T) {
	a := selective(t, 4)
	a.inject(sA, 1, 1, 0, sacks(1001, 2001))
	a.inject(sA, 1, 1, 0, sacks(1001, 3001))
	a.wantNone()
	a.advance(2 * Millisecond) // a quarter of the round trip is 2.5 ms
	a.inject(sA, 1, 4001, 0)
	a.advance(Second)
	a.wantNone()
	if a.c.Stats.Resent != 0 || a.c.Deadline() != Never {
		t.Errorf("%d sent again, due %d", a.c.Stats.Resent, a.c.Deadline())
	}
	if r := a.c.Recovery(); !r.Reordering || r.Late != 3000 {
		t.Error("the reordering was not noticed")
	}
}

func TestReorderingAboveTheWindowIsALoss(t *testing.T) {
	a := selective(t, 4)
	a.inject(sA, 1, 1, 0, sacks(1001, 2001))
	a.inject(sA, 1, 1, 0, sacks(1001, 3001))
	a.wantNone()
	a.advance(2500 * Microsecond)
	a.wantNone()
	a.advance(100 * Microsecond) // stamps are coarse
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.wantPhase(phaseRecovery)
}

func TestKnownReorderingMakesThreeSegmentsNoProof(t *testing.T) {
	a := selective(t, 10)
	a.c.rack.reordered = 1
	for end := 2001; end <= 10001; end += 1000 {
		a.inject(sA, 1, 1, 0, sacks(1001, end))
	}
	a.wantNone()
	a.wantPhase(phaseOpen)
	a.advance(2600 * Microsecond)
	a.want(sA, 1, 1, 1000)
	a.wantNone()
}

func TestDsackWidensTheReorderingWindow(t *testing.T) {
	a := selective(t, 10)
	before := a.c.Recovery().ReorderWindow
	a.inject(sA, 1, 1, 0, sacks(1001, 5001))
	a.want(sA, 1, 1, 1000)
	a.inject(sA, 1, 5001, 0)
	a.inject(sA, 1, 5001, 0, sacks(1, 1001))
	if after := a.c.Recovery().ReorderWindow; before < 2490*Microsecond || before > 2500*Microsecond || after != 2*before {
		t.Errorf("the window was %v and is %v; want a quarter and a half of 10 ms", before, after)
	}
	a.inject(sA, 1, 5001, 0, sacks(1, 1001))
	if after := a.c.Recovery().ReorderWindow; after != 2*before {
		t.Error("it grew twice in a round trip, and for what was not sent again")
	}
	a.c.rack.persist = 1
	a.inject(sA, 1, 5001, 0, sacks(6001, 10001))
	a.advance(6 * Millisecond)
	a.drain()
	a.wantPhase(phaseRecovery)
	a.inject(sA, 1, 10001, 0)
	a.wantPhase(phaseOpen)
	if a.c.rack.mult != 1 {
		t.Error("it stays wide after many recoveries")
	}
}

func TestReorderWindowIsAtMostTheRoundTrip(t *testing.T) {
	a := selective(t, 2)
	a.c.rack.reordered = 1
	a.c.rack.mult = 50
	srtt, _ := a.c.SmoothedRTT()
	if w := a.c.Recovery().ReorderWindow; w > srtt || w < srtt-Millisecond {
		t.Errorf("it is %v with a round trip of %v", w, srtt)
	}
}

func TestAcknowledgementOfTheFirstCopyIsNoMeasureOfTheSecond(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(1001, 5001))
	a.want(sA, 1, 1, 1000)
	a.advance(Millisecond) // too early for the second copy
	at, rtt := a.c.rack.at, a.c.rack.rtt
	a.inject(sA, 1, 5001, 0)
	if a.c.rack.rtt != rtt || a.c.rack.at != at {
		t.Errorf("RACK took it for the second copy: rtt %v", a.c.rack.rtt.time())
	}
}

func TestMinRTTForgetsOldPaths(t *testing.T) {
	var c Conn
	c.noteRTT(0, 5*Millisecond)
	c.noteRTT(Second, 50*Millisecond)
	low := (5 * Millisecond) &^ 1023
	if c.MinRTT() != low {
		t.Errorf("%d, want %d", c.MinRTT(), low)
	}
	c.noteRTT(rackPeriod, 50*Millisecond)
	if c.MinRTT() != low {
		t.Error("forgotten after one period")
	}
	c.noteRTT(2*rackPeriod, 60*Millisecond)
	if c.MinRTT() < 49*Millisecond {
		t.Error("remembered after two")
	}
	c.noteRTT(9*rackPeriod, 70*Millisecond)
	if c.MinRTT() < 69*Millisecond {
		t.Error("remembered after a pause")
	}
}

func TestTimeoutLeavesYoungSegmentsAlone(t *testing.T) {
	a := selective(t, 5)
	a.inject(sA, 1, 1001, 0) // RACK knows the round trip now
	a.advance(20 * Millisecond)
	a.want(sPA, 4001, 1, 1000) // the probe
	a.advance(a.c.timers.at[timerResend] - a.now - Millisecond)
	a.write(1000)
	a.want(sPA, 5001, 1, 1000)
	a.advance(Millisecond)
	if a.c.Stats.Timeouts != 1 {
		t.Fatal("no timeout")
	}
	a.wantFates(0, 4000)
	a.want(sA, 1001, 1, 1000)
	a.wantNone()
}

func TestStampsCompareAcrossTheWrap(t *testing.T) {
	late := stampOf(Time(1<<32) << spanShift) // the wrap
	early := stampOf((Time(1<<32) - 800) << spanShift)
	if late.since(early) != 800 || early.since(late) != 0 {
		t.Errorf("%d and %d", late.since(early), early.since(late))
	}
	if !sentAfter(late|sentResent, 5, early, 900) || sentAfter(early, 900, late|sentLost, 5) {
		t.Error("order of sending")
	}
	if !sentAfter(late|sentResent, 900, late, 5) || sentAfter(late, 5, late, 5) {
		t.Error("order of segments sent at once")
	}
}

func TestRecoveryInfo(t *testing.T) {
	a := selective(t, 10)
	if r := a.c.Recovery(); r.InFlight != 10000 || r.Disorder || r.Recovering || r.TimedOut {
		t.Errorf("calm: %+v", r)
	}
	a.inject(sA, 1, 1, 0, sacks(1001, 2001))
	if r := a.c.Recovery(); r.InFlight != 9000 || r.Sacked != 1000 || !r.Disorder {
		t.Errorf("disorder: %+v", r)
	}
	a.inject(sA, 1, 1, 0, sacks(2001, 10001))
	if r := a.c.Recovery(); r.Lost != 1000 || r.InFlight != 0 || !r.Recovering || r.Disorder {
		t.Errorf("recovery: %+v", r)
	}
	a.drain()
	if r := a.c.Info(a.now).Recovery; r.Lost != 0 || r.InFlight != 1000 || r.Again != 1000 {
		t.Errorf("sent again: %+v", r)
	}
	a.advance(a.c.RTO())
	if r := a.c.Recovery(); !r.TimedOut || r.Recovering || r.Lost != 1000 {
		t.Errorf("after a timeout: %+v", r)
	}
}

// A connection once took its first segment for one that had come late, if its
// numbers were just before the middle of the space: the highest octet delivered
// was not yet set.
func TestFirstSegmentIsNotLate(t *testing.T) {
	for _, iss := range []seq.Number{0xc0000000, 0x40000000, 0x80000000, 0xffffff00} {
		tk := newTalk(t, withSACK)
		tk.do("OpenActive", func(m *Memory) { tk.c.OpenActive(m, tk.now, testFlow, iss) })
		tk.drain()
		ack := func(s *Segment) { s.Ack = iss + 1 }
		tk.inject(sSA, 0, 1, 0, ack)
		tk.write(5000)
		tk.drain()
		tk.inject(sA, 1, 1, 0, ack, func(s *Segment) {
			s.Options.SACKBlocks = 1
			s.Options.SACK[0].Start, s.Options.SACK[0].End = iss+1001, iss+2001
		})
		if r := tk.c.Recovery(); r.Reordering || r.Late != 0 || r.Sacked != 1000 {
			t.Errorf("ISS %d: %+v", iss, r)
		}
	}
}

// What an acknowledgement of a first copy covers counts as delivered even if the
// second copy is the one on the board. The simulator found it, with seed 19.
func TestFirstCopyOfAProbeMovesTheHighestDelivered(t *testing.T) {
	a := selective(t, 4)
	a.advance(10 * Millisecond)
	a.want(sPA, 3001, 1, 1000)
	a.c.probing = probeNone
	a.inject(sA, 1, 4001, 0)
	if a.c.rack.fack != a.c.snd.una {
		t.Errorf("it is %d behind una", a.c.snd.una.From(a.c.rack.fack))
	}
}
