package tcp

import "testing"

// RFC 9293 figure 12: Normal Close Sequence.
func TestFigure12NormalClose(t *testing.T) {
	t.Run("TCP peer A", func(t *testing.T) {
		a := established(t)
		a.shutdown()
		a.wantState(FinWait1)
		a.want(sFA, 1, 1, 0)
		a.inject(sA, 1, 2, 0)
		a.wantState(FinWait2)
		a.inject(sFA, 1, 2, 0)
		a.wantState(TimeWait)
		a.wantEvents(EventTimeWait | EventReadable)
		a.want(sA, 2, 2, 0)
		a.advance(timeWait - 1)
		a.wantState(TimeWait)
		a.advance(1)
		a.wantEnd(ErrNone)
		a.wantEvents(EventClosed)
	})
	t.Run("TCP peer B", func(t *testing.T) {
		b := established(t)
		b.inject(sFA, 1, 1, 0)
		b.wantState(CloseWait)
		b.wantEvents(EventReadable)
		b.want(sA, 1, 2, 0)
		if _, fin := b.c.Readable(); !fin {
			t.Error("the program is not told of the FIN")
		}
		b.shutdown()
		b.wantState(LastAck)
		b.want(sFA, 1, 2, 0)
		b.inject(sA, 2, 2, 0)
		b.wantEnd(ErrNone)
		b.wantEvents(EventClosed)
	})
}

// RFC 9293 figure 13: Simultaneous Close Sequence.
func TestFigure13SimultaneousClose(t *testing.T) {
	a := established(t)
	a.shutdown()
	a.want(sFA, 1, 1, 0)
	a.inject(sFA, 1, 1, 0)
	a.wantState(Closing)
	a.want(sA, 2, 2, 0)
	a.inject(sA, 2, 2, 0)
	a.wantState(TimeWait)
	a.advance(timeWait)
	a.wantEnd(ErrNone)
}

func TestFinAndAckInOneSegmentSkipFinWait2(t *testing.T) {
	a := inState(t, FinWait1)
	a.inject(sFA, 1, 2, 0)
	a.wantState(TimeWait)
	a.want(sA, 2, 2, 0)
}

func TestFinFollowsAllThatWasWritten(t *testing.T) {
	a := established(t)
	a.write(1500)
	a.shutdown()
	a.wantState(FinWait1)
	a.want(sA, 1, 1, 1000)
	a.want(sFA|sPA, 1001, 1, 500)
	a.wantNone()
	a.inject(sA, 1, 1501, 0)
	a.wantState(FinWait1)
	a.inject(sA, 1, 1502, 0)
	a.wantState(FinWait2)
}

func TestFinThatIsLostComesAgain(t *testing.T) {
	a := established(t)
	a.write(100)
	a.shutdown()
	a.want(sFA|sPA, 1, 1, 100)
	a.advance(a.c.RTO())
	a.want(sFA|sPA, 1, 1, 100)
	a.inject(sA, 1, 101, 0)
	a.advance(a.c.RTO())
	a.want(sFA, 101, 1, 0)
}

func TestFinWaitsForTheWindow(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(10))
	a.write(10)
	a.shutdown()
	a.want(sPA, 1, 1, 10)
	a.wantNone()
	a.inject(sA, 1, 11, 0, window(0))
	a.wantNone()
	a.inject(sA, 1, 11, 0, window(10))
	a.want(sFA, 11, 1, 0)
}

func TestFinThatArrivesEarlyWaitsForTheGap(t *testing.T) {
	a := calm(established(t))
	a.inject(sFA, 101, 1, 50)
	a.want(sA, 1, 1, 0)
	a.wantState(Established)
	a.inject(sA, 1, 1, 100)
	a.wantState(CloseWait)
	a.want(sA, 1, 152, 0)
	if n := a.readAll(); n != 150 {
		t.Errorf("read %d octets", n)
	}
}

func TestDataBehindAFinIsNoData(t *testing.T) {
	a := calm(established(t))
	a.inject(sFA, 101, 1, 0)
	a.drain()
	a.inject(sA, 1, 1, 150)
	a.wantState(CloseWait)
	if n := a.readAll(); n != 100 {
		t.Errorf("read %d octets, want those before the FIN", n)
	}
}

func TestHalfClosedConnectionStillSends(t *testing.T) {
	b := inState(t, CloseWait)
	b.write(2000)
	b.want(sA, 1, 2, 1000)
	b.want(sPA, 1001, 2, 1000)
	b.inject(sA, 2, 2001, 0)
	b.shutdown()
	b.want(sFA, 2001, 2, 0)
}

func TestHalfClosedConnectionStillReceives(t *testing.T) {
	for _, s := range []State{FinWait1, FinWait2} {
		a := calm(inState(t, s))
		a.inject(sA, 1, ackOf(s), 700)
		a.inject(sFA, 701, ackOf(s), 700)
		a.want(sA, 2, 1402, 0)
		if n := a.readAll(); n != 1400 {
			t.Errorf("in %s read %d octets", s, n)
		}
	}
}

