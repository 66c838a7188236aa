package tcp

import "testing"

// flood writes n segments' worth and takes those that leave.
func flood(tk *talk, n int) int {
	tk.t.Helper()
	tk.write(1000 * n)
	return tk.drain()
}

func TestTimeoutRetransmitsAndBacksOff(t *testing.T) {
	a := established(t)
	a.write(100)
	a.want(sPA, 1, 1, 100)
	wait := a.c.RTO()
	// The handshake took 10 ms: 10 + max(4*5, 200).
	if wait != 210*Millisecond {
		t.Errorf("RTO is %d ms", wait/Millisecond)
	}
	for range a.c.Opt.DataRetries {
		a.advance(wait - 1)
		a.wantNone()
		a.advance(1)
		a.want(sPA, 1, 1, 100)
		a.wantNone()
		wait = min(2*wait, maxRTO)
	}
	a.advance(wait)
	a.wantEnd(ErrTimeout)
	a.wantNone()
}

func TestAcknowledgementStopsTheTimerAndASampleTheBackOff(t *testing.T) {
	a := established(t)
	a.write(100)
	a.drain()
	a.advance(a.c.RTO())
	a.drain()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 101, 0)
	if a.c.Deadline() != Never {
		t.Error("a timer runs")
	}
	if a.c.RTO() != 420*Millisecond {
		t.Errorf("without a sample RTO is %d ms, want 420 (Karn)", a.c.RTO()/Millisecond)
	}
	a.write(100)
	a.drain()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 201, 0)
	if a.c.RTO() >= 420*Millisecond {
		t.Errorf("with a sample RTO is %d ms", a.c.RTO()/Millisecond)
	}
}

func TestTimestampsMeasureWhatWasSentTwice(t *testing.T) {
	a := established(t, withTimestamps)
	a.write(100)
	a.drain()
	a.advance(a.c.RTO())
	a.drain()
	a.advance(50 * Millisecond)
	before, _ := a.c.SmoothedRTT()
	a.inject(sA, 1, 101, 0)
	after, _ := a.c.SmoothedRTT()
	if after <= before || a.c.RTO() >= 420*Millisecond {
		t.Errorf("srtt %d -> %d µs, RTO %d ms", before/Microsecond, after/Microsecond, a.c.RTO()/Millisecond)
	}
}

func TestSmoothing(t *testing.T) {
	var r rtt
	for _, x := range []struct{ sample, srtt, rttvar, rto Time }{
		{100, 100, 50, 300},
		{100, 100, 38, 300},
		{200, 112, 53, 325},
		{20000, 2598, 5012, 22646},
	} {
		r.sample(x.sample * Millisecond)
		if d := r.srtt/Millisecond - x.srtt; d < -1 || d > 1 {
			t.Errorf("after %d: srtt %d, want %d", x.sample, r.srtt/Millisecond, x.srtt)
		}
		if d := r.rttvar/Millisecond - x.rttvar; d < -1 || d > 1 {
			t.Errorf("after %d: rttvar %d, want %d", x.sample, r.rttvar/Millisecond, x.rttvar)
		}
		if d := r.rto/Millisecond - x.rto; d < -5 || d > 5 {
			t.Errorf("after %d: rto %d, want %d", x.sample, r.rto/Millisecond, x.rto)
		}
	}
	r.sample(1000 * Second)
	if r.rto != maxRTO {
		t.Errorf("rto %d, want the most", r.rto)
	}
}

func TestTimeoutStartsSlowly(t *testing.T) {
	a := established(t)
	flood(a, 10)
	a.advance(a.c.RTO())
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	if cwnd, ssthresh := a.c.Window(); cwnd != 1000 || ssthresh != 5000 {
		t.Errorf("cwnd %d, ssthresh %d; want 1000, 5000", cwnd, ssthresh)
	}
	a.inject(sA, 1, 1001, 0)
	a.want(sA, 1001, 1, 1000)
	a.want(sA, 2001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 3001, 0)
	a.want(sA, 3001, 1, 1000)
	a.want(sA, 4001, 1, 1000)
	a.want(sA, 5001, 1, 1000)
	a.wantNone()
	// The peer had the rest.
	a.inject(sA, 1, 10001, 0)
	a.wantNone()
	if a.c.loss.phase != phaseOpen {
		t.Error("recovery has not ended")
	}
}

