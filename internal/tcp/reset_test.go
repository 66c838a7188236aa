package tcp

import (
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

const hasTS = wire.HasTimestamps

func peerSeq(n int) seq.Number { return seq.Number(n) }

func TestResetFor(t *testing.T) {
	tests := []struct {
		name string
		seg  Segment
		want Segment
		none bool
	}{
		{name: "an acknowledgement is answered with its number",
			seg: Segment{Flags: sA, Seq: 5, Ack: 7}, want: Segment{Flags: sR, Seq: 7}},
		{name: "a SYN is acknowledged",
			seg: Segment{Flags: sS, Seq: 5}, want: Segment{Flags: sRA, Ack: 6}},
		{name: "data and FIN without ACK are acknowledged",
			seg: Segment{Flags: wire.FIN, Seq: 5, Len: 10}, want: Segment{Flags: sRA, Ack: 16}},
		{name: "an RST is not answered", seg: Segment{Flags: sR, Seq: 5}, none: true},
		{name: "an RST with ACK is not answered", seg: Segment{Flags: sRA, Seq: 5}, none: true},
	}
	for _, x := range tests {
		var out Segment
		if ok := ResetFor(&x.seg, &out); ok == x.none || out != x.want {
			t.Errorf("%s: %v %+v", x.name, ok, out)
		}
	}
}

// synchronized are the states in which both sides know each other.
var synchronized = []State{Established, FinWait1, FinWait2, CloseWait, Closing, LastAck, TimeWait}

func TestResetInEachState(t *testing.T) {
	for _, s := range append([]State{SynReceived}, synchronized...) {
		if s == TimeWait {
			continue // TestResetInTimeWait
		}
		next := nextOf(s)
		t.Run(s.String(), func(t *testing.T) {
			tk := inState(t, s)
			tk.inject(sR, next-1, 0, 0)
			tk.wantState(s) // before the window: dropped
			tk.wantNone()
			tk.inject(sR, next+40000, 0, 0)
			tk.wantState(s) // behind the window: dropped
			tk.wantNone()
			tk.inject(sR, next+10, 0, 0)
			tk.wantState(s) // in the window: asked about
			tk.want(sA, ourNextOf(s), next, 0)
			tk.wantNone()
			tk.inject(sR, next, 0, 0)
			tk.wantState(Closed)
			tk.wantNone()
			want := ErrReset
			if s == Closing || s == LastAck {
				want = ErrNone
			}
			tk.wantEnd(want)
		})
	}
}

// RFC 1337: TIME-WAIT must not be cut short, or old duplicates get into the next
// connection.
func TestResetInTimeWait(t *testing.T) {
	a := inState(t, TimeWait)
	for _, at := range []int{1, 2, 3, 40000} {
		a.inject(sR, at, 0, 0)
		a.wantState(TimeWait)
		a.wantNone()
	}
	a.advance(timeWait)
	a.wantEnd(ErrNone)
}

// The other end is opened anew with a SYN that is no younger than all that was, by a program
// with other secrets, say: its answer to our acknowledgement ends TIME-WAIT.
func TestResetOfWhoCallsEndsTimeWait(t *testing.T) {
	for _, mods := range [][]func(*talk){nil, {withTimestamps}} {
		a := inState(t, TimeWait, mods...)
		next := nextOf(TimeWait)
		a.tsval -= 5000
		a.inject(sS, next-5000, 0, 0)
		a.wantState(TimeWait)
		a.want(sA, 2, next, 0)
		a.tsval += 5000
		for _, at := range []int{next - 1, next + 1, next + 5000} {
			a.inject(sR, at, 0, 0)
			a.wantState(TimeWait)
			a.drain()
		}
		a.inject(sR, next, 0, 0)
		a.wantState(Closed)
		a.wantEnd(ErrNone)
		a.wantNone()
	}
}

// Who waits for an answer to its SYN, and hears of a connection of former times, sends the
// SYN again behind the reset that ends that one, without waiting: once.
func TestSynBehindTheReset(t *testing.T) {
	a := inState(t, SynSent)
	a.inject(sA, 500, 700, 0)
	a.want(sR, 700, -1, 0)
	a.want(sS, 0, -1, 0)
	a.wantNone()
	a.inject(sA, 500, 700, 0)
	a.want(sR, 700, -1, 0)
	a.wantNone()
	a.advance(initialRTO - 1)
	a.wantNone()
	a.advance(1)
	a.want(sS, 0, -1, 0)
	a.inject(sRA, 500, 700, 0) // a reset is no news of it
	a.wantNone()
	a.wantState(SynSent)
}

func TestResetInSynSent(t *testing.T) {
	a := inState(t, SynSent)
	a.inject(sR, 0, 0, 0)
	a.wantState(SynSent) // no ACK: dropped
	a.inject(sRA, 0, 5, 0)
	a.wantState(SynSent) // a wrong one: dropped
	a.wantNone()
	a.inject(sRA, 0, 1, 0)
	a.wantEnd(ErrRefused)
	a.wantEvents(EventError | EventClosed)
	a.wantNone()
}

func TestResetOfASimultaneousOpenIsARefusal(t *testing.T) {
	a := inState(t, SynSent)
	a.inject(sS, 0, 0, 0)
	a.drain()
	a.inject(sR, 1, 0, 0)
	a.wantEnd(ErrRefused)
}

func TestSynInEachSynchronizedState(t *testing.T) {
	for _, s := range synchronized {
		t.Run(s.String(), func(t *testing.T) {
			tk := inState(t, s)
			tk.inject(sS, nextOf(s)+10, 0, 0)
			tk.wantState(s)
			tk.want(sA, ourNextOf(s), nextOf(s), 0)
			tk.wantNone()
			if tk.c.Stats.Challenges != 1 {
				t.Errorf("%d challenges counted", tk.c.Stats.Challenges)
			}
			tk.advance(oddPause)
			tk.drain()
			tk.inject(sS, -1000, 0, 0) // outside the window
			tk.wantState(s)
			tk.want(sA, ourNextOf(s), nextOf(s), 0)
		})
	}
}

func TestChallengesAreRare(t *testing.T) {
	a := established(t)
	for range 10 {
		a.inject(sS, 10, 0, 0)
	}
	a.want(sA, 1, 1, 0)
	a.wantNone()
	a.inject(sR, 10, 0, 0)
	a.wantNone()
	a.advance(oddPause - 1)
	a.inject(sR, 10, 0, 0)
	a.wantNone()
	a.advance(1)
	a.inject(sR, 10, 0, 0)
	a.want(sA, 1, 1, 0)
}

func TestSegmentWithoutAckIsDropped(t *testing.T) {
	for _, s := range append([]State{SynReceived}, synchronized...) {
		tk := inState(t, s)
		tk.inject(0, nextOf(s), 0, 10)
		tk.wantState(s)
		tk.wantNone()
		if n, _ := tk.c.Readable(); n != 0 {
			t.Errorf("in %s text was taken", s)
		}
		if tk.c.Stats.DropAck != 1 {
			t.Errorf("in %s %+v", s, tk.c.Stats)
		}
	}
}

func TestAckOfWhatWasNeverSentInEachState(t *testing.T) {
	for _, s := range synchronized {
		t.Run(s.String(), func(t *testing.T) {
			tk := inState(t, s)
			tk.inject(sA, nextOf(s), ourNextOf(s)+1, 10)
			tk.wantState(s)
			tk.want(sA, ourNextOf(s), nextOf(s), 0)
			if n, _ := tk.c.Readable(); n != 0 {
				t.Error("text was taken")
			}
		})
	}
	t.Run("SYN-RECEIVED", func(t *testing.T) {
		tk := inState(t, SynReceived)
		for _, ack := range []int{0, 2} {
			tk.inject(sA, 1, ack, 0)
			tk.wantState(SynReceived)
			tk.want(sR, ack, -1, 0)
		}
	})
	t.Run("SYN-SENT", func(t *testing.T) {
		tk := inState(t, SynSent)
		for _, ack := range []int{0, 2} {
			tk.inject(sSA, 0, ack, 0)
			tk.wantState(SynSent)
			tk.want(sR, ack, -1, 0)
		}
	})
}

func TestAckFromLongAgoIsChallenged(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1-64000, 10)
	a.want(sA, 1, 11, 0) // within the largest window: an old acknowledgement
	a.inject(sA, 11, 1-64001, 10)
	a.want(sA, 1, 11, 0)
	if a.c.Stats.DropAck != 1 {
		t.Errorf("%+v", a.c.Stats)
	}
}

