package tcp

import "testing"

func TestWindowClosesAndOpens(t *testing.T) {
	a := calm(established(t, option(func(o *ConnOptions) { o.RcvBuf = 4000; o.MSS = 1000 })))
	for i := range 4 {
		a.inject(sA, 1+1000*i, 1, 1000)
	}
	last := a.c.rcv.nxt
	a.drain()
	if a.last.Window != 0 {
		t.Errorf("window is %d, want 0", a.last.Window)
	}
	a.readSome(500)
	a.wantNone() // less than a segment and than half the buffer
	a.readSome(600)
	seg := a.want(sA, 1, 4001, 0)
	if seg.Window != 1100 || seg.Ack != last {
		t.Errorf("window is %d, want 1100", seg.Window)
	}
	a.readAll()
	if seg := a.want(sA, 1, 4001, 0); seg.Window != 4000 {
		t.Errorf("window is %d, want 4000", seg.Window)
	}
}

func TestSmallOpeningsOfALargeWindowAreNotAnnounced(t *testing.T) {
	a := calm(established(t))
	for i := range 10 {
		a.inject(sA, 1+1000*i, 1, 1000)
		a.drain()
		a.readAll()
		a.wantNone() // from 22,000 to 32,000: less than twice
	}
}

func TestProbeOfAClosedWindowIsAnswered(t *testing.T) {
	a := calm(established(t, option(func(o *ConnOptions) { o.RcvBuf = 2000; o.MSS = 1000 })))
	a.inject(sA, 1, 1, 1000)
	a.inject(sA, 1001, 1, 1000)
	a.drain()
	a.inject(sA, 2001, 1, 1) // one new octet
	if seg := a.want(sA, 1, 2001, 0); seg.Window != 0 {
		t.Errorf("window is %d", seg.Window)
	}
	a.inject(sA, 2000, 1, 0) // Linux's kind
	a.want(sA, 1, 2001, 0)
	if n, _ := a.c.Readable(); n != 2000 {
		t.Errorf("%d octets are there", n)
	}
}

func TestAcknowledgementsCountWhileOurWindowIsClosed(t *testing.T) {
	a := calm(established(t, option(func(o *ConnOptions) { o.RcvBuf = 2000; o.MSS = 1000 })))
	a.write(500)
	a.drain()
	a.inject(sA, 1, 1, 1000)
	a.inject(sA, 1001, 1, 1000)
	a.drain()
	a.inject(sA, 2001, 501, 0)
	if a.c.SndQ.Count != 0 {
		t.Error("the acknowledgement was not taken")
	}
}

func TestTextIsCutAtTheEdge(t *testing.T) {
	a := calm(established(t, option(func(o *ConnOptions) { o.RcvBuf = 2000; o.MSS = 1000 }), func(tk *talk) { tk.pieces = 300 }))
	a.inject(sFA, 1, 1, 2500)
	a.want(sA, 1, 2001, 0)
	a.wantState(Established) // the FIN lies behind what was cut
	if n := a.readAll(); n != 2000 {
		t.Errorf("read %d octets", n)
	}
}

func TestWindowNeverShrinksThoughPiecesAreSmallerThanItsUnit(t *testing.T) {
	a := calm(established(t, withScale, option(func(o *ConnOptions) { o.RcvBuf = 24000; o.QuickAck = 1 })))
	edge, shrunk := 0, 0
	for i := range 3000 {
		a.inject(sPA, 1+60*i, 1, 60)
		a.drain()
		at := rel(a.last.Ack, peerISS) + int(a.last.Window)<<7
		if at < edge {
			shrunk++
		}
		edge = max(edge, at)
		// The program leaves some of the buffer unread.
		if n, _ := a.c.Readable(); n >= 2500 {
			a.readSome(1500)
		}
	}
	if shrunk > 0 {
		t.Errorf("the edge moved back %d times", shrunk)
	}
	if over := edge - a.read - 24000; over > 24000/8+128 {
		t.Errorf("the edge crept %d octets beyond the buffer", over)
	}
}

func TestCreepingEdgeStopsAtAnEighthOfTheBuffer(t *testing.T) {
	a := calm(established(t, withScale, option(func(o *ConnOptions) { o.RcvBuf = 8192; o.MSS = 1000; o.QuickAck = 1 })))
	n, edge := 0, 0
	for a.c.rcv.edge != a.c.rcv.nxt && n < 400 {
		a.inject(sPA, 1+50*n, 1, 50)
		a.drain()
		n++
		at := rel(a.last.Ack, peerISS) + int(a.last.Window)<<7
		if at <= edge-128 {
			t.Fatalf("the edge moved back by %d, a unit of the field or more", edge-at)
		}
		edge = max(edge, at)
	}
	if got, _ := a.c.Readable(); got > 8192+8192/8+128 {
		t.Errorf("%d octets were taken into a buffer of 8192", got)
	}
	if a.last.Window != 0 {
		t.Errorf("the window field is %d", a.last.Window)
	}
}

func TestWindowFieldIsRoundedToItsUnit(t *testing.T) {
	a := calm(established(t, withScale, option(func(o *ConnOptions) { o.RcvBuf = 100000; o.QuickAck = 1 })))
	if got, want := a.last.Window, uint16(100000>>7); got != want {
		t.Errorf("field is %d, want %d", got, want)
	}
	a.inject(sPA, 1, 1, 1)
	a.drain()
	// One octet less of window is a unit less, rounded up, as the edge must not
	// move back.
	if got, want := a.last.Window, uint16(100000>>7); got != want {
		t.Errorf("field is %d, want %d", got, want)
	}
}

func TestReadingMoreThanThereIsIsABug(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	a := established(t)
	a.inject(sA, 1, 1, 10)
	a.c.Consume(&a.st.m, a.now, 11)
}

func TestPartlyReadChunkStaysWhole(t *testing.T) {
	a := established(t, func(tk *talk) { tk.pieces = 100 })
	a.inject(sA, 1, 1, 300)
	for _, x := range []struct{ n, held int }{{50, 3}, {49, 3}, {1, 2}, {150, 1}, {50, 0}} {
		a.readSome(x.n)
		if a.held() != x.held {
			t.Errorf("after %d octets %d chunks are held, want %d", a.read, a.held(), x.held)
		}
	}
}

func TestBufferMadeSmallerDoesNotTakeBackTheWindow(t *testing.T) {
	a := calm(established(t))
	edge := a.c.rcv.edge
	a.c.Opt.RcvBuf = 1000
	a.c.OptionsChanged(a.now)
	a.inject(sA, 1, 1, 500)
	a.inject(sA, 501, 1, 1000)
	a.drain()
	if a.c.rcv.edge != edge {
		t.Errorf("the edge moved by %d", rel(a.c.rcv.edge, edge))
	}
}

func TestFinAtTheEdgeOfAFullBuffer(t *testing.T) {
	a := calm(established(t, option(func(o *ConnOptions) { o.RcvBuf = 2000; o.MSS = 1000 })))
	a.inject(sA, 1, 1, 1000)
	a.inject(sFA, 1001, 1, 1000)
	a.wantState(CloseWait)
	if seg := a.want(sA, 1, 2002, 0); seg.Window != 0 {
		t.Errorf("window is %d, want 0", seg.Window)
	}
}