func TestSecondTimeoutKeepsSsthresh(t *testing.T) {
	a := established(t)
	flood(a, 10)
	a.advance(a.c.RTO())
	a.drain()
	a.advance(a.c.RTO())
	a.want(sA, 1, 1, 1000)
	if _, ssthresh := a.c.Window(); ssthresh != 5000 {
		t.Errorf("ssthresh %d, want 5000", ssthresh)
	}
}

func TestLimitedTransmit(t *testing.T) {
	a := established(t)
	flood(a, 20)
	a.inject(sA, 1, 1, 0)
	a.want(sA, 10001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 1, 0)
	a.want(sA, 11001, 1, 1000)
	a.wantNone()
}

func TestFastRetransmitAndFullRecovery(t *testing.T) {
	a := established(t)
	flood(a, 10)
	a.inject(sA, 1, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.wantNone()
	a.inject(sA, 1, 1, 0)
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	if cwnd, ssthresh := a.c.Window(); cwnd != 8000 || ssthresh != 5000 {
		t.Errorf("cwnd %d, ssthresh %d; want 8000, 5000", cwnd, ssthresh)
	}
	a.write(5000)
	a.wantNone()
	for range 3 {
		a.inject(sA, 1, 1, 0) // inflates to 11000
	}
	a.want(sA, 10001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 10001, 0) // all that was sent before the loss was found
	if cwnd, _ := a.c.Window(); cwnd != 2000 || a.c.loss.phase != phaseOpen {
		t.Errorf("cwnd %d, want min(ssthresh, flight+mss)", cwnd)
	}
	if a.c.Stats.FastRetransmits != 1 || a.c.Stats.Timeouts != 0 || a.c.Stats.DupAcks != 6 {
		t.Errorf("%+v", a.c.Stats)
	}
}

func TestPartialAcksRetransmitHoleByHole(t *testing.T) {
	a := established(t)
	flood(a, 10)
	for range 3 {
		a.inject(sA, 1, 1, 0)
	}
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 3001, 0)
	a.want(sA, 3001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 6001, 0)
	a.want(sA, 6001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 10001, 0)
	a.wantNone()
	if a.c.loss.phase != phaseOpen || a.c.Stats.Resent != 3 {
		t.Errorf("phase %d, %d sent again", a.c.loss.phase, a.c.Stats.Resent)
	}
}

func TestOnlyTheFirstPartialAckRestartsTheTimer(t *testing.T) {
	a := established(t)
	flood(a, 10)
	for range 3 {
		a.inject(sA, 1, 1, 0)
	}
	a.drain()
	a.advance(50 * Millisecond)
	a.inject(sA, 1, 2001, 0)
	due := a.c.Deadline()
	if due != a.now+a.c.RTO() {
		t.Errorf("the timer is due in %d ms", (due-a.now)/Millisecond)
	}
	a.drain()
	a.advance(50 * Millisecond)
	a.inject(sA, 1, 4001, 0)
	if a.c.Deadline() != due {
		t.Error("the second one has restarted it")
	}
}

func TestDuplicatesOfOldDataDoNotStartRecoveryAgain(t *testing.T) {
	a := established(t)
	flood(a, 10)
	a.advance(a.c.RTO())
	a.drain()
	a.inject(sA, 1, 10001, 0)
	a.write(3000)
	a.drain()
	a.advance(Millisecond)
	before := a.c.Stats.FastRetransmits
	a.inject(sA, 1, 10001, 0)
	a.inject(sA, 1, 10001, 0)
	a.inject(sA, 1, 10001, 0)
	if a.c.Stats.FastRetransmits != before {
		t.Error("what was sent twice has echoed as a loss")
	}
}

func TestWhatIsNoDuplicateAcknowledgement(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0)
	if a.c.Stats.DupAcks != 0 {
		t.Error("with nothing in flight")
	}
	flood(a, 10)
	a.inject(sA, 1, 1, 10)
	if a.c.Stats.DupAcks != 0 {
		t.Error("with text")
	}
	a.inject(sA, 11, 1, 0, window(63000))
	if a.c.Stats.DupAcks != 0 {
		t.Error("with another window")
	}
	a.inject(sA, 11, -99, 0, window(63000))
	if a.c.Stats.DupAcks != 0 {
		t.Error("with an old number")
	}
	a.inject(sA, 11, 1, 0, window(63000))
	if a.c.Stats.DupAcks != 1 {
		t.Error("one is not counted")
	}
}