func TestFinInEachState(t *testing.T) {
	for s, want := range map[State]State{
		SynReceived: CloseWait, Established: CloseWait, FinWait1: Closing, FinWait2: TimeWait,
		CloseWait: CloseWait, Closing: Closing, LastAck: LastAck, TimeWait: TimeWait,
	} {
		tk := inState(t, s)
		ack := ackOf(s)
		tk.inject(sFA, 1, ack, 0)
		tk.wantState(want)
		tk.want(sA, ourNextOf(s), 2, 0)
	}
	tk := inState(t, SynSent)
	tk.inject(wire.FIN, 0, 0, 0)
	tk.wantState(SynSent)
	tk.wantNone()
}

func TestTextInEachState(t *testing.T) {
	for _, s := range append([]State{SynSent, SynReceived}, synchronized...) {
		tk := inState(t, s)
		tk.inject(sA, nextOf(s), ackOf(s), 10)
		n, _ := tk.c.Readable()
		switch s {
		case SynReceived, Established, FinWait1, FinWait2:
			if n != 10 {
				t.Errorf("in %s %d octets were taken", s, n)
			}
		default:
			if n != 0 {
				t.Errorf("in %s %d octets were taken", s, n)
			}
		}
	}
}

func TestSegmentsOutsideTheWindow(t *testing.T) {
	const edge = 1 + 30660 // 21 full-sized segments
	tests := []struct {
		name       string
		seq, n     int
		answered   bool
		acceptable bool
	}{
		{"old text is acknowledged again", -99, 100, true, false},
		{"an old acknowledgement is answered, rarely", -99, 0, true, false},
		{"text that reaches into the window is taken", -99, 101, true, true},
		{"text at the end of the window is taken", edge - 1, 1, true, true},
		{"text behind the window is answered", edge + 1, 1, true, false},
		{"an acknowledgement at the edge is taken", edge, 0, false, true},
		{"one behind it is answered", edge + 1, 0, true, false},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			a := established(t)
			a.inject(sA, x.seq, 1, x.n)
			if a.c.Stats.DropWindow > 0 == x.acceptable {
				t.Errorf("acceptable: %v", !x.acceptable)
			}
			if got := a.drain() > 0; got != x.answered {
				t.Errorf("answered: %v", got)
			}
		})
	}
}

func TestEachErrorAndStateHasAName(t *testing.T) {
	for s := Closed; s <= TimeWait; s++ {
		if s.String() == "" || s.String() == (TimeWait+1).String() {
			t.Errorf("state %d is %q", s, s)
		}
	}
	for e := ErrNone; e <= ErrCorrupt; e++ {
		if e.String() == "" || e.String() == (ErrCorrupt+1).String() {
			t.Errorf("error %d is %q", e, e)
		}
	}
	if Established.String() != "ESTABLISHED" || ErrCorrupt.String() != "segment damaged" {
		t.Error("the lists have shifted")
	}
}
