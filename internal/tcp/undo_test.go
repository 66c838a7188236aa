package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

// echo is a mod that sets the timestamp that a segment echoes.
func echo(ts uint32) func(*Segment) {
	return func(s *Segment) {
		s.Options.Present |= wire.HasTimestamps
		s.Options.TSEcr = ts
	}
}

func TestEifelUndoesASpuriousRecovery(t *testing.T) {
	for name, mods := range map[string][]func(*talk){"with SACK": {withSACK, withTimestamps}, "without": {withTimestamps}} {
		t.Run(name, func(t *testing.T) {
			a := established(t, append(mods, option(func(o *ConnOptions) { o.Congestion = CongestionReno }))...)
			a.write(9880)
			a.drain()
			first := a.tsecho
			a.advance(10 * Millisecond)
			before, _ := a.c.Window()
			for i := range 3 {
				if name == "with SACK" {
					a.inject(sA, 1, 1, 0, sacks(989, 989+988*(i+1)), echo(first))
				} else {
					a.inject(sA, 1, 1, 0, echo(first))
				}
			}
			a.want(sA, 1, 1, 988)
			a.wantPhase(phaseRecovery)
			a.advance(5 * Millisecond)
			a.inject(sA, 1, 989+3*988, 0, echo(first)) // the first copy, late
			a.wantPhase(phaseOpen)
			if cwnd, ssthresh := a.c.Window(); cwnd < before || ssthresh != maxBuffer {
				t.Errorf("cwnd %d, ssthresh %d are not back", cwnd, ssthresh)
			}
			if a.c.Stats.Undone != 1 {
				t.Errorf("%+v", a.c.Stats)
			}
		})
	}
}

func TestEifelUndoesASpuriousTimeout(t *testing.T) {
	for name, mods := range map[string][]func(*talk){"with SACK": {withSACK, withTimestamps}, "without": {withTimestamps}} {
		t.Run(name, func(t *testing.T) {
			a := established(t, mods...)
			a.write(988 * 3)
			a.drain()
			first := a.tsecho
			for a.c.Stats.Timeouts == 0 {
				a.c.stop(timerLoss)
				a.advance(a.c.timers.at[timerResend] - a.now)
			}
			a.want(sA, 1, 1, 988)
			a.inject(sA, 1, 989, 0, echo(first))
			a.wantPhase(phaseOpen)
			a.wantNone()
			if cwnd, _ := a.c.Window(); cwnd < 9880 || a.c.Stats.Undone != 1 {
				t.Errorf("cwnd %d, %+v", cwnd, a.c.Stats)
			}
		})
	}
}

func TestEchoOfTheSecondCopyIsNotUndone(t *testing.T) {
	a := established(t, withSACK, withTimestamps)
	a.write(9880)
	a.drain()
	first := a.tsecho
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1, 0, sacks(989, 989+988*9), echo(first))
	a.want(sA, 1, 1, 988)
	second := a.tsecho
	if first == second {
		t.Fatal("the clock stands still")
	}
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 9881, 0, echo(second))
	a.wantPhase(phaseOpen)
	if a.c.Stats.Undone != 0 {
		t.Error("undone")
	}
}

func TestDsackUndoesASpuriousRecovery(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(2001, 8001))
	a.want(sA, 1, 1, 1000)
	a.want(sA, 1001, 1, 1000)
	a.wantNone()
	a.advance(2 * Millisecond)
	a.inject(sA, 1, 8001, 0) // both first copies, late
	a.wantPhase(phaseRecovery)
	a.inject(sA, 1, 8001, 0, sacks(1, 1001))
	a.wantPhase(phaseRecovery)
	a.inject(sA, 1, 8001, 0, sacks(1001, 2001))
	a.wantPhase(phaseOpen)
	if cwnd, ssthresh := a.c.Window(); cwnd < 10000 || ssthresh != maxBuffer || a.c.Stats.Undone != 1 {
		t.Errorf("cwnd %d, ssthresh %d, %+v", cwnd, ssthresh, a.c.Stats)
	}
	if a.c.Stats.DSACKs != 2 {
		t.Errorf("%d D-SACKs", a.c.Stats.DSACKs)
	}
}

func TestDsackUndoesARecoveryThatIsOver(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 1, 0, sacks(1001, 10001))
	a.want(sA, 1, 1, 1000)
	a.inject(sA, 1, 10001, 0)
	a.wantPhase(phaseOpen)
	if _, ssthresh := a.c.Window(); ssthresh == maxBuffer {
		t.Fatal("the recovery left no trace")
	}
	a.inject(sA, 1, 10001, 0, sacks(1, 1001))
	if _, ssthresh := a.c.Window(); ssthresh != maxBuffer || a.c.Stats.Undone != 1 {
		t.Errorf("ssthresh %d, %+v", ssthresh, a.c.Stats)
	}
}

func TestDsacksOfOtherThingsUndoNothing(t *testing.T) {
	for name, edges := range map[string][]int{
		"before the recovery": {-999, 1},
		"half of it":          {1, 501},
		"not sent":            {20001, 21001},
		"backwards":           {1001, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := selective(t, 10)
			a.inject(sA, 1, 1, 0, sacks(1001, 10001))
			a.want(sA, 1, 1, 1000)
			a.inject(sA, 1, 10001, 0)
			a.inject(sA, 1, 10001, 0, sacks(edges...))
			if a.c.Stats.Undone != 0 {
				t.Error("undone")
			}
		})
	}
}