func TestShutdownInEachState(t *testing.T) {
	for s, want := range map[State]State{
		Closed: Closed, Listen: Closed, SynSent: Closed, SynReceived: SynReceived, Established: FinWait1,
		FinWait1: FinWait1, FinWait2: FinWait2, CloseWait: LastAck, Closing: Closing, LastAck: LastAck,
		TimeWait: TimeWait,
	} {
		tk := inState(t, s)
		tk.shutdown()
		tk.wantState(want)
	}
}

func TestShutdownInSynReceivedWaitsForTheHandshake(t *testing.T) {
	b := inState(t, SynReceived)
	b.shutdown()
	b.wantNone()
	b.inject(sA, 1, 1, 0)
	b.wantState(FinWait1)
	b.want(sFA, 1, 1, 0)
}

func TestAbortInEachState(t *testing.T) {
	for s := Closed; s <= TimeWait; s++ {
		tk := inState(t, s)
		seq, ack := ourNextOf(s), nextOf(s)
		tk.abort()
		tk.wantState(Closed)
		switch s {
		case Closed, Listen, SynSent, Closing, LastAck, TimeWait:
			tk.wantNone()
		default:
			tk.want(sRA, seq, ack, 0)
			tk.wantNone()
		}
		if s != Closed && tk.c.Error != ErrAborted {
			t.Errorf("in %s the error is %q", s, tk.c.Error)
		}
		if tk.c.Deadline() != Never {
			t.Errorf("in %s a timer still runs", s)
		}
	}
}

func TestResetOfAnAbortLiesInTheWindow(t *testing.T) {
	a := established(t)
	a.write(2000)
	a.drain()
	a.inject(sA, 1, 1001, 0, window(300)) // takes back some of what was allowed
	a.abort()
	a.want(sRA, 1301, 1, 0)
}

func TestFailInEachState(t *testing.T) {
	for s := Listen; s <= TimeWait; s++ {
		tk := inState(t, s)
		tk.do("Fail", func(m *Memory) { tk.c.Fail(m, tk.now, ErrUnreachable) })
		tk.wantEnd(ErrUnreachable)
		tk.wantEvents(EventError | EventClosed)
		tk.wantNone()
	}
}

func TestCloseWithUnreadDataResets(t *testing.T) {
	for _, s := range []State{Established, FinWait1, FinWait2} {
		a := inState(t, s)
		a.inject(sA, 1, ackOf(s), 10)
		a.drain()
		a.close()
		a.wantEnd(ErrNone)
		a.want(sRA, ourNextOf(s), 11, 0)
		if a.held() != 0 {
			t.Errorf("in %s chunks are left", s)
		}
	}
}

func TestCloseInTimeWaitGivesUpUnreadDataQuietly(t *testing.T) {
	a := inState(t, FinWait2)
	a.inject(sFA, 1, 2, 10)
	a.drain()
	a.close()
	a.wantState(TimeWait)
	a.wantNone()
	if a.held() != 0 {
		t.Error("chunks are left")
	}
}

func TestDataAfterCloseResets(t *testing.T) {
	a := established(t)
	a.close()
	a.wantState(FinWait1)
	a.want(sFA, 1, 1, 0)
	a.inject(sA, 1, 1, 10)
	a.wantEnd(ErrNone)
	a.want(sR, 1, -1, 0) // what the peer has acknowledged is what it accepts
}

func TestCloseWithoutUnreadDataClosesInOrder(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 10)
	a.readAll()
	a.drain()
	a.write(20)
	a.close()
	a.want(sFA|sPA, 1, 11, 20)
	a.inject(sFA, 11, 22, 0)
	a.wantState(TimeWait)
}

func TestLingerZeroResets(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.LingerSet = 1 }))
	a.write(10)
	a.drain()
	a.close()
	a.wantEnd(ErrNone)
	a.want(sRA, 11, 1, 0)
}

func TestOrphanLeavesFinWait2AfterAWhile(t *testing.T) {
	for _, first := range []string{"close", "shutdown"} {
		a := established(t)
		if first == "close" {
			a.close()
		} else {
			a.shutdown()
		}
		a.drain()
		a.inject(sA, 1, 2, 0)
		a.wantState(FinWait2)
		if first == "shutdown" {
			if a.c.Deadline() != Never {
				t.Error("FIN-WAIT-2 of a living program has a deadline")
			}
			a.close()
		}
		a.advance(orphanWait - 1)
		a.wantState(FinWait2)
		a.advance(1)
		a.wantEnd(ErrNone)
	}
}

// The host's limit, tcp_fin_timeout, the program's, TCP_LINGER2, and the time in
// which a lost FIN comes again, which is the least of all.
func TestHowLongAnOrphanWaits(t *testing.T) {
	for _, row := range []struct {
		name    string
		host    Time
		program uint8
		want    Time
	}{
		{"the default", 0, 0, 60 * Second},
		{"the host's", 20 * Second, 0, 20 * Second},
		{"the program's", 20 * Second, 100, 100 * Second},
		{"too short", 1 * Millisecond, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := established(t, option(func(o *ConnOptions) { o.FinWait = row.program }))
			a.st.m.FinWait = row.host
			a.close()
			a.drain()
			a.inject(sA, 1, 2, 0)
			a.wantState(FinWait2)
			want := max(row.want, a.c.rtt.rto*7/2)
			a.advance(want - 1)
			a.wantState(FinWait2)
			a.advance(1)
			a.wantEnd(ErrNone)
		})
	}
}

