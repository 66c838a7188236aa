package tcp

import (
	"testing"

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
