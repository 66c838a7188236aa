package tcp

import "testing"

func TestZeroWindowIsProbedWithBackOff(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(0))
	a.write(100)
	a.wantNone()
	wait := a.c.RTO()
	for range 12 {
		a.advance(wait - 1)
		a.wantNone()
		a.advance(1)
		a.want(sA, 0, 1, 0) // before the window: it must be answered
		a.wantNone()
		a.inject(sA, 1, 1, 0, window(0))
		a.wantNone()
		wait = min(2*wait, maxRTO)
	}
	a.inject(sA, 1, 1, 0)
	a.want(sPA, 1, 1, 100)
	a.inject(sA, 1, 101, 0)
	if a.c.Deadline() != Never {
		t.Error("a timer still runs")
	}
}

func TestZeroWindowWithoutAnswersEnds(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(0))
	a.write(100)
	a.wantNone()
	for i := 0; a.c.State == Established; i++ {
		if i > int(a.c.Opt.DataRetries) {
			t.Fatal("probes without end")
		}
		a.advance(a.c.Deadline() - a.now)
		a.drain()
	}
	a.wantEnd(ErrTimeout)
}

func TestZeroWindowWithAnswersNeverEnds(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.UserTimeout = 10000 }))
	a.inject(sA, 1, 1, 0, window(0))
	a.write(100)
	a.wantNone()
	for range 200 {
		a.advance(a.c.Deadline() - a.now)
		a.drain()
		a.advance(Millisecond)
		a.inject(sA, 1, 1, 0, window(0))
	}
	a.wantState(Established)
}

func TestWindowThatClosesOverDataInFlightDoesNotEndTheConnection(t *testing.T) {
	a := established(t)
	a.write(100)
	a.drain()
	for range 100 {
		a.advance(a.c.Deadline() - a.now)
		a.drain()
		a.inject(sA, 1, 1, 0, window(0))
	}
	a.wantState(Established)
	a.inject(sA, 1, 101, 0)
	a.wantNone()
}

func TestSillyWindowIsUsedAfterAWhile(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(10))
	a.write(100)
	a.wantNone()
	a.advance(a.c.RTO())
	a.want(sA, 1, 1, 10)
	a.wantNone()
}

func TestFinBehindAZeroWindowIsProbedFor(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(0))
	a.shutdown()
	a.wantNone()
	a.advance(a.c.RTO())
	a.want(sA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.want(sFA, 1, 1, 0)
}

func keepAlive(o *ConnOptions) {
	o.KeepAlive, o.KeepIdle, o.KeepInterval, o.KeepCount = 1, 10, 2, 3
}

func TestKeepAlive(t *testing.T) {
	on := option(keepAlive)
	t.Run("a silent peer is given up", func(t *testing.T) {
		a := established(t, on)
		a.advance(10*Second - 1)
		a.wantNone()
		a.advance(1)
		for range 3 {
			a.want(sA, 0, 1, 0)
			a.wantNone()
			a.advance(2 * Second)
		}
		a.wantEnd(ErrTimeout)
		a.want(sRA, 1, 1, 0)
	})
	t.Run("an answer is a sign of life", func(t *testing.T) {
		a := established(t, on)
		for range 20 {
			a.advance(10 * Second)
			a.want(sA, 0, 1, 0)
			a.inject(sA, 1, 1, 0)
			a.wantNone()
		}
		a.wantState(Established)
	})
	t.Run("traffic puts it off", func(t *testing.T) {
		a := established(t, on)
		a.advance(9 * Second)
		a.inject(sA, 1, 1, 0)
		a.advance(9 * Second)
		a.wantNone()
		a.advance(Second)
		a.want(sA, 0, 1, 0)
	})
	t.Run("data in flight has its own timer", func(t *testing.T) {
		a := established(t, on)
		a.write(10)
		a.drain()
		a.advance(11 * Second)
		if a.c.Stats.Probes != 0 {
			t.Error("a probe was sent")
		}
	})
	t.Run("can be switched on and off", func(t *testing.T) {
		a := established(t)
		a.c.Opt.KeepAlive, a.c.Opt.KeepIdle = 1, 5
		a.c.OptionsChanged(a.now)
		a.advance(5 * Second)
		a.want(sA, 0, 1, 0)
		a.c.Opt.KeepAlive = 0
		a.c.OptionsChanged(a.now)
		if a.c.Deadline() != Never {
			t.Error("a timer still runs")
		}
	})
}

