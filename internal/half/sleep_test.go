package half

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/interleave"
	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// A leader that parks must miss nothing: no packet of a peer, nothing that the
// bottom half has left for it, nobody of its own process. These tests run the
// real code of leader, ring and bottom half, over real segments, in all
// interleavings of their steps in shared memory (up to a number of preemptions
// where it is said), with a futex and a poller that the scheduler knows.

// poller takes the place of Go's network poller for one doorbell: a ring that
// came before Read was called is forgotten.
type poller struct {
	syscall.RawConn
	s    *interleave.Scheduler
	door shm.Doorbell
}

func (p *poller) Read(f func(uintptr) bool) error {
	p.s.Yield()
	p.door.Clear()
	for !f(0) {
		p.s.Wait(p.rung)
		p.door.Clear()
	}
	return nil
}

func (p *poller) rung() bool { return shm.Ready(p.door.Fd()) }

// sleepers is what the tests of sleeping have: a host whose leader sleeps, and a
// peer.
type sleepers struct {
	a, b  *host
	packs uint64 // that the leader has taken
	noted bool
}

func newSleepers(t *testing.T) *sleepers {
	z := &sleepers{}
	z.a, z.b = newHosts(t, SpinOff)
	check(t, z.a.fetch())
	z.a.topDrv.Changed()
	for _, h := range []*host{z.a, z.b} {
		// No watchdog: it would be a task that the scheduler does not know.
		h.top.Change(func() { h.top.watching = true })
		h.top.watch.Stop()
		h.top.alarm.Stop()
		h.bottom.bound = time.Hour // how long a thread had no CPU is no matter of the interleaving
	}
	return z
}

// explore runs tasks in all interleavings. Every run leaves the segment as it
// was, but for counters.
func (z *sleepers) explore(preemptions int, tasks func(s *interleave.Scheduler) []interleave.Task) (interleave.Result, error) {
	var futex *interleave.Futex
	var word *atomic.Uint32 // both halves have it mapped, at different addresses
	restore := shm.Intercept(
		func(w *atomic.Uint32, v uint32, d time.Duration) { word = w; futex.Sleep(w, v, -1) },
		func(w *atomic.Uint32) { futex.Wake(word) },
	)
	z.a.top.lock.(interface{ SetSpin(int) }).SetSpin(0)
	z.a.bottom.lock.(interface{ SetSpin(int) }).SetSpin(0)
	before := z.a.top.doorbell
	defer func() {
		restore()
		shm.SetYield(nil)
		z.a.top.doorbell = before
	}()
	e := &interleave.Explorer{Preemptions: preemptions}
	return e.Explore(func(s *interleave.Scheduler) interleave.Run {
		shm.SetYield(s.Yield)
		futex = interleave.NewFutex(s)
		z.a.doors[0].Clear()
		z.a.doors[1].Clear()
		z.a.top.doorbell = &poller{s: s, door: z.a.doors[0]}
		z.packs, z.noted = z.a.top.ctl.Counters.PacketsIn, false
		return interleave.Run{Tasks: tasks(s)}
	})
}

// leader waits until done, as a goroutine in Read does.
func (z *sleepers) leader(done func() bool) interleave.Task {
	t := z.a.top
	return interleave.Task{Name: "leader", Do: func() {
		t.enter()
		t.lead(&waiter{}, done)
		t.leave()
	}}
}

func (z *sleepers) received(n uint64) func() bool {
	return func() bool { return z.a.top.ctl.Counters.PacketsIn-z.packs >= n }
}

// peer sends n packets, each flushed by itself: that they are not TCP doesn't
// matter to whoever has to wake up for them.
func (z *sleepers) peer(n int) interleave.Task {
	return interleave.Task{Name: "peer", Do: func() {
		for range n {
			p := pool.Packet{Header: 40}
			z.b.drv.Send(&p)
			var r shm.Rings
			z.b.drv.Flush(&r)
			r.Ring()
		}
	}}
}