func TestCongestionAvoidanceGrowsOneSegmentInARoundTrip(t *testing.T) {
	a := established(t)
	a.c.cc.ssthresh = 10000
	flood(a, 40)
	acked := 1
	for range 10 {
		acked += 1000
		a.inject(sA, 1, acked, 0)
		a.drain()
	}
	if cwnd, _ := a.c.Window(); cwnd != 11000 {
		t.Errorf("cwnd is %d, want 11000", cwnd)
	}
}

func TestWindowDoesNotGrowUnused(t *testing.T) {
	a := established(t)
	for i := range 50 {
		a.write(100)
		a.drain()
		a.inject(sA, 1, 1+100*(i+1), 0)
	}
	if cwnd, _ := a.c.Window(); cwnd != 10000 {
		t.Errorf("cwnd is %d, want 10000", cwnd)
	}
}

func TestRetransmissionAfterAPartOfASegment(t *testing.T) {
	a := established(t, func(tk *talk) { tk.pieces = 300 })
	a.write(2000)
	a.drain()
	a.inject(sA, 1, 501, 0)
	a.advance(a.c.RTO())
	a.want(sA, 501, 1, 1000)
}

func TestUserTimeout(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.UserTimeout = 3000 }))
	a.write(100)
	a.drain()
	a.advance(2999 * Millisecond)
	a.drain()
	a.wantState(Established)
	a.advance(Millisecond)
	a.wantEnd(ErrTimeout)
}

func TestUserTimeoutOfAnOpen(t *testing.T) {
	a := newTalk(t, option(func(o *ConnOptions) { o.UserTimeout = 2500 }))
	a.openActive()
	a.drain()
	a.advance(2499 * Millisecond)
	a.wantState(SynSent)
	a.advance(Millisecond)
	a.wantEnd(ErrTimeout)
}

func TestUserTimeoutStartsAnewWithEachProgress(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.UserTimeout = 3000; o.NoDelay = 1 }))
	for i := range 5 {
		a.write(100)
		a.drain()
		a.advance(2 * Second)
		a.drain()
		a.inject(sA, 1, 1+100*(i+1), 0)
	}
	a.wantState(Established)
}

func TestOrphanGivesUpEarlier(t *testing.T) {
	a := established(t)
	a.write(10)
	a.close()
	a.drain()
	for range orphanTries {
		a.advance(a.c.RTO())
		a.wantState(FinWait1)
		a.want(sFA|sPA, 1, 1, 10)
	}
	a.advance(a.c.RTO())
	a.wantEnd(ErrTimeout)
}

// tcp_orphan_retries.
func TestOrphanGivesUpWhenTheHostSays(t *testing.T) {
	for _, zero := range []bool{false, true} {
		a := established(t)
		a.st.m.OrphanTries = 2
		a.write(10)
		a.close()
		a.drain()
		if zero { // the persist timer has the same limit
			a.inject(sA, 1, 1, 0, window(0))
			a.drain()
		}
		for range 2 {
			a.advance(a.c.Deadline() - a.now)
			a.drain()
			a.wantState(FinWait1)
		}
		a.advance(a.c.Deadline() - a.now)
		a.wantEnd(ErrTimeout)
	}
}

func TestUnknownCongestionControlIsNewReno(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.Congestion = 200 }))
	if cwnd, _ := a.c.Window(); cwnd != 10000 {
		t.Errorf("cwnd is %d", cwnd)
	}
}

func TestRecoverFollowsALongStreamWithoutLoss(t *testing.T) {
	a := established(t)
	a.c.snd.una -= 1 << 31 // as if recover were half the space away
	a.c.keepNear()
	if !a.c.snd.una.After(a.c.loss.recover) && a.c.loss.recover != a.c.snd.iss {
		t.Error("recover lies ahead of una")
	}
	b := established(t)
	flood(b, 2)
	b.inject(sA, 1, 2001, 0)
	if b.c.snd.una.From(b.c.loss.recover) != 1 {
		t.Errorf("recover is %d behind una", b.c.snd.una.From(b.c.loss.recover))
	}
}

func TestFastRetransmitIsNotMeasured(t *testing.T) {
	a := established(t)
	flood(a, 10) // the first segment is timed
	srtt, _ := a.c.SmoothedRTT()
	for range 3 {
		a.advance(20 * Millisecond)
		a.inject(sA, 1, 1, 0)
	}
	a.drain()
	a.inject(sA, 1, 10001, 0)
	if after, _ := a.c.SmoothedRTT(); after != srtt {
		t.Errorf("srtt went from %d to %d µs", srtt/Microsecond, after/Microsecond)
	}
}
