package tcp

import (
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// Who has the ends of a connection that was in TIME-WAIT a moment ago wants to see that
// the peer's clock has gone on since.
func TestFollowWantsAYoungerTimestamp(t *testing.T) {
	was := established(t, withTimestamps)
	last := was.c.rcv.tsRecent
	for _, row := range []struct {
		name  string
		stamp func(o *wire.Options)
		want  State
	}{
		{"younger", func(o *wire.Options) { o.TSVal = last + 1 }, Established},
		{"the same", func(o *wire.Options) { o.TSVal = last }, Closed},
		{"older", func(o *wire.Options) { o.TSVal = last - 1 }, Closed},
		{"none", func(o *wire.Options) { o.Present &^= wire.HasTimestamps }, Closed},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newTalk(t, withTimestamps)
			a.openActive()
			a.do("Follow", func(*Memory) { a.c.Follow(&was.c) })
			if syn := a.want(sS, 0, -1, 0); syn.Options.TSEcr != 0 {
				t.Errorf("the SYN has TSecr %d, want 0: it acknowledges nothing", syn.Options.TSEcr)
			}
			a.inject(sSA, 0, 1, 0, func(s *Segment) { row.stamp(&s.Options) })
			a.wantState(row.want)
			if row.want == Established {
				a.want(sA, 1, 1, 0)
				return
			}
			if a.c.Error != ErrRefused {
				t.Errorf("error %v", a.c.Error)
			}
			a.want(sR, 1, -1, 0)
			a.wantNone()
		})
	}
}

// Who follows a connection, which may have been another program's, goes on with its clock of
// timestamps, so that the peer takes no old segment for one of the new connection.
func TestFollowGoesOnWithTheClock(t *testing.T) {
	was := established(t, withTimestamps)
	was.c.snd.tsOffset += 12345 // as of another secret
	was.write(1)
	last := was.want(sPA, 1, 1, 1).Options.TSVal
	for _, follows := range []bool{true, false} {
		a := newTalk(t, withTimestamps)
		a.now = was.now + 50*Millisecond
		a.openActive()
		if follows {
			a.do("Follow", func(*Memory) { a.c.Follow(&was.c) })
		}
		syn := a.want(sS, 0, -1, 0)
		if got := syn.Options.TSVal - last; (got == 50) != follows {
			t.Errorf("follows %v: the SYN's timestamp is %d ms younger", follows, int32(got))
		}
	}
}

// Who follows a connection begins above all numbers that this one has used (RFC 9293 section
// 3.6.1), wherever its own clock of numbers is, and nobody can foresee where.
func TestFollowBeginsAboveWhatWas(t *testing.T) {
	was := established(t, withTimestamps)
	last := was.c.snd.nxt
	for _, row := range []struct {
		name string
		iss  seq.Number
		same bool
	}{
		{"above", last.Add(1), true},
		{"far above", last.Add(1<<31 - 1), true},
		{"the same", last, false},
		{"below", last.Minus(1), false},
		{"far below", last.Minus(1<<31 - 2), false},
	} {
		got := was.c.ISNAfter(row.iss)
		if !got.After(last) || row.same != (got == row.iss) {
			t.Errorf("%s: %d becomes %d, the connection before ended at %d", row.name, row.iss, got, last)
		}
		if !row.same && got == was.c.ISNAfter(row.iss.Minus(77)) {
			t.Errorf("%s: another number becomes the same %d", row.name, got)
		}
	}
}

// A connection in TIME-WAIT that is restored is whole.
func TestARestoredRemnantIsWhole(t *testing.T) {
	r := Remnant{Flow: established(t).c.Flow, End: 9 * Second, sndNxt: 7, rcvNxt: 8, rcvEdge: 9, stamped: true}
	var c Conn
	if !r.Restore(&c, Second) || c.State != TimeWait || c.Deadline() != 9*Second || !c.Orphaned() {
		t.Errorf("%v until %v, %v", c.State, c.Deadline(), c.CheckInvariants(&Memory{}))
	}
	if r.rcvEdge = r.rcvNxt.Add(1<<31 - 1); r.Restore(&c, Second) {
		t.Error("a window of two gigabytes is taken")
	}
}

// What a write leaves over waits behind the train that it was too long for, as long as
// an acknowledgement of that is due; not where the program wants no delay.
func TestTheRestOfAWriteWaitsBehindItsTrain(t *testing.T) {
	a := trained(t)
	a.write(3000)
	a.wantTrain(1, 1, 3000)
	a.write(300)
	a.wantNone()
	a.inject(sA, 1, 1001, 0)
	a.wantNone()
	a.inject(sA, 1, 2001, 0) // the acknowledgement of one segment may be delayed
	a.wantSingle(sPA, 3001, 1, 300)

	a = trained(t, option(noDelay))
	a.write(3000)
	a.wantTrain(1, 1, 3000)
	a.write(300)
	a.wantSingle(sPA, 3001, 1, 300)
}
