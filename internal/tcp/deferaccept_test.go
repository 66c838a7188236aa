package tcp

import "testing"

func deferFor(sec uint32) func(*talk) { return option(func(o *ConnOptions) { o.DeferAccept = sec }) }

func TestDeferAcceptWaitsForData(t *testing.T) {
	a := newTalk(t, deferFor(10))
	a.openPassive()
	a.want(sSA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.wantNone()
	a.wantState(SynReceived)
	a.inject(sPA, 1, 1, 100)
	a.wantState(Established)
	a.wantEvents(EventEstablished | EventReadable)
	a.want(sA, 1, 101, 0)
}

func TestDeferAcceptIsOverWithAFin(t *testing.T) {
	a := newTalk(t, deferFor(10))
	a.openPassive()
	a.want(sSA, 0, 1, 0)
	a.inject(sFA, 1, 1, 0)
	a.wantState(CloseWait)
}

func TestDeferAcceptEndsAfterItsTime(t *testing.T) {
	a := newTalk(t, deferFor(5)) // 1 + 2 + 4 s: three timeouts
	a.openPassive()
	a.want(sSA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.advance(2900 * Millisecond)
	a.wantNone() // the peer has our SYN-ACK: silence
	a.advance(Second / 2 * 9)
	a.want(sSA, 0, 1, 0)
	a.inject(sA, 1, 1, 0)
	a.wantState(Established)
}

func TestDeferTries(t *testing.T) {
	for sec, want := range map[uint32]uint8{0: 0, 1: 1, 2: 2, 3: 2, 4: 3, 7: 3, 8: 4, 15: 4, 1 << 31: 60} {
		a := newTalk(t, deferFor(sec))
		if got := a.c.deferTries(); got != want {
			t.Errorf("%d s: %d timeouts, want %d", sec, got, want)
		}
	}
}

func TestDeferAcceptGivesUpOnASilentPeer(t *testing.T) {
	a := newTalk(t, deferFor(300), option(func(o *ConnOptions) { o.SynAckTries = 1 }))
	a.openPassive()
	a.drain()
	for n := 0; a.c.State == SynReceived; n++ {
		if n > 20 {
			t.Fatal("SYN-ACKs without end")
		}
		a.advance(a.c.Deadline() - a.now)
		a.drain()
	}
	a.wantEnd(ErrTimeout)
}
