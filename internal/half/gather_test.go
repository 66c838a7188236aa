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
	z := newSleepers(t)
	top := z.a.top
	r, err := z.explore(-1, func(s *interleave.Scheduler) []interleave.Task {
		top.rest = z.doze(s, false)
		return []interleave.Task{
			{Name: "leader", Do: func() {
				top.enter()
				for !z.noted {
					top.poked.Store(false)
					if z.noted {
						break
					}
					top.sleep(top.rest, gatherFor)
				}
				top.leave()
			}},
			{Name: "closer", Do: func() {
				s.Yield()
				z.noted = true
				top.poke()
			}},
		}
	})
	t.Log(r)
	if err != nil {
		t.Error(err)
	}
}

// A call that writes much looks seldom while all of it leaves; one that writes little, or
// has to wait for the peer, as soon as any other; and what has to wait is looked for.
func TestWritersLookSeldom(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, _ := connect(t, a, b)
	top := a.top
	top.Change(func() {
		if d := top.lookFor(ca.i, holdSmall); d != lookSeldom {
			t.Errorf("a long write looks %v after the last look", d)
		}
		if d := top.lookFor(ca.i, holdSmall-1); d != lookFresh {
			t.Errorf("a short one looks %v after the last look", d)
		}
		fetch := top.fetch
		top.fetch, top.costly = nil, true
		defer func() { top.fetch, top.costly = fetch, false }()
		for _, c := range []struct {
			ago, fresh time.Duration
			looks      bool
		}{{time.Minute, time.Hour, false}, {2 * time.Hour, time.Hour, true}} {
			drives := top.ctl.drives.Load()
			top.stepped = top.clock() - tcp.Time(c.ago)
			top.driveAfter(c.fresh)
			if looked := top.ctl.drives.Load() > drives; looked != c.looks || top.skipped == looked {
				t.Errorf("a call that looks after %v, %v after the last one: looked %v, spared %v", c.fresh, c.ago, looked, top.skipped)
			}
		}
	})
	// Nobody reads, so that the window closes.
	ca.wr.nonblock = true
	wantWithin(t, "a window without end", func() bool {
		_, err := ca.Write(make([]byte, 64<<10))
		return err != nil
	})
	top.Change(func() {
		if !top.conns[ca.i].Stuck() {
			t.Error("nothing has to wait though the window is closed")
		}
		if d := top.lookFor(ca.i, holdSmall); d != lookFresh {
			t.Errorf("a long write that has to wait looks %v after the last look", d)
		}
		for _, c := range []struct {
			n       int
			skipped bool
			looks   bool
		}{{holdSmall, true, true}, {holdSmall, false, false}, {holdSmall - 1, true, false}} {
			drives := top.ctl.drives.Load()
			top.skipped = c.skipped
			top.unstick(ca.i, c.n)
			if looked := top.ctl.drives.Load() > drives; looked != c.looks {
				t.Errorf("%d octets written, look spared %v: looked %v", c.n, c.skipped, looked)
			}
		}
		top.skipped = false
	})
}
