package tcp

import "testing"

func (tk *talk) writeMore(n int) {
	tk.t.Helper()
	tk.write(n)
	tk.do("MoreComes", func(*Memory) { tk.c.MoreComes() })
}

func (tk *talk) push() {
	tk.t.Helper()
	tk.do("Push", func(*Memory) { tk.c.Push() })
}

func TestWhatMoreComesAfterWaits(t *testing.T) {
	a := established(t, option(noDelay))
	a.writeMore(40)
	a.wantNone()
	a.writeMore(50)
	a.wantNone()
	a.write(10) // the program says nothing of more
	a.want(sPA, 1, 1, 100)
	a.wantNone()
}

func TestFullSegmentsDoNotWaitForMore(t *testing.T) {
	a := established(t, option(noDelay))
	a.writeMore(2100)
	a.want(sA, 1, 1, 1000)
	a.want(sA, 1001, 1, 1000)
	a.wantNone()
	// The acknowledgement lets the rest go: nothing tells that more has come.
	a.inject(sA, 1, 1001, 0)
	a.want(sA, 2001, 1, 100)
	a.wantNone()
}

func TestMoreThatNeverComesIsNotWaitedForLong(t *testing.T) {
	a := established(t, option(noDelay))
	a.writeMore(40)
	a.wantNone()
	a.advance(a.c.RTO())
	a.want(sPA, 1, 1, 40) // pushed: nobody knows whether more will come
	a.wantNone()
}

func TestTheFINWaitsForNothing(t *testing.T) {
	a := established(t)
	a.writeMore(40)
	a.shutdown()
	a.want(sFA, 1, 1, 40)
}

func TestPushLetsWhatIsCorkedLeave(t *testing.T) {
	a := established(t, option(cork))
	a.write(40)
	a.wantNone()
	a.push()
	a.want(sPA, 1, 1, 40)
	a.write(50) // … and nothing else
	a.wantNone()
}

func TestPushOfWhatMoreComesAfterHasNoPSH(t *testing.T) {
	a := established(t)
	a.writeMore(40)
	a.push()
	a.want(sA, 1, 1, 40)
}

func TestPushOfNothingIsForgotten(t *testing.T) {
	a := established(t, option(cork))
	a.push()
	a.write(40)
	a.wantNone()
}

func TestMoreComesAfterTheEndMeansNothing(t *testing.T) {
	a := established(t)
	a.shutdown()
	a.want(sFA, 1, 1, 0)
	a.do("MoreComes", func(*Memory) { a.c.MoreComes() })
	if a.c.has(flagMore) {
		t.Error("something is waited for that can't come")
	}
}
