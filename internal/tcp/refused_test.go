package tcp

import "testing"

// refuse lets the device refuse the next segment, as the half does: the step is
// undone.
func (tk *talk) refuse() {
	tk.t.Helper()
	before := tk.c
	var out Segment
	if !tk.next(&out) || out.Len == 0 && out.Flags&sFA != sFA {
		tk.t.Fatalf("no data to refuse, but %s %d", out.Flags, out.Len)
	}
	if tk.c.Annex != before.Annex {
		tk.t.Fatal("the step took an annex")
	}
	tk.c = before
	tk.do("Refused", func(*Memory) { tk.c.Refused(tk.now) })
}

// refuseFor lets the device refuse what timers want to send until the time is over,
// and returns how often that was.
func (tk *talk) refuseFor(d Time) (n int) {
	tk.t.Helper()
	for end := tk.now + d; tk.c.State != Closed && tk.c.Deadline() <= end; {
		tk.advance(tk.c.Deadline() - tk.now)
		if tk.c.State != Closed {
			tk.refuse()
			n++
		}
	}
	return n
}

func TestDataThatTheDeviceRefusesIsTriedAgain(t *testing.T) {
	a := established(t)
	a.write(100)
	a.refuse()
	if a.c.flight() != 0 || a.c.Stats.BytesSent != 0 || a.c.unsent() != 100 {
		t.Fatalf("%d in flight, %d sent", a.c.flight(), a.c.Stats.BytesSent)
	}
	if got := a.c.Deadline() - a.now; got != a.c.RTO() {
		t.Fatalf("first try in %d ms, want %d", got/Millisecond, a.c.RTO()/Millisecond)
	}
	a.advance(a.c.RTO())
	a.refuse()
	for i := range 5 {
		if n := a.c.Info(a.now).Probes; int(n) != i+1 {
			t.Errorf("after %d tries: %d probes", i+1, n)
		}
		a.advance(refusedPause - 1)
		if a.c.pending != 0 || a.c.has(flagOverride) {
			t.Fatal("a try before its time")
		}
		a.advance(1)
		a.refuse()
	}
	a.advance(refusedPause)
	a.want(sPA, 1, 1, 100)
	if i := a.c.Info(a.now); i.Probes != 0 || i.Backoff != 0 || a.c.has(flagRefused) || a.c.armed(timerPersist) {
		t.Errorf("the device takes data again: %+v", i)
	}
	a.inject(sA, 1, 101, 0)
	if a.c.Deadline() != Never {
		t.Error("a timer still runs")
	}
}

func TestAWriteTriesADeviceThatHasRefused(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.NoDelay = 1 }))
	a.write(100)
	a.refuse()
	at := a.c.Deadline()
	a.advance(100 * Millisecond)
	a.write(50)
	a.refuse()
	if a.c.Deadline() != at {
		t.Error("a write has moved the timer")
	}
	a.write(10)
	a.want(sPA, 1, 1, 160)
}

func TestFinThatTheDeviceRefusesIsTriedAgain(t *testing.T) {
	a := established(t)
	a.shutdown()
	a.refuse()
	a.wantState(FinWait1)
	a.advance(a.c.RTO())
	a.refuse()
	a.advance(refusedPause)
	a.want(sFA, 1, 1, 0)
}

// As in Linux the user timeout begins with the first try of the timer's.
func TestUserTimeoutOfADeviceThatRefuses(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.UserTimeout = 3000 }))
	a.write(100)
	a.refuse()
	begun, rto := a.now, a.c.RTO()
	if n := a.refuseFor(10 * Second); n != 6 {
		t.Errorf("%d tries, want 6", n)
	}
	a.wantEnd(ErrTimeout)
	if got := a.now - begun; got != rto+3*Second {
		t.Errorf("ended after %d ms", got/Millisecond)
	}
}

func TestADeviceThatRefusesForEverEndsTheConnection(t *testing.T) {
	for _, orphan := range []bool{false, true} {
		a := established(t)
		a.write(100)
		if orphan {
			a.close()
		}
		a.refuse()
		begun := a.now
		a.refuseFor(200 * Second)
		a.wantEnd(ErrTimeout)
		if got := a.now - begun; got < refusedLimit || got > refusedLimit+2*Second {
			t.Errorf("orphan %v: ended after %d s", orphan, got/Second)
		}
	}
}

func TestWhatIsSentAgainAndRefusedIsNotBackedOff(t *testing.T) {
	for _, sack := range []bool{false, true} {
		mods := []func(*talk){}
		if sack {
			mods = append(mods, withSACK)
		}
		a := established(t, mods...)
		a.write(1000)
		a.drain()
		rto := a.c.rtt.rto
		a.advance(a.c.timers.at[timerResend] - a.now)
		for a.c.pending&pendResend == 0 && a.c.loss.phase != phaseLoss {
			a.drain() // a tail loss probe
			a.advance(a.c.timers.at[timerResend] - a.now)
		}
		a.refuse()
		if got := a.c.timers.at[timerResend] - a.now; got != refusedPause {
			t.Errorf("sack %v: tried again in %d ms", sack, got/Millisecond)
		}
		if a.c.RTO() != rto || a.c.snd.retries != 0 {
			t.Errorf("sack %v: RTO %d of %d, %d retries", sack, a.c.RTO(), rto, a.c.snd.retries)
		}
		for range 20 {
			a.advance(refusedPause)
			a.wantState(Established)
			if a.c.Deadline() > a.now {
				a.advance(0)
			}
			if !a.c.HasOutput() {
				t.Fatalf("sack %v: no try", sack)
			}
			a.c.clear(flagRefused) // another one's data has passed meanwhile
			a.refuse()
		}
		a.advance(refusedPause)
		a.want(sPA, 1, 1, 1000)
		a.inject(sA, 1, 1001, 0)
		a.wantState(Established)
	}
}

func TestNewDataRefusedBehindDataInFlightShrinksTheWindowOnce(t *testing.T) {
	a := established(t)
	a.write(5000)
	a.want(sA, 1, 1, 1000)
	cwnd := a.c.cc.cwnd
	a.refuse()
	if a.c.cc.cwnd >= cwnd {
		t.Errorf("cwnd %d of %d", a.c.cc.cwnd, cwnd)
	}
	cwnd = a.c.cc.cwnd
	a.do("Refused", func(*Memory) { a.c.Refused(a.now) }) // in the same flight
	if a.c.cc.cwnd < cwnd {
		t.Errorf("cwnd %d, then %d", cwnd, a.c.cc.cwnd)
	}
	if a.c.armed(timerPersist) {
		t.Error("a timer runs, though an acknowledgement comes")
	}
	a.inject(sA, 1, 1001, 0)
	if !a.c.HasOutput() {
		t.Error("an acknowledgement is no occasion to try again")
	}
	if a.c.Stats.ECE != 0 {
		t.Error("counted as a mark of the peer's")
	}
}

func TestHandshakeIsNotTakenBack(t *testing.T) {
	a := newTalk(t)
	a.openActive()
	before := a.c
	a.do("Refused", func(*Memory) { a.c.Refused(a.now) })
	if a.c != before {
		t.Error("a SYN was taken back")
	}
}
