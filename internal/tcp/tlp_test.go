package tcp

import "testing"

func TestProbeSendsTheLastSegmentAgain(t *testing.T) {
	a := selective(t, 4)
	a.advance(10*Millisecond - 1)
	a.wantNone()
	a.advance(1) // twice the round trip since the data left
	a.want(sPA, 3001, 1, 1000)
	a.wantNone()
	a.wantPhase(phaseOpen)
	if a.c.Stats.TailProbes != 1 || a.c.Stats.Timeouts != 0 {
		t.Errorf("%+v", a.c.Stats)
	}
	a.advance(100 * Millisecond)
	a.wantNone() // one probe at a time
}

func TestProbeIsAnsweredAndTheTailRecovered(t *testing.T) {
	a := selective(t, 4)
	a.advance(10 * Millisecond)
	a.want(sPA, 3001, 1, 1000)
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 2001, 0, sacks(3001, 4001)) // 2001 was lost
	a.advance(3 * Millisecond)
	a.want(sA, 2001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 4001, 0)
	a.wantPhase(phaseOpen)
	if a.c.Stats.Timeouts != 0 || a.c.Stats.FastRetransmits != 1 {
		t.Errorf("%+v", a.c.Stats)
	}
}

func TestProbeSendsNewDataBeyondTheWindow(t *testing.T) {
	a := selective(t, 10)
	a.write(2000)
	a.wantNone() // cwnd is full
	a.advance(10 * Millisecond)
	a.want(sA, 10001, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 11001, 0)
	a.want(sPA, 11001, 1, 1000)
	if a.c.Stats.TailLosses != 0 || a.c.Stats.Resent != 0 {
		t.Errorf("%+v", a.c.Stats)
	}
}

func TestProbeOfALoneSegmentWaitsForTheDelayedAcknowledgement(t *testing.T) {
	a := selective(t, 1)
	wait := a.c.Deadline() - a.now
	if wait <= 190*Millisecond {
		t.Fatalf("due in %d ms", wait/Millisecond)
	}
	a.advance(wait)
	a.want(sPA, 1, 1, 1000)
	if a.c.Stats.TailProbes != 1 || a.c.Stats.Timeouts != 0 {
		t.Error("the timeout came before the probe")
	}
	a.advance(a.c.RTO())
	a.want(sPA, 1, 1, 1000)
	if a.c.Stats.Timeouts != 1 {
		t.Error("no timeout after the probe")
	}
}

// probed starts a conversation in which the last of four segments has been sent
// again as a probe, and everything is acknowledged once.
func probed(t *testing.T) *talk {
	a := selective(t, 4)
	a.advance(10 * Millisecond)
	a.want(sPA, 3001, 1, 1000)
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 4001, 0)
	return a
}

func TestProbeThatRepairedALossShrinksTheWindow(t *testing.T) {
	a := probed(t)
	before, _ := a.c.Window()
	a.write(1000)
	a.want(sPA, 4001, 1, 1000)
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 5001, 0)
	if cwnd, _ := a.c.Window(); cwnd >= before {
		t.Errorf("cwnd was %d and is %d", before, cwnd)
	}
	if a.c.Stats.TailLosses != 1 {
		t.Errorf("%+v", a.c.Stats)
	}
}

func TestProbeThatCameTwiceDoesNot(t *testing.T) {
	for name, mods := range map[string][]func(*Segment){"with D-SACK": {sacks(3001, 4001)}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			a := probed(t)
			a.inject(sA, 1, 4001, 0, mods...)
			before, _ := a.c.Window()
			a.write(1000)
			a.want(sPA, 4001, 1, 1000)
			a.inject(sA, 1, 5001, 0)
			if cwnd, _ := a.c.Window(); cwnd < before || a.c.Stats.TailLosses != 0 {
				t.Errorf("cwnd was %d and is %d; %+v", before, cwnd, a.c.Stats)
			}
		})
	}
}

func TestNoProbeWithoutSack(t *testing.T) {
	a := established(t)
	flood(a, 4)
	a.advance(a.c.RTO() - 1)
	a.wantNone()
	if a.c.armed(timerLoss) {
		t.Error("a timer of RACK-TLP runs")
	}
}

func TestNoProbeInRecovery(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(1001, 5001))
	a.want(sA, 1, 1, 1000)
	a.advance(150 * Millisecond)
	a.wantNone()
	if a.c.Stats.TailProbes != 0 {
		t.Error("a probe")
	}
}

func TestProbeCarriesTheFin(t *testing.T) {
	a := selective(t, 2)
	a.write(300)
	a.shutdown()
	a.want(sFA|sPA, 2001, 1, 300)
	a.advance(21 * Millisecond)
	a.want(sFA|sPA, 2001, 1, 300)
	a.wantNone()
}

func TestAcknowledgementsPutOffTheProbe(t *testing.T) {
	a := selective(t, 8)
	for i := range 6 {
		a.advance(9 * Millisecond)
		a.inject(sA, 1, 1001+1000*i, 0)
		a.wantNone()
	}
	if a.c.Stats.TailProbes != 0 {
		t.Error("a probe though acknowledgements came")
	}
}
