package half

import (
	"testing"
	"time"

	"usertcp/internal/interleave"
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

func TestWhenRestsAreWorthWhile(t *testing.T) {
	var g gathering
	long := &pool.Packet{Circuit: pool.NIC, Payload: placeLeast}
	come := func(n int) {
		for range n {
			g.arrived(7, long)
		}
	}
	wants := func(want bool, when string) {
		t.Helper()
		if g.worth() != want {
			t.Errorf("%s: a rest is worth while: %v", when, !want)
		}
	}
	wants(false, "at first")
	come(gatherAfter - 1)
	wants(false, "before the run is long enough")
	g.arrived(7, &pool.Packet{Circuit: pool.NIC, Payload: placeLeast - 1})
	g.arrived(7, &pool.Packet{Circuit: 1, Payload: placeLeast})
	wants(false, "with a short payload, and one of a circuit")
	come(1)
	wants(true, "after a long run")
	come(gatherLeast)
	wants(true, "after a rest that has brought enough")
	come(gatherLeast - 1)
	wants(false, "after one that has not")
	come(gatherAfter - 1)
	wants(false, "in a run that begins anew")
	come(1)
	wants(true, "after that run")
	g.sent(8)
	come(gatherLeast)
	wants(true, "with something sent to somebody else")
	come(gatherAfter)
	g.sent(7)
	come(gatherAfter - 1)
	wants(false, "since an answer was sent")
}

// What comes and what is sent is counted where it comes and where it is sent.
func TestLongPayloadsAreCounted(t *testing.T) {
	w := newPlaceWorld(t, 2)
	g := &w.a.top.bulk
	if g.came == 0 || g.conn != w.to[1].i {
		t.Fatalf("%+v", *g)
	}
	before := g.came
	w.a.top.Write(w.to[0].i, stream(w.to[0].i, 0, 100))
	w.settle()
	if g.came != before {
		t.Errorf("%d long payloads after sending to somebody else, %d before", g.came, before)
	}
	w.a.top.Write(w.to[1].i, stream(w.to[1].i, 0, 100))
	w.settle()
	if g.came != 0 {
		t.Errorf("%d long payloads after an answer", g.came)
	}
	w.end()
}

func TestWhoLetsPacketsGather(t *testing.T) {
	a, b := runBoth(t, SpinDefault)
	ca, _ := connect(t, a, b)
	rests := 0
	rest := func(d time.Duration) bool {
		if d != gatherFor {
			t.Errorf("a rest of %v", d)
		}
		rests++
		return false
	}
	rested := func(spin Spin) bool {
		before := rests
		a.top.Change(func() {
			a.top.rest, a.top.spin = rest, spin
			defer func() { a.top.rest, a.top.spin = nil, SpinDefault }()
			a.top.poked.Store(false)
			a.top.bulk = gathering{conn: ca.i, came: gatherAfter}
			if did := a.top.letGather(); did != (rests > before) {
				t.Errorf("letGather said %v", did)
			}
		})
		return rests > before
	}
	check(t, ca.Options(func(o *tcp.ConnOptions) { o.RcvBuf = gatherRoom }))
	for _, spin := range []Spin{SpinOff, SpinDefault} {
		// Not while b's leader spins: one of a process does on two processors. This failed once.
		wantWithin(t, "no rest in a long run", func() bool { return rested(spin) })
	}
	if rested(SpinOn) {
		t.Error("a rest of who spins until a packet comes")
	}
	check(t, ca.Options(func(o *tcp.ConnOptions) { o.RcvBuf = gatherRoom - 1 }))
	if rested(SpinDefault) {
		t.Error("a rest with a window that the sender waits for")
	}
	check(t, ca.Options(func(o *tcp.ConnOptions) { o.RcvBuf = gatherRoom }))
	a.top.Change(func() {
		if a.top.bulk = (gathering{conn: ca.i, came: gatherAfter}); a.top.letGather() {
			t.Error("a rest without a device")
		}
	})
	wantWithin(t, "no rest that ends at once", func() (did bool) {
		a.top.Change(func() {
			before := rests
			a.top.rest = rest
			a.top.poked.Store(true)
			a.top.bulk = gathering{conn: ca.i, came: gatherAfter}
			if did = a.top.letGather(); rests > before {
				t.Error("slept though somebody wants the leader to look")
			}
			a.top.rest = nil
		})
		return did
	})
}

// A rest, here without an end of its own, ends for whoever wants the leader to look.
func TestARestMissesNobodyOfItsProcess(t *testing.T) {
	rests := 0
	missesNobody(t, func(z *sleepers, s *interleave.Scheduler) {
		doze := z.doze(s, false)
		z.a.top.rest = func(limit time.Duration) bool {
			rests++
			return doze(limit)
		}
		z.a.top.bulk = gathering{came: gatherAfter}
		z.a.top.conns[0].Opt.RcvBuf = gatherRoom
	})
	if rests == 0 {
		t.Error("the leader has never rested")
	}
}
