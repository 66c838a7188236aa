package tcp

import "testing"

// delayed starts a conversation in which a timeout has sent the first of five
// segments again, and more data waits.
func delayed(t *testing.T, mods ...func(*talk)) *talk {
	t.Helper()
	mods = append(mods, option(func(o *ConnOptions) { o.Congestion = CongestionReno }))
	a := established(t, mods...)
	flood(a, 5)
	a.write(5000)
	a.c.cc.cwnd = 5000
	a.c.pending &^= pendTail
	a.c.stop(timerLoss)
	for a.c.Stats.Timeouts == 0 {
		a.drain()
		a.c.stop(timerLoss)
		a.advance(a.c.timers.at[timerResend] - a.now)
	}
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.wantPhase(phaseLoss)
	return a
}

func TestSpuriousTimeoutIsUndone(t *testing.T) {
	for name, mod := range map[string]func(*talk){"with SACK": withSACK, "without": func(*talk) {}} {
		t.Run(name, func(t *testing.T) {
			a := delayed(t, mod)
			from := rel(a.c.snd.nxt, ourISS)
			a.inject(sA, 1, 1001, 0) // the delayed acknowledgement of the first copy
			a.want(sA, from, 1, 1000)
			a.want(sA, from+1000, 1, 1000)
			a.wantNone()
			a.inject(sA, 1, 2001, 0) // of what was never sent again
			a.wantPhase(phaseOpen)
			if a.c.Stats.Undone != 1 || a.c.Stats.Resent != 1 {
				t.Errorf("%+v", a.c.Stats)
			}
			if cwnd, ssthresh := a.c.Window(); cwnd < 5000 || ssthresh != maxBuffer {
				t.Errorf("cwnd %d, ssthresh %d are not back", cwnd, ssthresh)
			}
		})
	}
}

func TestRealTimeoutIsNotUndone(t *testing.T) {
	for name, mod := range map[string]func(*talk){"with SACK": withSACK, "without": func(*talk) {}} {
		t.Run(name, func(t *testing.T) {
			a := delayed(t, mod)
			from := rel(a.c.snd.nxt, ourISS)
			a.inject(sA, 1, 1001, 0) // of the second copy
			a.want(sA, from, 1, 1000)
			a.want(sA, from+1000, 1, 1000)
			a.wantNone()
			if name == "with SACK" {
				a.inject(sA, 1, 1001, 0, sacks(from, from+1000))
			} else {
				a.inject(sA, 1, 1001, 0)
			}
			a.wantPhase(phaseLoss)
			if n := a.drain(); n == 0 {
				t.Error("the rest is not sent again")
			}
			if a.c.Stats.Undone != 0 {
				t.Errorf("%+v", a.c.Stats)
			}
		})
	}
}

func TestDuplicateAfterATimeoutEndsTheDetection(t *testing.T) {
	a := delayed(t)
	a.inject(sA, 1, 1, 0)
	a.inject(sA, 1, 1001, 0)
	a.want(sA, 1001, 1, 1000)
	a.want(sA, 2001, 1, 1000)
	a.inject(sA, 1, 2001, 0)
	a.wantPhase(phaseLoss)
	if a.c.Stats.Undone != 0 {
		t.Error("undone")
	}
}

func TestWithoutNewDataTheRestIsSentAgain(t *testing.T) {
	a := selective(t, 5)
	a.c.stop(timerLoss)
	a.advance(a.c.timers.at[timerResend] - a.now)
	a.want(sA, 1, 1, 1000)
	a.inject(sA, 1, 1001, 0)
	a.want(sA, 1001, 1, 1000)
	a.want(sA, 2001, 1, 1000)
	a.wantNone()
}

func TestSecondTimeoutIsNotProbed(t *testing.T) {
	a := delayed(t, withSACK)
	a.advance(a.c.RTO())
	a.want(sA, 1, 1, 1000)
	a.inject(sA, 1, 1001, 0)
	a.want(sA, 1001, 1, 1000)
	a.inject(sA, 1, 3001, 0)
	a.wantPhase(phaseLoss)
}