// Linux's TCP_LINGER2 of less than 0: an orphan does not wait, and says so.
func TestOrphanThatDoesNotWait(t *testing.T) {
	for _, first := range []string{"close", "shutdown"} {
		a := established(t, option(func(o *ConnOptions) { o.NoFinWait = 1 }))
		if first == "close" {
			a.close()
		} else {
			a.shutdown()
		}
		a.drain()
		a.inject(sA, 1, 2, 0)
		a.wantState(FinWait2)
		if first == "shutdown" {
			a.close()
		}
		a.advance(1)
		a.wantEnd(ErrNone)
		a.want(sRA, 2, 1, 0)
	}
}

// Who is prodded asks once, in any state in which the peer knows of the connection.
func TestProd(t *testing.T) {
	for s := Closed; s <= TimeWait; s++ {
		a := inState(t, s)
		a.drain()
		a.do("Prod", func(*Memory) { a.c.Prod() })
		if asks := s.Synchronized() && s != TimeWait; asks != a.c.HasOutput() {
			t.Errorf("%v: asks: %v", s, !asks)
		}
	}
	a := established(t)
	a.do("Prod", func(*Memory) { a.c.Prod() })
	a.want(sA, 0, 1, 0)
	a.wantNone()
	a.inject(sR, 1, 0, 0)
	a.wantEnd(ErrReset)
}

func TestCloseReadAcknowledgesAndForgets(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 10)
	a.inject(sA, 21, 1, 10)
	a.drain()
	a.do("CloseRead", func(m *Memory) { a.c.CloseRead(m, a.now) })
	a.inject(sA, 11, 1, 10)
	a.want(sA, 1, 31, 0)
	if n, _ := a.c.Readable(); n != 0 || a.held() != 0 {
		t.Errorf("%d octets, %d chunks", n, a.held())
	}
	a.inject(sFA, 31, 1, 0)
	a.wantState(CloseWait)
}

func TestDataThatCameBeforeAResetCanStillBeRead(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 10)
	a.inject(sA, 21, 1, 10)
	a.write(10)
	a.drain()
	a.inject(sR, 11, 0, 0)
	a.wantEnd(ErrReset)
	if a.held() != 1 {
		t.Errorf("%d chunks are held, want the one in order", a.held())
	}
	if n := a.readAll(); n != 10 {
		t.Errorf("read %d octets", n)
	}
	if a.held() != 0 {
		t.Error("chunks are left")
	}
}

func TestFinInTimeWaitRestartsTheTimer(t *testing.T) {
	a := inState(t, TimeWait)
	a.advance(timeWait / 2)
	a.inject(sFA, 1, 2, 0)
	a.want(sA, 2, 2, 0)
	a.advance(timeWait - 1)
	a.wantState(TimeWait)
	a.advance(1)
	a.wantState(Closed)
}

func TestWriteAfterCloseComesBack(t *testing.T) {
	a := inState(t, FinWait1)
	free := len(a.st.free)
	a.write(10)
	a.wantNone()
	if len(a.st.free) != free {
		t.Error("the chunk did not come back")
	}
}

func TestSendSpaceInEachState(t *testing.T) {
	for s := Closed; s <= TimeWait; s++ {
		tk := inState(t, s)
		want := s == Established || s == CloseWait
		if got := tk.c.SendSpace() > 0; got != want {
			t.Errorf("in %s there is space: %v", s, got)
		}
	}
}

func TestMayReopen(t *testing.T) {
	syn := func(n int, ts uint32) *Segment {
		s := &Segment{Seq: peerISS, Flags: sS}
		s.Seq += peerSeq(n)
		if ts != 0 {
			s.Options.Present = hasTS
			s.Options.TSVal = ts
		}
		return s
	}
	plain := inState(t, TimeWait)
	stamped := inState(t, TimeWait, withTimestamps)
	ts := stamped.c.rcv.tsRecent
	tests := []struct {
		name string
		tk   *talk
		seg  *Segment
		want bool
	}{
		{"a younger number opens", plain, syn(1000, 0), true},
		{"an old number does not", plain, syn(-1000, 0), false},
		{"the last number does not", plain, syn(2, 0), false},
		{"a younger timestamp opens whatever the number", stamped, syn(-1000, ts+1), true},
		{"an older timestamp does not", stamped, syn(1000, ts-1), false},
		{"with the same timestamp the number decides", stamped, syn(1000, ts), true},
		{"without a timestamp the number decides", stamped, syn(-1000, 0), false},
		{"a SYN-ACK never opens", plain, &Segment{Seq: peerISS + peerSeq(1000), Flags: sSA}, false},
		{"no other state can be reopened", established(t), syn(1000, 0), false},
	}
	for _, x := range tests {
		if got := x.tk.c.MayReopen(x.seg); got != x.want {
			t.Errorf("%s: got %v", x.name, got)
		}
	}
}