func TestLeaderMissesNoPacket(t *testing.T) {
	for _, c := range []struct{ packets, preemptions int }{{1, -1}, {2, 5}, {3, 4}} {
		z := newSleepers(t)
		r, err := z.explore(c.preemptions, func(*interleave.Scheduler) []interleave.Task {
			return []interleave.Task{z.leader(z.received(uint64(c.packets))), z.peer(c.packets)}
		})
		t.Logf("%d packets, %d preemptions: %v", c.packets, c.preemptions, r)
		if err != nil {
			t.Error(err)
		}
	}
}

// note is what the bottom half does when it has something for the program.
func (z *sleepers) note(i uint32) interleave.Task {
	return interleave.Task{Name: "bottom", Do: func() {
		z.a.bottom.Change(func() {
			z.a.bottom.enlist(listTop, i)
			z.noted = true
		})
	}}
}

func TestLeaderMissesNoNoteOfTheBottomHalf(t *testing.T) {
	z := newSleepers(t)
	var i uint32
	z.a.bottom.Change(func() { i = z.a.bottom.open() })
	r, err := z.explore(5, func(*interleave.Scheduler) []interleave.Task {
		return []interleave.Task{
			z.leader(func() bool { return z.noted && !z.a.top.left(listTop) }),
			z.note(i),
		}
	})
	t.Log("5 preemptions:", r)
	if err != nil {
		t.Error(err)
	}
}

func TestLeaderMissesNobodyOfItsProcess(t *testing.T) {
	z := newSleepers(t)
	r, err := z.explore(-1, func(s *interleave.Scheduler) []interleave.Task {
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

func TestLeaderMissesNothingOfThreeAtOnce(t *testing.T) {
	z := newSleepers(t)
	var i uint32
	z.a.bottom.Change(func() { i = z.a.bottom.open() })
	r, err := z.explore(3, func(*interleave.Scheduler) []interleave.Task {
		took := z.received(1)
		return []interleave.Task{
			z.leader(func() bool { return took() && z.noted && !z.a.top.left(listTop) }),
			z.peer(1),
			z.note(i),
		}
	})
	t.Log("3 preemptions:", r)
	if err != nil {
		t.Error(err)
	}
}

// The same tests find what is wrong with a leader that does not look a last time,
// and with one that looks before it says that it sleeps.
func TestLeaderThatParksWronglyIsFound(t *testing.T) {
	for name, park := range map[string]func(t *Top){
		"does not look a last time": func(t *Top) {
			t.bell.Sleep(shm.TopHalf)
			t.leave()
			t.parked = true
			t.doorbell.Read(func(uintptr) bool {
				first := t.parked
				t.parked = false
				return !first
			})
			t.enter()
		},
		// It was like this once: the ring for a packet that it had taken already came
		// before Read and was forgotten, and the peer did not ring again for the next.
		"does not ask to be rung again": func(t *Top) {
			t.bell.Sleep(shm.TopHalf)
			t.leave()
			t.parked = false
			t.doorbell.Read(func(uintptr) bool {
				first := !t.parked
				t.parked = true
				return !first || t.drv.Pending()
			})
			t.enter()
		},
		"looks before it says that it sleeps": func(t *Top) {
			t.leave()
			pending := t.drv.Pending()
			t.enter()
			t.bell.Sleep(shm.TopHalf)
			t.leave()
			first := !pending
			t.doorbell.Read(func(uintptr) bool {
				f := first
				first = false
				return !f
			})
			t.enter()
		},
	} {
		z := newSleepers(t)
		took := z.received(2)
		r, err := z.explore(4, func(*interleave.Scheduler) []interleave.Task {
			top := z.a.top
			return []interleave.Task{z.peer(2), {Name: "leader", Do: func() {
				top.enter()
				for !took() {
					top.bell.Awake()
					if top.step(); !took() {
						park(top)
					}
				}
				top.leave()
			}}}
		})
		if !errors.Is(err, interleave.ErrDeadlock) {
			t.Errorf("a leader that %s: %v, %v; want a wake-up that is lost", name, r, err)
		}
		z.a.dead = true // whatever was stopped in the middle
	}
}
