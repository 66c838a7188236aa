package tcp

import "testing"

// recovering starts a conversation in which 20 segments are in flight, the first
// of which was lost: ssthresh is 10 segments.
func recovering(t *testing.T) *talk {
	a := selective(t, 10)
	a.inject(sA, 1, 10001, 0)
	a.c.cc.cwnd = 20000
	flood(a, 20)
	a.write(30000)
	a.wantNone()
	a.advance(10 * Millisecond)
	return a
}

func TestSendingPaceInProportion(t *testing.T) {
	a := recovering(t)
	a.inject(sA, 1, 10001, 0, sacks(11001, 12001))
	a.want(sA, 30001, 1, 1000)
	a.inject(sA, 1, 10001, 0, sacks(11001, 13001))
	a.want(sA, 31001, 1, 1000)
	a.inject(sA, 1, 10001, 0, sacks(11001, 14001))
	a.want(sA, 10001, 1, 1000) // the hole
	a.wantNone()
	if _, ssthresh := a.c.Window(); ssthresh != 10000 {
		t.Fatalf("ssthresh %d", ssthresh)
	}
	// One segment leaves for each two that arrive, until 10 are left in the network.
	sent := 0
	for end := 15001; end <= 30001; end += 1000 {
		a.inject(sA, 1, 10001, 0, sacks(11001, end))
		n := a.drain()
		if n > 1 {
			t.Errorf("%d segments left for one that arrived", n)
		}
		sent += n
	}
	if sent < 7 || sent > 9 {
		t.Errorf("%d segments left for 16 that arrived, want half of them", sent)
	}
	if got := a.c.pipe(); got < 9000 || got > 12000 {
		t.Errorf("%d octets in flight at the end, want about ssthresh", got)
	}
	a.inject(sA, 1, 32001, 0)
	a.wantPhase(phaseOpen)
	if cwnd, ssthresh := a.c.Window(); cwnd != ssthresh {
		t.Errorf("cwnd is %d, want ssthresh %d", cwnd, ssthresh)
	}
}

func TestManyLossesBringNoBurst(t *testing.T) {
	a := recovering(t)
	// Only the last four arrive: 16 are lost, 6 less in flight than ssthresh.
	a.inject(sA, 1, 10001, 0, sacks(26001, 30001))
	n := a.drain()
	if n < 1 || n > 4 {
		t.Errorf("%d segments left for four that arrived (conservative bound)", n)
	}
	a.advance(10 * Millisecond)
	// What fills a hole without showing another brings one more (slow start bound).
	a.inject(sA, 1, 11001, 0, sacks(26001, 30001))
	if n = a.drain(); n != 2 {
		t.Errorf("%d segments left for one that filled a hole, want 2", n)
	}
	if a.c.pipe() > a.c.cc.ssthresh {
		t.Errorf("%d in flight, more than ssthresh", a.c.pipe())
	}
}

func TestPRRAgainstItsFormula(t *testing.T) {
	for _, x := range []struct {
		name                         string
		flight, delivered, out, pipe uint32
		news                         news
		cwnd                         uint32
	}{
		{"first segment leaves at once", 20000, 0, 0, 19000, news{delivered: 1000}, 20000},
		{"in proportion", 20000, 3000, 1000, 15000, news{delivered: 1000}, 16000},
		{"no share yet", 20000, 3000, 2000, 15000, news{delivered: 1000}, 15000},
		{"below ssthresh, no progress", 20000, 10000, 9000, 5000, news{delivered: 1000}, 7000},
		{"below ssthresh, a hole filled", 20000, 10000, 9000, 5000, news{delivered: 1000, acked: 1000}, 8000},
		{"below ssthresh, a hole filled and one found", 20000, 10000, 9000, 5000, news{delivered: 1000, acked: 1000, lost: 1}, 7000},
		{"not beyond ssthresh", 20000, 10000, 1000, 9500, news{delivered: 1000, acked: 1000}, 10000},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := established(t, withSACK)
			a.c.cc.ssthresh = 10000
			a.c.loss.phase = phaseRecovery
			a.c.prr = prr{flight: x.flight, delivered: x.delivered, out: x.out}
			a.c.snd.nxt = a.c.snd.una + peerSeq(int(x.pipe))
			a.c.prrAck(&x.news)
			if cwnd, _ := a.c.Window(); cwnd != x.cwnd {
				t.Errorf("cwnd is %d, want %d", cwnd, x.cwnd)
			}
		})
	}
}
