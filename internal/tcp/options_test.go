package tcp

import "testing"

// change lets the program change options.
func (tk *talk) change(f func(*ConnOptions)) {
	tk.t.Helper()
	tk.do("OptionsChanged", func(*Memory) { f(&tk.c.Opt); tk.c.OptionsChanged(tk.now) })
}

func TestNotSentLowatBoundsWhatIsNotSent(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.NotSentLowat = 3000 }))
	a.inject(sA, 1, 1, 0, window(0))
	if got := a.c.SendSpace(); got != 3000 {
		t.Errorf("room for %d octets, want 3000", got)
	}
	a.write(2500)
	a.wantNone()
	if got := a.c.SendSpace(); got != 1000 {
		t.Errorf("room for %d octets, want a segment's", got)
	}
	a.write(500)
	if got := a.c.SendSpace(); got != 0 {
		t.Errorf("room for %d octets, want none", got)
	}
	a.c.Events = 0
	a.inject(sA, 1, 1, 0, window(1000))
	a.want(sA, 1, 1, 1000)
	if a.c.Events&EventWritable != 0 {
		t.Error("woken while more than half the mark is not sent")
	}
	a.inject(sA, 1, 1001, 0, window(1000))
	a.want(sA, 1001, 1, 1000)
	a.wantEvents(EventWritable)
}

func TestWindowClampBoundsTheWindow(t *testing.T) {
	a := newTalk(t, option(func(o *ConnOptions) { o.WindowClamp = 5000 }))
	a.openPassive()
	if w := a.want(sSA, 0, 1, 0).Window; w > 5000 {
		t.Errorf("SYN-ACK offers %d octets", w)
	}
	a.inject(sPA, 1, 1, 1000)
	if w := a.want(sA, 1, 1001, 0).Window; w > 5000 || w < 3000 {
		t.Errorf("offers %d octets", w)
	}
	a.readAll()
	a.inject(sPA, 1001, 1, 1000)
	if w := a.want(sA, 1, 2001, 0).Window; w > 5000 || w < 4000 {
		t.Errorf("offers %d octets", w)
	}
}

func TestWindowClampNeverShrinksTheWindow(t *testing.T) {
	a := calm(established(t))
	edge := a.c.rcv.edge
	a.change(func(o *ConnOptions) { o.WindowClamp = 1 })
	if a.c.Opt.WindowClamp != minWindowClamp {
		t.Errorf("clamp is %d", a.c.Opt.WindowClamp)
	}
	a.inject(sPA, 1, 1, 1000)
	a.inject(sPA, 1001, 1, 1000)
	a.drain()
	a.readAll()
	if a.c.rcv.edge != edge {
		t.Errorf("the edge moved by %d", rel(a.c.rcv.edge, edge))
	}
}

func TestSmallClampStillOpens(t *testing.T) {
	a := newTalk(t, option(func(o *ConnOptions) { o.WindowClamp = minWindowClamp }))
	a.openPassive()
	a.drain()
	a.inject(sA, 1, 1, 0)
	for at := 1; at < 20000; {
		a.drain()
		room := int(a.c.rcv.edge - a.c.rcv.nxt)
		if room == 0 {
			t.Fatalf("the window stays closed at %d", at)
		}
		n := min(room, 500)
		a.inject(sPA, at, 1, n)
		a.readAll()
		at += n
	}
}

func TestUserMSS(t *testing.T) {
	a := newTalk(t, option(func(o *ConnOptions) { o.UserMSS = 700 }))
	a.openActive()
	if mss := a.want(sS, 0, -1, 0).Options.MSS; mss != 700 {
		t.Errorf("told an MSS of %d", mss)
	}
	a.inject(sSA, 0, 1, 0)
	a.want(sA, 1, 1, 0)
	a.write(1000)
	a.want(sA, 1, 1, 700)
	a.want(sPA, 701, 1, 300)
}

func TestTinyUserMSSIsRaised(t *testing.T) {
	a := newTalk(t, option(func(o *ConnOptions) { o.UserMSS = 1 }))
	a.openActive()
	if mss := a.want(sS, 0, -1, 0).Options.MSS; mss != minMSS {
		t.Errorf("told an MSS of %d", mss)
	}
}

func TestQuickAckOffDelays(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 10)
	a.want(sA, 1, 11, 0) // a young connection
	a.change(func(o *ConnOptions) { o.QuickAck = QuickAckOff })
	a.inject(sPA, 11, 1, 10)
	a.wantNone()
	a.change(func(o *ConnOptions) { o.QuickAck = QuickAckOn })
	a.want(sA, 1, 21, 0)
	a.inject(sPA, 21, 1, 10)
	a.want(sA, 1, 31, 0)
}

func TestUncorkSendsAtOnce(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.Cork, o.NoDelay = 1, 1 }))
	a.write(1100)
	a.want(sA, 1, 1, 1000)
	a.wantNone()
	a.inject(sA, 1, 1001, 0)
	a.wantNone()
	a.change(func(o *ConnOptions) { o.Cork = 0 })
	a.want(sPA, 1001, 1, 100)
}

func TestCorkIsNoStopper(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.Cork = 1 }))
	a.write(100)
	a.wantNone()
	a.advance(a.c.RTO())
	a.want(sPA, 1, 1, 100)
}

func TestKeepIdleChangesARunningTimer(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.KeepAlive, o.KeepIdle = 1, 100 }))
	a.advance(20 * Second)
	a.change(func(o *ConnOptions) { o.KeepIdle = 30 })
	a.advance(9 * Second)
	a.wantNone()
	a.advance(Second)
	a.want(sA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.change(func(o *ConnOptions) { o.KeepIdle = 1 })
	a.advance(Second)
	a.want(sA, 0, 1, 0)
}

func TestUserTimeoutRulesKeepAlive(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) {
		o.KeepAlive, o.KeepIdle, o.KeepInterval, o.KeepCount, o.UserTimeout = 1, 10, 1, 1, 14000
	}))
	a.advance(13 * Second)
	if a.drain() == 0 {
		t.Error("no probe was sent")
	}
	a.wantState(Established)
	a.advance(Second)
	a.wantEnd(ErrTimeout)
	a.want(sRA, 1, 1, 0)
}
