package tcp

import (
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// In slow start cwnd grows to twice of what the program used in a round trip, and
// no further: acknowledgements of less say nothing of a larger window.
func TestSlowStartDoublesWhatWasUsed(t *testing.T) {
	for _, x := range []struct {
		name     string
		segments int
		acks     []int // segments that are acknowledged
		cwnd     []uint32
	}{
		{"half of the window", 5, []int{2, 4, 5}, []uint32{10, 10, 10}},
		{"six of ten", 6, []int{2, 4, 6}, []uint32{12, 12, 12}},
		{"nearly all", 9, []int{2, 4, 6, 8, 9}, []uint32{12, 14, 16, 18, 18}},
		{"all", 10, []int{2, 4, 6, 8, 10}, []uint32{12, 14, 16, 18, 20}},
	} {
		for _, algo := range []uint8{CongestionReno, CongestionCubic} {
			t.Run(x.name+", "+CongestionName(algo), func(t *testing.T) {
				a := established(t, withSACK, option(func(o *ConnOptions) { o.Congestion = algo }))
				flood(a, x.segments)
				for i, n := range x.acks {
					a.advance(10 * Millisecond)
					a.inject(sA, 1, 1+1000*n, 0)
					if got := a.c.cc.cwnd / 1000; got != x.cwnd[i] {
						t.Errorf("cwnd is %d segments after %d were acknowledged, want %d", got, n, x.cwnd[i])
					}
				}
			})
		}
	}
}

// The next round trip is measured anew: what was used before does not count.
func TestUseIsForgottenAfterARoundTrip(t *testing.T) {
	a := established(t, withSACK)
	flood(a, 10)
	a.inject(sA, 1, 10001, 0)
	flood(a, 3)
	a.inject(sA, 1, 13001, 0)
	if a.c.cc.cwnd != 20000 || a.c.full() {
		t.Errorf("cwnd is %d, full %v", a.c.cc.cwnd, a.c.full())
	}
}

func TestCongestionAvoidanceNeedsAFullWindow(t *testing.T) {
	for _, x := range []struct {
		segments int
		cwnd     uint32
	}{{9, 10000}, {10, 11000}} {
		a := established(t, withSACK)
		a.c.cc.ssthresh = 5000
		flood(a, x.segments)
		a.inject(sA, 1, 1+1000*x.segments, 0)
		if a.c.cc.cwnd != x.cwnd {
			t.Errorf("cwnd is %d after %d segments, want %d", a.c.cc.cwnd, x.segments, x.cwnd)
		}
	}
}

// A closed window is no pause of the program's: cwnd is kept until data can leave.
func TestClosedWindowDoesNotShrinkTheCongestionWindow(t *testing.T) {
	a := established(t, withSACK)
	flood(a, 10)
	a.inject(sA, 1, 10001, 0, window(0))
	a.write(20000)
	a.wantNone()
	a.advance(Second)
	a.drain()
	if a.c.cc.cwnd != 20000 {
		t.Errorf("cwnd is %d while the window is closed", a.c.cc.cwnd)
	}
	a.inject(sA, 1, 10001, 0)
	a.drain()
	if a.c.flight() != 10000 {
		t.Errorf("%d octets leave after the pause", a.c.flight())
	}
}

func TestKeepWindowKeepsItOverAPause(t *testing.T) {
	a := established(t, withSACK, option(func(o *ConnOptions) { o.KeepWindow = 1 }))
	flood(a, 10)
	a.inject(sA, 1, 10001, 0)
	a.advance(10 * Second)
	flood(a, 20)
	if a.c.flight() != 20000 {
		t.Errorf("%d octets leave after the pause, want all of cwnd", a.c.flight())
	}
}

// A timestamp that comes with an acknowledgement of what was never sent would,
// once believed, make all that the peer sends look old.
func TestTimestampOfAnImpossibleAcknowledgementIsNotKept(t *testing.T) {
	a := established(t, withTimestamps)
	was := a.c.rcv.tsRecent
	a.tsval += 100_000
	a.inject(sFA, 1, 9999, 0)
	a.tsval -= 100_000
	if a.c.rcv.tsRecent != was {
		t.Fatalf("TS.Recent went from %d to %d", was, a.c.rcv.tsRecent)
	}
	a.drain()
	a.inject(sA, 1, 1, 1000)
	if a.readAll() != 1000 {
		t.Error("the peer's data was dropped")
	}
}

func TestResetOfACloseHasTimestamps(t *testing.T) {
	a := established(t, withTimestamps)
	a.tsval += 5
	a.inject(sA, 1, 1, 10)
	a.close()
	out := a.want(sRA, 1, 11, 0)
	if o := &out.Options; !o.Has(wire.HasTimestamps) || o.TSVal != a.c.tsNow(a.now) || o.TSEcr != a.tsval {
		t.Errorf("%+v", out.Options)
	}
}

// A program that gives up reading, or sets an option, tells nobody of the window
// it makes room in, unless the peer waits for that.
func TestOnlyAPeerThatWaitsHearsOfRoomAtOnce(t *testing.T) {
	more := func(o *ConnOptions) { o.RcvBuf = 200_000 }
	a := established(t, withScale, option(func(o *ConnOptions) { o.RcvBuf = 20_000 }))
	a.drain()
	a.change(more)
	a.wantNone()
	b := established(t, withScale, option(func(o *ConnOptions) { o.RcvBuf = 20_000 }))
	n := int(b.c.rcv.edge.From(b.c.rcv.nxt))
	for at := 0; at < n; at += 1000 {
		b.inject(sA, 1+at, 1, min(1000, n-at))
	}
	b.drain()
	b.change(more)
	b.want(sA, 1, 1+n, 0)
}

// What a block names must be a segment: one octet at the end of a full-sized
// segment proves nothing.
func TestBlockOfLessThanASegmentProvesNothing(t *testing.T) {
	a := selective(t, 4)
	a.inject(sA, 1, 1, 0, sacks(4000, 4001))
	a.wantFates(0, 0)
	a.wantNone()
	a.inject(sA, 1, 1, 0, sacks(3001, 4001))
	a.wantFates(1000, 0)

	b := established(t, withSACK, option(noDelay))
	b.write(3000)
	b.drain()
	b.write(1)
	b.drain()
	b.inject(sA, 1, 1, 0, sacks(3001, 3002))
	b.wantFates(1, 0) // a small one was sent
}

// The number of an earlier round may lie half the sequence space behind.
func TestUseAfterTheNumbersHaveWrapped(t *testing.T) {
	a := established(t, withSACK)
	a.c.usage = usage{most: 500_000, until: a.c.snd.una.Add(seq.Size(1 << 30))}
	a.c.set(flagFull)
	flood(a, 10)
	if !a.c.full() || a.c.usage.most != 10000 {
		t.Errorf("%+v", a.c.usage)
	}
}
