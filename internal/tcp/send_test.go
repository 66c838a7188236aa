package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

func noDelay(o *ConnOptions) { o.NoDelay = 1 }
func cork(o *ConnOptions)    { o.Cork = 1 }

func TestWriteLeavesInFullSizedSegmentsAndThePushedRest(t *testing.T) {
	for _, pieces := range []int{1, 7, 999, 1000, 1001, slot} {
		if pieces < 7 {
			continue // too many chunks for the store
		}
		a := established(t, func(tk *talk) { tk.pieces = pieces })
		a.write(2500)
		a.want(sA, 1, 1, 1000)
		a.want(sA, 1001, 1, 1000)
		a.want(sPA, 2001, 1, 500)
		a.wantNone()
	}
}

func TestExtendAppendsToTheLastChunk(t *testing.T) {
	a := established(t, option(noDelay))
	a.write(10)
	a.extend(10)
	a.want(sPA, 1, 1, 20)
	a.extend(30)
	a.want(sPA, 21, 1, 30)
	a.inject(sA, 1, 31, 0)
	a.extend(950)
	a.want(sPA, 51, 1, 950)
	a.inject(sA, 1, 1001, 0)
	if a.held() != 0 {
		t.Error("the chunk is still held")
	}
	a.write(5)
	a.want(sPA, 1001, 1, 5)
}

func TestExtendOfNothingIsABug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	a := established(t)
	a.c.Extend(&a.st.m, a.now, 1)
}

func TestChunksAreFreedWhenAllOfThemIsAcknowledged(t *testing.T) {
	a := established(t, func(tk *talk) { tk.pieces = 400 })
	a.write(2000) // 5 chunks
	a.drain()
	for _, x := range []struct{ ack, held int }{{1001, 3}, {1200, 3}, {1201, 2}, {2000, 1}, {2001, 0}} {
		a.inject(sA, 1, x.ack, 0)
		if a.held() != x.held {
			t.Errorf("ack %d: %d chunks are held, want %d", x.ack, a.held(), x.held)
		}
	}
}

func TestSendSpaceFollowsTheBuffer(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.SndBuf = 3000 }))
	a.write(2500)
	if n := a.c.SendSpace(); n != 500 {
		t.Errorf("space is %d, want 500", n)
	}
	a.write(500)
	if n := a.c.SendSpace(); n != 0 {
		t.Errorf("space is %d, want 0", n)
	}
	a.drain()
	a.c.Events = 0
	a.inject(sA, 1, 501, 0)
	if a.c.Events&EventWritable != 0 {
		t.Error("a sixth of the buffer wakes the writer")
	}
	a.inject(sA, 1, 1501, 0)
	a.wantEvents(EventWritable)
	if n := a.c.SendSpace(); n != 1500 {
		t.Errorf("space is %d, want 1500", n)
	}
}

func TestNagle(t *testing.T) {
	t.Run("the first small segment leaves at once, the second waits for its acknowledgement", func(t *testing.T) {
		a := established(t)
		a.write(10)
		a.want(sPA, 1, 1, 10)
		a.write(10)
		a.write(20)
		a.wantNone()
		a.inject(sA, 1, 11, 0)
		a.want(sPA, 11, 1, 30)
	})
	t.Run("a small segment behind full-sized ones leaves", func(t *testing.T) {
		a := established(t)
		a.write(1010)
		a.want(sA, 1, 1, 1000)
		a.want(sPA, 1001, 1, 10)
	})
	t.Run("a full-sized segment does not wait", func(t *testing.T) {
		a := established(t)
		a.write(10)
		a.want(sPA, 1, 1, 10)
		a.write(1500)
		a.want(sA, 11, 1, 1000)
		a.wantNone()
		a.inject(sA, 1, 11, 0)
		a.want(sPA, 1011, 1, 500)
	})
	t.Run("NoDelay switches it off", func(t *testing.T) {
		a := established(t, option(noDelay))
		for i := range 5 {
			a.write(10)
			a.want(sPA, 1+10*i, 1, 10)
		}
	})
	t.Run("FIN switches it off", func(t *testing.T) {
		a := established(t)
		a.write(10)
		a.want(sPA, 1, 1, 10)
		a.write(10)
		a.wantNone()
		a.shutdown()
		a.want(sFA|sPA, 11, 1, 10)
	})
}

func TestCork(t *testing.T) {
	t.Run("holds what is less than full-sized", func(t *testing.T) {
		a := established(t, option(cork), option(noDelay))
		a.write(10)
		a.wantNone()
		a.write(1000)
		a.want(sA, 1, 1, 1000)
		a.wantNone()
		a.c.Opt.Cork = 0
		a.c.OptionsChanged(a.now)
		a.want(sPA, 1001, 1, 10)
	})
	t.Run("not for ever", func(t *testing.T) {
		a := established(t, option(cork))
		a.write(10)
		a.wantNone()
		a.advance(a.c.RTO())
		a.want(sPA, 1, 1, 10)
	})
	t.Run("not at the end", func(t *testing.T) {
		a := established(t, option(cork))
		a.write(10)
		a.wantNone()
		a.shutdown()
		a.want(sFA|sPA, 1, 1, 10)
	})
}

