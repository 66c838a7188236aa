package tcp

import (
	"testing"

	"usertcp/internal/seq"
)

// A probe that is due waits as long as the peer's stack has been heard of within an
// interval, counted from there, and only if nothing else is to be done.
func TestMayRest(t *testing.T) {
	const due = 10 * Second
	for _, x := range []struct {
		what  string
		mods  []func(*talk)
		do    func(a *talk)
		heard Time // after the connection's last segment
		want  Time // … until when it rests, 0 if it does not
	}{
		{"the stack was heard of a second ago", nil, nil, due - Second, due - Second + 10*Second},
		{"… at the very moment", nil, nil, due, due + 10*Second},
		{"… just within an interval", nil, nil, 1, 1 + 10*Second},
		{"… an interval ago", nil, nil, 0, 0},
		{"it has asked already", nil, func(a *talk) { a.advance(0); a.drain() }, due, 0},
		{"the peer has sent something since", nil, func(a *talk) { a.inject(sA, 1, 1, 0) }, due, 0},
		{"keep-alive is off", nil, func(a *talk) { a.c.Opt.KeepAlive = 0; a.c.OptionsChanged(a.now) }, due, 0},
		{"there is something to be sent", nil, func(a *talk) { a.write(10) }, due, 0},
		{"something is in flight", nil, func(a *talk) { a.write(10); a.drain() }, due, 0},
		{"another timer runs", nil, func(a *talk) { a.c.arm(timerAck, a.now+Second) }, due, 0},
		{"the peer has closed", nil, func(a *talk) { a.inject(sFA, 1, 1, 0); a.drain(); a.now += due }, 2 * due, 3 * due},
		{"a user timeout counts from the last segment", []func(*talk){option(func(o *ConnOptions) { o.UserTimeout = 14000 })}, nil, due, 0},
	} {
		t.Run(x.what, func(t *testing.T) {
			a := established(t, append(x.mods, option(keepAlive))...)
			at := a.c.rcv.lastSeg
			a.now = at + due
			if x.do != nil {
				x.do(a)
			}
			before := a.c
			until, ok := a.c.MayRest(a.now, at+x.heard)
			if ok != (x.want != 0) || ok && until != at+x.want {
				t.Errorf("rests until %d ms, %v; want %d", (until-at)/Millisecond, ok, x.want/Millisecond)
			}
			if a.c != before {
				t.Error("the connection has changed")
			}
		})
	}
}

func TestNoRestInTimeWait(t *testing.T) {
	a := established(t, option(keepAlive))
	a.shutdown()
	a.drain()
	a.inject(sFA, 1, 2, 0)
	a.drain()
	a.wantState(TimeWait)
	a.now += 20 * Second
	if _, ok := a.c.MayRest(a.now, a.now); ok {
		t.Error("TIME-WAIT rests")
	}
}

// A rest ends after so many intervals, and for those who wait long anyhow after two
// minutes: that the peer has forgotten the connection shows only then. Not all end at once.
func TestRestHasAnEnd(t *testing.T) {
	for _, x := range []struct{ idle, least, most Time }{
		{Second, 6 * Second, 8 * Second},
		{15 * Second, 93 * Second, 120 * Second},
		{7200 * Second, 7290 * Second, 7320 * Second},
		{1<<32 - 1, 0, 0}, // in seconds: nothing overflows
	} {
		var c Conn
		idle := x.idle
		if x.most == 0 {
			idle *= Second
			x.least, x.most = idle+90*Second, idle+restMost
		}
		seen := map[Time]bool{}
		for n := range 256 {
			c.snd.iss = seq.Number(n << 8)
			span := c.restSpan(idle)
			if span < x.least || span > x.most {
				t.Fatalf("interval %d s: rests for %d s, want %d to %d", idle/Second, span/Second, x.least/Second, x.most/Second)
			}
			seen[span] = true
		}
		if len(seen) < 200 {
			t.Errorf("interval %d s: 256 connections rest for %d different times", idle/Second, len(seen))
		}
	}
}
