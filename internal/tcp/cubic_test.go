package tcp

import (
	"math"
	"math/rand/v2"
	"testing"
)

// useCubic is a mod that chooses CUBIC.
func useCubic(tk *talk) { tk.c.Opt.Congestion = CongestionCubic }

// cubicConn returns a connection with CUBIC as it is in congestion avoidance,
// with windows in octets that are used, and segments of 1000.
func cubicConn(cwnd, ssthresh uint32, rtt Time) *Conn {
	c := &Conn{State: Established}
	c.set(flagFull)
	c.snd.mss = 1000
	c.cc.running = CongestionCubic
	c.cc.cwnd, c.cc.ssthresh = cwnd, ssthresh
	c.rtt.srtt = rtt
	return c
}

// roundTrips acknowledges whole windows until d has passed since now.
func roundTrips(c *Conn, now, d Time) Time {
	for end := now + d; now < end; {
		now += c.rtt.srtt
		for left := c.cc.cwnd; left >= c.snd.mss; left -= c.snd.mss {
			cubic{}.acked(c, now, ack{n: c.snd.mss, flight: c.cc.cwnd})
		}
	}
	return now
}

func TestCubeRoot(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9438))
	for range 1000 {
		x := r.Uint64N(1 << 62 >> r.IntN(60))
		if y := cubeRoot(x); y*y*y > x || (y+1)*(y+1)*(y+1) <= x {
			t.Errorf("the cube root of %d is not %d", x, y)
		}
	}
}

// TestCubicFunction compares equations 1 and 2 of RFC 9438 with their definition
// in real numbers.
func TestCubicFunction(t *testing.T) {
	for _, x := range []struct{ wMax, cwnd, mss float64 }{
		{1e6, 7e5, 1000}, {1e5, 7e4, 1448}, {2e7, 1.4e7, 1448}, {1e9, 7e8, 1448}, {6e6, 4e6, 65483}, {1e4, 9999, 88},
	} {
		var w cubicWords
		w[cubicWMax] = uint64(x.wMax)
		w.begin(1, uint64(x.cwnd), uint64(x.mss))
		k := math.Cbrt((x.wMax - x.cwnd) / x.mss / 0.4)
		if got := float64(w[cubicK]) / 1e9; math.Abs(got-k) > 0.002 {
			t.Errorf("%+v: K is %v s, want %v", x, got, k)
		}
		for _, sec := range []float64{0, 0.1, 0.5, 1, 2, 4, 8, 20, 60} {
			want := (0.4*math.Pow(sec-k, 3))*x.mss + x.wMax
			if got := float64(w.at(Time(sec*1e9), uint64(x.mss))); math.Abs(got-max(want, 0)) > x.mss+0.01*math.Abs(want-x.wMax) {
				t.Errorf("%+v: W(%v) is %v, want %v", x, sec, got, want)
			}
		}
	}
}

// TestCubicFunctionOfRubbish: the words may lie in a segment that somebody has
// spoiled.
func TestCubicFunctionOfRubbish(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9438))
	for range 2000 {
		c := cubicConn(r.Uint32N(maxBuffer)+1, r.Uint32(), Time(r.Int64()))
		for i := range c.cc.private {
			c.cc.private[i] = r.Uint64() >> r.IntN(64)
		}
		cubic{}.acked(c, Time(r.Int64()), ack{n: r.Uint32N(1 << 20), flight: r.Uint32N(maxBuffer), rtt: Time(r.Int64())})
		if c.cc.cwnd > maxBuffer || c.cc.cwnd == 0 {
			t.Fatalf("cwnd is %d", c.cc.cwnd)
		}
	}
}

func TestCubicComesBackToWhereItWasAndGoesBeyond(t *testing.T) {
	const rtt = 100 * Millisecond
	c := cubicConn(1_000_000, 1, rtt)
	cubic{}.lost(c, 0, 1_000_000)
	if c.cc.ssthresh != 700_000 {
		t.Fatalf("ssthresh %d, want 7/10 of the flight", c.cc.ssthresh)
	}
	c.cc.cwnd = c.cc.ssthresh
	// K is the cube root of 300/0.4: 9.1 s.
	now := roundTrips(c, Second, 4*Second)
	early := c.cc.cwnd
	now = roundTrips(c, now, 5*Second)
	plateau := c.cc.cwnd
	now = roundTrips(c, now, 2*Second)
	flat := c.cc.cwnd
	roundTrips(c, now, 5*Second)
	// W(4.1) is 1000 - 0.4*5^3 segments.
	if early < 930_000 || early > 965_000 {
		t.Errorf("after 4 s cwnd is %d, want about 950000", early)
	}
	if plateau < 990_000 || plateau > 1_002_000 || flat > 1_010_000 {
		t.Errorf("the plateau is at %d and then %d, want 1000000", plateau, flat)
	}
	if c.cc.cwnd < 1_100_000 {
		t.Errorf("beyond the plateau cwnd is only %d", c.cc.cwnd)
	}
}

