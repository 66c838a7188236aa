package half

import (
	"errors"
	"testing"
	"time"

	"usertcp/internal/interleave"
	"usertcp/internal/tcp"
)

// doze takes the place of Config.Doze, without a bound: what is missed is missed for
// ever.
func (z *sleepers) doze(s *interleave.Scheduler, looks bool) func(time.Duration) bool {
	p := &poller{s: s, door: z.a.doors[0]}
	return func(time.Duration) bool {
		s.Yield()
		if looks && z.a.topDrv.Pending() {
			return true
		}
		s.Wait(p.rung)
		p.door.Clear()
		return true
	}
}

func (z *sleepers) exploreNaps(preemptions int, looks bool) (interleave.Result, error) {
	t := z.a.top
	defer func() { t.doze = nil }()
	return z.explore(preemptions, func(s *interleave.Scheduler) []interleave.Task {
		t.doze, t.brisk = z.doze(s, looks), true
		return []interleave.Task{z.peer(2), {Name: "leader", Do: func() {
			t.enter()
			done := z.received(2)
			for !done() {
				t.poked.Store(false)
				t.bell.Awake()
				for t.step() && !done() {
				}
				if !done() && !t.nap() {
					panic("BUG: no nap")
				}
			}
			t.leave()
		}}}
	})
}

func TestANapMissesNoPacket(t *testing.T) {
	z := newSleepers(t)
	r, err := z.exploreNaps(4, true)
	t.Log(r)
	if err != nil {
		t.Error(err)
	}
}

func TestANapWithoutALastLookIsFound(t *testing.T) {
	z := newSleepers(t)
	if r, err := z.exploreNaps(4, false); !errors.Is(err, interleave.ErrDeadlock) {
		t.Errorf("%v, %v; want a wake-up that is lost", r, err)
	}
	z.a.dead = true
}

func TestANapMissesNobodyOfItsProcess(t *testing.T) {
	missesNobody(t, func(z *sleepers, s *interleave.Scheduler) {
		z.a.top.doze, z.a.top.brisk = z.doze(s, true), true
	})
}

// missesNobody wants a leader, who sleeps as prepare has it, to look whenever somebody of
// its process wants it to.
func missesNobody(t *testing.T, prepare func(*sleepers, *interleave.Scheduler)) {
	t.Helper()
	z := newSleepers(t)
	r, err := z.explore(-1, func(s *interleave.Scheduler) []interleave.Task {
		prepare(z, s)
		return []interleave.Task{
			z.leader(func() bool { return z.noted }),
			{Name: "closer", Do: func() {
				s.Yield()
				z.noted = true
				z.a.top.poke()
			}},
		}
	})
	t.Log(r)
	if err != nil {
		t.Error(err)
	}
}

func TestWhoNaps(t *testing.T) {
	a, _ := newHosts(t, SpinOff)
	var naps int
	a.top.doze = func(d time.Duration) bool {
		if d != dozeMax {
			t.Errorf("a nap of %v", d)
		}
		naps++
		return true
	}
	nap := func() (napped bool) {
		before := naps
		a.top.Change(func() { a.top.nap() })
		return naps > before
	}
	if !nap() {
		t.Error("a leader alone does not nap")
	}
	a.top.adapt(dozeWorth)
	if nap() {
		t.Error("a nap though the wait before was long")
	}
	a.top.adapt(dozeWorth / 2)
	if !nap() {
		t.Error("no nap though the wait before was short")
	}
	var w waiter
	a.top.Change(func() { a.top.followers.add(&w) })
	if nap() {
		t.Error("a nap with somebody behind")
	}
	a.top.Change(func() { a.top.followers.remove(&w) })
	a.top.poked.Store(true)
	if nap() {
		t.Error("a nap though somebody wants the leader to look")
	}
}

// The leader who has found what it waited for need not be woken.
func TestALeaderDoesNotWakeItself(t *testing.T) {
	a, _ := newHosts(t, SpinOff)
	var w waiter
	a.top.Change(func() {
		a.top.leading, a.top.stepping, a.top.leader = true, true, &w
		a.top.signal(&w)
		if a.top.poked.Load() {
			t.Error("the leader wakes itself")
		}
		a.top.stepping = false
		a.top.signal(&w)
		if !a.top.poked.Load() {
			t.Error("somebody else's news does not reach the leader")
		}
		a.top.leading, a.top.leader = false, nil
	})
}

// A whole exchange, with the lead taken for each octet, rings no doorbell of its own.
func TestATransactionRingsNobodyOfItsOwn(t *testing.T) {
	a, b := runBoth(t, SpinOn)
	ca, cb := connect(t, a, b)
	go echo(cb)
	const rounds = 100
	pokes := 0
	for range rounds {
		_, err := ca.Write([]byte("x"))
		check(t, err)
		wantRead(t, ca, []byte("x"))
		if a.top.poked.Load() {
			pokes++
		}
	}
	if pokes > rounds/4 { // the alarm may find something, rarely
		t.Errorf("%d of %d reads were poked", pokes, rounds)
	}
}

// Calls that come soon after a look do without one where it is a system call; those
// that would find nothing look all the same. This failed once in a while when only a
// leader mapped circuits: whoever only polls never leads, and if the circuit came up
// after the handshake did not see what came over it.
func TestCostlyLooksAreSpared(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	a.top.Change(a.top.fetchCircuits) // a watchdog would, which there is none of below
	a.top.Change(func() {
		fetch := a.top.fetch
		a.top.fetch = nil // which would give the lock to others
		defer func() { a.top.fetch = fetch }()
		a.top.costly = true
		drives := a.top.ctl.drives.Load()
		a.top.stepped = a.top.clock() + tcp.Time(time.Second) // however late this goroutine is
		a.top.drive()
		if a.top.ctl.drives.Load() != drives {
			t.Error("a look behind a look")
		}
		a.top.stepped = a.top.clock() - 2*tcp.Time(lookFresh)
		a.top.drive()
		if a.top.ctl.drives.Load() != drives+1 {
			t.Error("no look long after the last")
		}
	})
	// Nobody else looks.
	a.halt()
	a.top.Change(func() { a.top.watching = true })
	a.top.watch.Stop()
	_, err := cb.Write([]byte("x"))
	check(t, err)
	ca.rd.nonblock = true
	wantWithin(t, "what is there was not looked for", func() bool {
		a.top.Change(func() { a.top.stepped = a.top.clock() + tcp.Time(time.Second) })
		n, err := ca.Read(make([]byte, 1))
		return n == 1 && err == nil
	})
}