func TestInitialWindowIsTenSegments(t *testing.T) {
	a := established(t)
	a.write(15000)
	if n := a.drain(); n != 10 {
		t.Errorf("%d segments leave, want 10", n)
	}
	// Slow start: one acknowledged, two leave.
	a.inject(sA, 1, 1001, 0)
	if n := a.drain(); n != 2 {
		t.Errorf("%d segments leave, want 2", n)
	}
}

func TestTimestampsTakeTheirRoomInASegment(t *testing.T) {
	a := established(t, withTimestamps)
	a.write(1000)
	seg := a.want(sA, 1, 1, 988)
	if seg.Options.TSEcr != 5010 {
		t.Errorf("TSecr is %d, want 5010", seg.Options.TSEcr)
	}
}

func TestSackBlocksTakeTheirRoomInASegment(t *testing.T) {
	a := established(t, withSACK)
	a.inject(sA, 101, 1, 10)
	a.inject(sA, 201, 1, 10)
	a.drain()
	a.write(1500)
	seg := a.want(sA, 1, 1, 1000-sackHeadLen-2*sackBlockLen)
	if seg.Options.SACKBlocks != 2 {
		t.Errorf("%d blocks", seg.Options.SACKBlocks)
	}
}

func TestLargeSegmentsOfTheRing(t *testing.T) {
	a := established(t, withScale, option(func(o *ConnOptions) { o.MSS = 65495 }), func(tk *talk) { tk.syn.MSS = 65495 })
	a.inject(sA, 1, 1, 0)
	a.write(70000)
	a.want(sA, 1, 1, 65495)
	a.want(sPA, 65496, 1, 4505)
}

func TestWindowBoundsWhatIsSent(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(2500))
	a.write(4000)
	a.want(sA, 1, 1, 1000)
	a.want(sA, 1001, 1, 1000)
	a.wantNone() // 500 would be silly: less than half of the largest window
	a.inject(sA, 1, 1001, 0, window(2500))
	a.want(sA, 2001, 1, 1000)
	a.wantNone()
}

func TestHalfTheLargestWindowIsNotSilly(t *testing.T) {
	a := established(t, func(tk *talk) { tk.window = 600 })
	a.write(2000)
	a.want(sA, 1, 1, 600)
	a.inject(sA, 1, 601, 0, window(299))
	a.wantNone()
	a.inject(sA, 1, 601, 0, window(300))
	a.want(sA, 601, 1, 300)
}

func TestOldSegmentsDoNotMoveTheWindow(t *testing.T) {
	a := established(t)
	a.inject(sA, 101, 1, 10, window(2000))
	a.inject(sA, 1, 1, 10, window(500)) // older than the one before
	if a.c.snd.wnd != 2000 {
		t.Errorf("window is %d", a.c.snd.wnd)
	}
	a.inject(sA, 111, 1, 0, window(700))
	if a.c.snd.wnd != 700 {
		t.Errorf("window is %d", a.c.snd.wnd)
	}
}

func TestUrgentDataStaysInTheStream(t *testing.T) {
	a := established(t)
	a.inject(sA|wire.URG, 1, 1, 10, func(s *Segment) { s.Urgent = 5 })
	if n := a.readAll(); n != 10 {
		t.Errorf("read %d octets", n)
	}
}

func TestAcknowledgementTravelsWithData(t *testing.T) {
	a := calm(established(t))
	a.inject(sPA, 1, 1, 10)
	a.wantNone()
	a.write(5)
	a.want(sPA, 1, 11, 5)
	a.advance(Second)
	a.want(sPA, 1, 11, 5) // the retransmission, and no acknowledgement before it
	a.wantNone()
}

func TestIdleConnectionStartsAnew(t *testing.T) {
	a := established(t)
	for i := range 20 {
		a.write(1000)
		a.drain()
		a.inject(sA, 1, 1+1000*(i+1), 0)
	}
	a.c.cc.cwnd = 50000
	a.advance(a.c.RTO() + 1)
	a.write(30000)
	if n := a.drain(); n != 10 {
		t.Errorf("%d segments leave after the pause, want 10", n)
	}
}

func TestCorkableIsOnlyASmallRest(t *testing.T) {
	a := established(t, option(noDelay))
	if a.c.Corkable() {
		t.Error("nothing to send is corkable")
	}
	a.write(10)
	if a.c.Corkable() {
		t.Error("a small write with nothing in flight is")
	}
	a.drain()
	a.write(10)
	if !a.c.Corkable() {
		t.Error("a small write behind another is not")
	}
	a.inject(sA, 11, 1, 10)
	if a.c.Corkable() {
		t.Error("an acknowledgement that is owed is")
	}
	a.drain()
	a.write(1000)
	if a.c.Corkable() {
		t.Error("a full-sized segment is")
	}
	a.drain()
	a.write(10)
	a.shutdown()
	if a.c.Corkable() {
		t.Error("a FIN is")
	}
}

func TestSmallSegmentOfLongAgoHoldsNothingBack(t *testing.T) {
	a := established(t)
	a.c.snd.small = a.c.snd.una.Minus(1 << 30)
	a.write(2000)
	a.drain()
	a.inject(sA, 1, 2001, 0)
	if a.c.snd.small != a.c.snd.una {
		t.Error("after 2 GB more it will seem to lie ahead")
	}
}