func TestCubicIsAsFastAsRenoOnShortPaths(t *testing.T) {
	// With 10 ms and 100 segments the cubic function would need K = 4.2 s; an AIMD
	// sender with factor 0.7 grows by 9/17 segments in each round trip.
	const rtt = 10 * Millisecond
	c := cubicConn(100_000, 1, rtt)
	cubic{}.lost(c, 0, 100_000)
	c.cc.cwnd = c.cc.ssthresh
	now := roundTrips(c, Second, 50*rtt)
	if want := 70_000 + 50*1000*9/17; math.Abs(float64(c.cc.cwnd)-float64(want)) > 2500 {
		t.Errorf("after 50 round trips cwnd is %d, want about %d", c.cc.cwnd, want)
	}
	// Where it was before the loss, it grows by a segment, like Reno.
	now = roundTrips(c, now, 10*rtt)
	at := c.cc.cwnd
	if at < 100_000 {
		t.Fatalf("after 60 round trips cwnd is %d", at)
	}
	roundTrips(c, now, 20*rtt)
	if grown := c.cc.cwnd - at; grown < 18_000 || grown > 22_000 {
		t.Errorf("in 20 more round trips it grew by %d, want about 20000", grown)
	}
}

func TestCubicFastConvergence(t *testing.T) {
	c := cubicConn(100_000, 1, Millisecond)
	cubic{}.lost(c, 0, 100_000)
	if w := c.cubic()[cubicWMax]; w != 100_000 {
		t.Errorf("W_max after the first loss is %d", w)
	}
	c.cc.cwnd = 80_000 // another flow takes its share before the plateau is reached
	cubic{}.lost(c, 0, 80_000)
	if w := c.cubic()[cubicWMax]; w != 68_000 {
		t.Errorf("W_max after the second loss is %d, want 80000*(1+0.7)/2", w)
	}
}

func TestCubicKeepsTwoSegments(t *testing.T) {
	c := cubicConn(2000, 1, Millisecond)
	cubic{}.lost(c, 0, 1000)
	if c.cc.ssthresh != 2000 {
		t.Errorf("ssthresh %d", c.cc.ssthresh)
	}
}

func TestCubicTimeoutForgetsThePlateau(t *testing.T) {
	c := cubicConn(100_000, 1, 50*Millisecond)
	cubic{}.timedOut(c, 0, 100_000)
	if c.cc.cwnd != 1000 || c.cc.ssthresh != 70_000 {
		t.Fatalf("cwnd %d, ssthresh %d", c.cc.cwnd, c.cc.ssthresh)
	}
	c.cc.cwnd = 70_000
	roundTrips(c, Second, 200*Millisecond)
	if w := c.cubic(); w[cubicK] != 0 || w[cubicWMax] != 70_000 {
		t.Errorf("K %d, W_max %d; want 0, 70000", w[cubicK], w[cubicWMax])
	}
}

func TestCubicUndo(t *testing.T) {
	c := cubicConn(100_000, 50_000, 50*Millisecond)
	roundTrips(c, Second, Second)
	was, cwnd := *c.cubic(), c.cc.cwnd
	c.onLoss(3*Second, 100_000)
	c.cc.cwnd = c.cc.ssthresh
	c.onUndo(3 * Second)
	is := *c.cubic()
	for i := range cubicUndoWords {
		if is[i] != was[i] {
			t.Errorf("word %d is %d and was %d", i, is[i], was[i])
		}
	}
	if c.cc.cwnd != cwnd || c.cc.ssthresh != 50_000 {
		t.Errorf("cwnd %d, ssthresh %d; want %d, 50000", c.cc.cwnd, c.cc.ssthresh, cwnd)
	}
}

func TestCubicDoesNotCountTheTimeOfAnIdleProgram(t *testing.T) {
	const rtt = 100 * Millisecond
	c := cubicConn(1_000_000, 1, rtt)
	cubic{}.lost(c, 0, 1_000_000)
	c.cc.cwnd = c.cc.ssthresh
	now := roundTrips(c, Second, 2*Second)
	was := c.cc.cwnd
	c.clear(flagFull)
	for range 100 {
		now += rtt
		cubic{}.acked(c, now, ack{n: 1000, flight: 1000})
	}
	c.set(flagFull)
	if c.cc.cwnd != was {
		t.Errorf("cwnd grew from %d to %d without use", was, c.cc.cwnd)
	}
	roundTrips(c, now, rtt)
	if grown := c.cc.cwnd - was; grown > 30_000 {
		t.Errorf("after a pause of 10 s cwnd jumps by %d", grown)
	}
}

func TestCubicIsTheDefaultAndConverses(t *testing.T) {
	a := established(t, useCubic)
	if name := CongestionName(a.c.cc.running); name != "cubic" || DefaultOptions().Congestion != CongestionCubic {
		t.Errorf("it is %q", name)
	}
	if n := flood(a, 40); n != 10 {
		t.Errorf("the initial window is %d segments", n)
	}
	a.advance(20 * Millisecond)
	a.inject(sA, 1, 10001, 0)
	if n := a.drain(); n != 20 {
		t.Errorf("after a round trip %d segments leave, want 20", n)
	}
	for range 3 {
		a.inject(sA, 1, 10001, 0)
	}
	if _, ssthresh := a.c.Window(); ssthresh < 14000 || ssthresh > 15400 {
		t.Errorf("ssthresh is %d, want 7/10 of what was in flight", ssthresh)
	}
}
