package tcp

import (
	"testing"

	"usertcp/internal/seq"
)

// slowStart is a connection in its first slow start, whose rounds the test plays.
type slowStart struct {
	c   *Conn
	now Time
}

func newSlowStart() *slowStart {
	s := &slowStart{c: cubicConn(10_000, maxBuffer, 50*Millisecond), now: Second}
	s.c.snd.nxt = seq.Number(s.c.cc.cwnd)
	s.c.controller().start(s.c, s.now)
	return s
}

// round acknowledges all that is in flight, and all it allows is in flight then.
// It returns by what share of the flight cwnd grew, in percent.
func (s *slowStart) round(rtt Time) uint32 {
	c := s.c
	s.now += rtt
	was, flight := c.cc.cwnd, c.flight()
	for c.flight() >= 1000 && c.snd.una.Before(c.snd.nxt) {
		left := c.flight()
		c.snd.una = c.snd.una.Add(1000)
		sample := rtt
		if left < flight/2 {
			sample = 0 // not every acknowledgement brings one
		}
		cubic{}.acked(c, s.now, ack{n: 1000, flight: flight, rtt: sample})
	}
	c.snd.nxt = c.snd.una.Add(seq.Size(c.cc.cwnd))
	return (c.cc.cwnd - was) * 100 / flight
}

func (s *slowStart) want(t *testing.T, what string, got, low, high uint32) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: grew by %d %%, want %d to %d", what, got, low, high)
	}
}

func TestHystartDoublesWhileTheRoundTripTimeStays(t *testing.T) {
	s := newSlowStart()
	for range 6 {
		s.want(t, "steady", s.round(50*Millisecond), 99, 100)
	}
	if s.c.cc.ssthresh != maxBuffer {
		t.Error("slow start is over")
	}
}

func TestHystartSlowsDownAndLeavesWhenItRises(t *testing.T) {
	s := newSlowStart()
	s.round(50 * Millisecond)
	s.round(50 * Millisecond)
	// The threshold is 50/8 ms.
	s.want(t, "a rise below the threshold", s.round(56*Millisecond), 99, 100)
	s.want(t, "the round in which it rises", s.round(63*Millisecond), 25, 60)
	for i := range hystartCSSRounds - 1 {
		if s.c.cc.ssthresh != maxBuffer {
			t.Fatalf("slow start ended after %d rounds of CSS", i)
		}
		s.want(t, "CSS", s.round(64*Millisecond), 24, 26)
	}
	s.round(64 * Millisecond)
	if s.c.cc.ssthresh == maxBuffer {
		t.Error("slow start goes on after five rounds of CSS")
	}
	s.want(t, "congestion avoidance", s.round(64*Millisecond), 0, 10)
}

func TestHystartGoesBackWhenItWasJitter(t *testing.T) {
	s := newSlowStart()
	s.round(50 * Millisecond)
	s.round(50 * Millisecond)
	s.round(70 * Millisecond)
	s.want(t, "CSS", s.round(75*Millisecond), 24, 26)
	s.round(50 * Millisecond)
	s.want(t, "after the jitter", s.round(50*Millisecond), 99, 100)
	for range 5 {
		s.round(52 * Millisecond)
	}
	if s.c.cc.ssthresh != maxBuffer {
		t.Error("slow start is over")
	}
}

// TestHystartOfMicroseconds: what jitters within a host is far below 4 ms.
func TestHystartOfMicroseconds(t *testing.T) {
	s := newSlowStart()
	for _, us := range []Time{5, 5, 50, 500, 3000, 5, 900, 20} {
		s.want(t, "microseconds", s.round(us*Microsecond), 99, 100)
	}
}

func TestHystartThresholdIsBounded(t *testing.T) {
	s := newSlowStart()
	s.round(400 * Millisecond)
	s.round(400 * Millisecond)
	s.round(417 * Millisecond) // 400/8 would be 50
	s.want(t, "16 ms more", s.round(417*Millisecond), 24, 26)
}

func TestHystartIsForTheFirstSlowStartOnly(t *testing.T) {
	s := newSlowStart()
	s.round(50 * Millisecond)
	s.c.onRTO(s.now, 20_000)
	s.c.cc.cwnd, s.c.cc.ssthresh = 10_000, 1_000_000
	s.c.snd.nxt = s.c.snd.una.Add(10_000)
	s.round(50 * Millisecond)
	for range 4 {
		s.want(t, "second slow start", s.round(90*Millisecond), 99, 100)
	}
}

// TestHystartIsNotForTheMemoryOfOneMachine: there a busy scheduler made slow start
// end early, and CUBIC a quarter slower than Reno.
func TestHystartIsNotForTheMemoryOfOneMachine(t *testing.T) {
	s := newSlowStart()
	s.c.snd.mss = 65483
	s.c.controller().start(s.c, s.now)
	s.c.snd.mss = 1000 // the rounds count in these
	for _, ms := range []Time{1, 1, 30, 40, 50, 60} {
		s.want(t, "a busy machine", s.round(ms*Millisecond), 99, 100)
	}
	if s.c.rate.every != noMarks {
		t.Error("segments are marked for nobody")
	}
}
