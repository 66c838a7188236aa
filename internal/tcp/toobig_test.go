package tcp

import "testing"

// wantAll fails the test unless all from one number to before another is sent now, in
// segments of at most most octets: no timer is waited for.
func (tk *talk) wantAll(from, end, most int) {
	tk.t.Helper()
	for out := (Segment{}); from < end; from += int(out.Len) {
		if !tk.next(&out) || rel(out.Seq, ourISS) != from || out.Len == 0 || int(out.Len) > most {
			tk.t.Fatalf("sends %+v instead of at most %d octets from %d on", out, most, from)
		}
	}
	tk.wantNone()
}

func TestPacketTooBigMakesSegmentsSmaller(t *testing.T) {
	a := established(t, bigMSS)
	a.write(4000)
	a.want(sA, 1, 1, 1460)
	a.want(sA, 1461, 1, 1460)
	a.want(sPA, 2921, 1, 1080)
	cwnd, ssthresh := a.c.Window()
	a.pathMTU(1040, 1)
	for at := 1; at < 4001; {
		n := min(1000, 4001-at)
		flags := sA
		if at+n == 4001 {
			flags = sPA
		}
		a.want(flags, at, 1, n)
		at += n
	}
	if w, s := a.c.Window(); w != cwnd || s != ssthresh {
		t.Errorf("congestion control has seen it: %d %d, was %d %d", w, s, cwnd, ssthresh)
	}
	a.inject(sA, 1, 4001, 0)
	a.write(2000)
	a.want(sA, 4001, 1, 1000)
}

// With selective acknowledgements only the first segment was sent again at once, and what
// had been sent a moment ago waited until it was missed: where nothing that fitted was
// behind it, for the retransmission timeout.
func TestPacketTooBigWithSACK(t *testing.T) {
	a := established(t, bigMSS, withSACK, option(func(o *ConnOptions) { o.NoDelay = 1 }))
	a.write(1000)
	a.drain()
	a.advance(10 * Millisecond) // a round trip
	a.inject(sA, 1, 1001, 0)
	a.write(2500)
	a.drain()
	a.advance(Millisecond)
	a.write(2500)
	a.drain()
	cwnd, ssthresh := a.c.Window()
	a.pathMTU(1040, 2461)
	a.wantAll(1001, 6001, 1000)
	if w, s := a.c.Window(); w != cwnd || s != ssthresh {
		t.Errorf("congestion control has seen it: %d %d, was %d %d", w, s, cwnd, ssthresh)
	}
	a.inject(sA, 1, 6001, 0)
	a.wantPhase(phaseOpen)
	if a.c.Stats.Timeouts != 0 {
		t.Errorf("%d timeouts", a.c.Stats.Timeouts)
	}
}

func TestPacketTooBigAndWhatThePeerHas(t *testing.T) {
	a := established(t, bigMSS, withSACK)
	a.write(5840)
	a.drain()
	a.inject(sA, 1, 1, 0, sacks(1461, 2921)) // it took another way
	a.pathMTU(1040, 1)
	a.want(sA, 1, 1, 1000)
	a.want(sA, 1001, 1, 460)
	a.wantAll(2921, 5841, 1000)
}

// The host knew the way for some more milliseconds, and the device swallowed what was
// too large for it: the first word came for what the timeout sent again, and was taken
// without sending anything, until the next timeout, which came twice as late.
func TestPacketTooBigAfterATimeout(t *testing.T) {
	for name, mods := range map[string][]func(*talk){
		"with SACK": {withSACK, bigMSS}, "without": {bigMSS},
		"with timestamps": {withSACK, withTimestamps, bigMSS},
	} {
		t.Run(name, func(t *testing.T) {
			a := established(t, mods...)
			size := int(a.c.snd.mss)
			a.write(3 * size)
			a.drain()
			for a.c.Stats.Timeouts == 0 {
				a.c.stop(timerLoss)
				a.advance(a.c.timers.at[timerResend] - a.now)
			}
			a.want(sA, 1, 1, size)
			a.wantNone()
			a.pathMTU(1052, 1)
			small := int(a.c.snd.mss)
			a.want(sA, 1, 1, small)
			for end := 1 + small; end < 1+3*size; end += small {
				a.inject(sA, 1, end, 0)
				a.drain()
			}
			a.inject(sA, 1, 1+3*size, 0)
			a.wantPhase(phaseOpen)
			if a.c.Stats.Timeouts != 1 {
				t.Errorf("%d timeouts", a.c.Stats.Timeouts)
			}
		})
	}
}

// An acknowledgement of what left before the large segments says nothing of those: it
// does not make them less lost.
func TestPacketTooBigIsNotUndone(t *testing.T) {
	for name, mods := range map[string][]func(*talk){
		"with SACK": {withSACK, withTimestamps, bigMSS}, "without": {withTimestamps, bigMSS},
	} {
		t.Run(name, func(t *testing.T) {
			a := established(t, append(mods, option(func(o *ConnOptions) { o.NoDelay = 1 }))...)
			a.write(100)
			a.drain()
			first := a.tsecho
			a.advance(5 * Millisecond)
			a.write(4000)
			a.drain()
			a.advance(5 * Millisecond)
			a.pathMTU(1052, 101)
			a.drain()
			a.inject(sA, 1, 101, 0, echo(first))
			if a.c.Stats.Undone != 0 {
				t.Error("undone")
			}
			a.inject(sA, 1, 4101, 0)
			a.wantPhase(phaseOpen)
		})
	}
}

// What fits the route that has shrunk is not sent twice.
func TestRouteThatHasShrunkAndSmallSegments(t *testing.T) {
	for name, mods := range map[string][]func(*talk){"with SACK": {withSACK, bigMSS}, "without": {bigMSS}} {
		a := established(t, mods...)
		a.write(900)
		a.want(sPA, 1, 1, 900)
		a.routeMTU(1040)
		if n := a.drain(); n != 0 || a.c.loss.phase != phaseOpen {
			t.Errorf("%s: %d segments, in phase %d", name, n, a.c.loss.phase)
		}
	}
}

// A router's word for a probe is about nothing else: the segments before it and behind it
// fit, and are not sent twice.
func TestPacketTooBigForAProbe(t *testing.T) {
	a := established(t, bigMSS, withSACK, pathProbing(MTUProbeOn), option(func(o *ConnOptions) { o.SndBuf = 1 << 18 }))
	a.c.cc.cwnd = 40000
	a.write(1160) // before it
	a.want(sPA, 1, 1, 1160)
	a.write(20000)
	a.want(sA, 1161, 1, 1460)
	a.drain()
	a.pathMTU(1300, 1161)
	a.want(sA, 1161, 1, 1160)
	a.want(sA, 2321, 1, 300)
	if n := a.drain(); n != 0 {
		t.Errorf("%d segments more", n)
	}
	if p := a.c.path; p.probe != 0 || p.mtu != basePath || p.high != 1301 {
		t.Errorf("%+v", p)
	}
}

// The search ended within a step of the largest size that the route carries, without
// having tried that itself.
func TestSearchTriesTheLargestAtLast(t *testing.T) {
	a := established(t, bigMSS, option(func(o *ConnOptions) { o.SndBuf = 1 << 18 }))
	p := &a.c.path
	p.hole, p.high = 1, p.max+1 // as after a black hole that is gone
	a.c.setPath(p.max - pathStep/2)
	p.low = p.mtu
	if got := a.network(200_000, uint32(p.max)); got != p.max {
		t.Errorf("found %d, want %d", got, p.max)
	}
}