// The keep-alive of a peer that asks, too, does for both.
func TestKeepAliveOfThePeer(t *testing.T) {
	on := option(keepAlive)
	t.Run("the peer's is a sign of life", func(t *testing.T) {
		a := established(t, on)
		for range 5 {
			a.advance(9 * Second)
			a.inject(sA, 0, 1, 0)
			a.want(sA, 1, 1, 0)
		}
		// Which of both asks from now on is said by their first sequence numbers.
		idle := 10 * Second
		if a.c.snd.iss.Before(a.c.rcv.irs) {
			idle += idle / 8
		}
		a.advance(idle - 1)
		a.wantNone()
		a.advance(1)
		a.want(sA, 0, 1, 0)
		a.inject(sA, 1, 1, 0)
		a.advance(10 * Second) // it does not ask any more: nobody waits for it
		a.want(sA, 0, 1, 0)
		a.inject(sA, 0, 1, 0) // it does: that is an answer, too
		a.want(sA, 1, 1, 0)
		a.advance(9 * Second)
		a.wantNone()
	})
	t.Run("what could be anybody's is none", func(t *testing.T) {
		a := established(t, on)
		a.advance(9 * Second)
		for _, x := range [][2]int{{-1, 1}, {0, 0}, {-1000, 1}} {
			a.inject(sA, x[0], x[1], 0)
		}
		a.drain()
		a.advance(Second)
		a.want(sA, 0, 1, 0)
	})
}

func TestProbeOfThePeerIsAnswered(t *testing.T) {
	a := established(t)
	a.inject(sA, 0, 1, 0)
	a.want(sA, 1, 1, 0)
}

func TestTimerTable(t *testing.T) {
	var c Conn
	if c.Deadline() != Never {
		t.Error("a fresh connection waits for something")
	}
	check := func(what string, want Time) {
		t.Helper()
		if c.Deadline() != want {
			t.Errorf("%s: the deadline is %d, want %d", what, c.Deadline(), want)
		}
		if err := c.checkTimers(nil); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	c.arm(timerAck, 50)
	check("one", 50)
	c.arm(timerResend, 20)
	check("an earlier one", 20)
	c.arm(timerKeep, 90)
	check("a later one", 20)
	c.arm(timerResend, 60)
	check("the earliest is put off", 50)
	c.stop(timerAck)
	check("the earliest is stopped", 60)
	c.stop(timerAck)
	check("and stopped again", 60)
	c.arm(timerResend, 60)
	check("set to what it is", 60)
	c.stopAll()
	check("all are stopped", Never)
}

func TestTimeoutBeforeItsTimeDoesNothing(t *testing.T) {
	a := established(t)
	a.write(10)
	a.drain()
	before := a.c
	a.c.Timeout(&a.st.m, a.c.Deadline()-1)
	if a.c != before {
		t.Error("something changed")
	}
}

func TestTimerThatEndsTheConnectionIsTheLastOne(t *testing.T) {
	a := calm(established(t, option(func(o *ConnOptions) { o.DataRetries = 0 })))
	a.write(10)
	a.drain()
	a.inject(sPA, 1, 1, 10) // its acknowledgement is delayed
	a.now += Second         // both are due
	a.do("Timeout", func(m *Memory) { a.c.Timeout(m, a.now) })
	a.wantEnd(ErrTimeout)
	a.wantNone()
}

func TestEachHoldOfACorkIsAsLong(t *testing.T) {
	a := established(t, option(cork))
	for i := range 3 {
		a.write(10)
		a.wantNone()
		a.advance(a.c.RTO())
		a.want(sPA, 1+10*i, 1, 10)
		a.inject(sA, 1, 11+10*i, 0)
	}
}
