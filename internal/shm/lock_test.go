package shm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"usertcp/internal/interleave"
)

// critical is a section that only one party may be in, and that has a middle.
type critical struct {
	inside Party
	count  int
}

func (c *critical) visit(s *interleave.Scheduler, me Party) {
	if c.inside != Nobody {
		s.Failf("%v enters while %v is inside", me, c.inside)
	}
	c.inside = me
	s.Yield()
	if c.inside != me {
		s.Failf("%v finds %v inside", me, c.inside)
	}
	c.inside = Nobody
	c.count++
}

// lockers are two parties who visit a critical section some times each.
func lockers(s *interleave.Scheduler, w *LockWord, c *critical, spin, rounds int, lock func(*Adaptive) bool) interleave.Run {
	party := func(me Party) func() {
		l := &Adaptive{w: w, me: me, spin: spin}
		return func() {
			for n := range rounds {
				s.Forget(n)
				if lock(l) {
					c.visit(s, me)
					l.Unlock()
				}
			}
		}
	}
	return interleave.Run{
		Tasks: []interleave.Task{{Name: "t", Do: party(TopHalf)}, {Name: "b", Do: party(BottomHalf)}},
		Check: func() error {
			if w.word.Load() != 0 {
				return fmt.Errorf("the lock word is %#x at the end", w.word.Load())
			}
			return nil
		},
	}
}

// In every interleaving only one has the lock, both get it as often as they
// want (a lost wake-up would be a deadlock), and it is free at the end. Where
// states are not compared every single interleaving is run.
func TestLockInAllInterleavings(t *testing.T) {
	for _, tc := range []struct {
		name                string
		spin, rounds, early int
		states              bool
	}{
		{"one round, every interleaving", 0, 1, 0, false},
		{"one round, sleeps that end early", 0, 1, 2, false},
		{"two rounds", 0, 2, 0, true},
		{"two rounds, with spinning", 1, 2, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var w *LockWord
			var c *critical
			e := &interleave.Explorer{Preemptions: -1}
			if tc.states {
				e.State = func() any { return [2]int{int(w.word.Load()), int(c.inside)} }
			}
			r, err := explore(e, tc.early, func(s *interleave.Scheduler, _ *interleave.Futex) interleave.Run {
				w, c = &LockWord{}, &critical{}
				run := lockers(s, w, c, tc.spin, tc.rounds, func(l *Adaptive) bool { return l.Lock(-1) })
				check := run.Check
				run.Check = func() error {
					if c.count != 2*tc.rounds {
						return fmt.Errorf("%d visits, want %d", c.count, 2*tc.rounds)
					}
					return check()
				}
				return run
			})
			t.Log(r)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A party that gives up does so without the lock, and leaves one that works: the
// other party gets it in every interleaving.
func TestLockThatGivesUpInAllInterleavings(t *testing.T) {
	var w *LockWord
	var c *critical
	gaveUp, got := false, false
	e := &interleave.Explorer{Preemptions: -1, State: func() any { return [2]int{int(w.word.Load()), int(c.inside)} }}
	r, err := explore(e, 0, func(s *interleave.Scheduler, _ *interleave.Futex) interleave.Run {
		w, c = &LockWord{}, &critical{}
		return lockers(s, w, c, 1, 2, func(l *Adaptive) bool {
			if l.me == TopHalf {
				return l.Lock(-1)
			}
			ok := l.Lock(0)
			gaveUp, got = gaveUp || !ok, got || ok
			return ok
		})
	})
	t.Log(r)
	if err != nil {
		t.Error(err)
	}
	if !gaveUp || !got {
		t.Errorf("gave up: %v, got it: %v; want both, in some interleaving", gaveUp, got)
	}
}

// The holder is killed between two steps, wherever: the survivor either gets the
// lock or finds the dead one holding it, seizes it, and it works again.
func TestSeizeInAllInterleavings(t *testing.T) {
	seized, free := 0, 0
	r, err := explore(&interleave.Explorer{Preemptions: -1}, 0, func(s *interleave.Scheduler, _ *interleave.Futex) interleave.Run {
		w := &LockWord{}
		top, bottom := &Adaptive{w: w, me: TopHalf}, &Adaptive{w: w, me: BottomHalf}
		dead := false
		die := func() bool {
			dead = dead || s.Choose(2) == 1
			return dead
		}
		return interleave.Run{Tasks: []interleave.Task{
			{Name: "t", Do: func() {
				if die() {
					return
				}
				top.Lock(-1)
				if die() {
					return
				}
				s.Yield()
				top.Unlock()
				dead = true
			}},
			{Name: "b", Do: func() {
				for !bottom.Lock(0) {
					s.Wait(func() bool { return dead || w.word.Load()&holderMask == 0 })
					if dead && bottom.Seize() {
						seized++
						break
					}
				}
				free++
				if bottom.Holder() != BottomHalf || bottom.Seize() {
					s.Failf("after the seizure %v has the lock", bottom.Holder())
				}
				bottom.Unlock()
				s.Wait(func() bool { return dead })
				if !bottom.Lock(0) && !bottom.Seize() {
					s.Failf("the lock is of no use any more")
				}
				bottom.Unlock()
			}},
		}}
	})
	t.Log(r)
	if err != nil {
		t.Error(err)
	}
	if seized == 0 || free == seized {
		t.Errorf("seized in %d of %d interleavings, want some and not all", seized, free)
	}
}

// The same test finds what is wrong with a lock whose holder looks for a waiter
// first and gives the lock back then.
func TestLockGivenBackInTwoStepsLosesWakeUps(t *testing.T) {
	r, err := explore(&interleave.Explorer{Preemptions: -1}, 0, func(s *interleave.Scheduler, f *interleave.Futex) interleave.Run {
		w := &LockWord{}
		return interleave.Run{Tasks: []interleave.Task{
			{Name: "t", Do: func() {
				NewAdaptive(w, TopHalf).Lock(-1)
				s.Yield()
				waiter := w.word.Load()&waiterBit != 0
				s.Yield()
				w.word.Store(0)
				if waiter {
					f.Wake(&w.word)
				}
			}},
			{Name: "b", Do: func() { (&Adaptive{w: w, me: BottomHalf}).Lock(-1) }},
		}}
	})
	if !errors.Is(err, interleave.ErrDeadlock) {
		t.Errorf("%v, %v; want a wake-up that is lost", r, err)
	}
}

func TestUnlockOfTheOthersLock(t *testing.T) {
	w := &LockWord{}
	NewAdaptive(w, TopHalf).Lock(-1)
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "held by top half") {
			t.Errorf("panic %q", p)
		}
	}()
	NewAdaptive(w, BottomHalf).Unlock()
}

// The real futex: two goroutines, as two processes would.
func TestLockWithTheKernelsFutex(t *testing.T) {
	const rounds = 20_000
	w := &LockWord{}
	x := 0
	done := make(chan bool, 2)
	for _, me := range []Party{TopHalf, BottomHalf} {
		l := NewAdaptive(w, me)
		l.spin = 3
		go func() {
			for n := range rounds {
				l.Lock(-1)
				x++
				if n%1000 == 0 { // long enough that the other sleeps
					time.Sleep(100 * time.Microsecond)
				}
				l.Unlock()
			}
			done <- true
		}()
	}
	for range 2 {
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("waited 20s for the lock")
		}
	}
	if x != 2*rounds {
		t.Errorf("%d rounds, want %d", x, 2*rounds)
	}
	if w.Contended.Load() == 0 {
		t.Error("nobody ever slept: the test tests nothing")
	}
	l := NewAdaptive(w, TopHalf)
	l.Lock(-1)
	start := time.Now()
	if NewAdaptive(w, BottomHalf).Lock(5*time.Millisecond) || time.Since(start) < 5*time.Millisecond {
		t.Errorf("took a taken lock, or gave up after %v of 5ms", time.Since(start))
	}
}

// A child that dies between giving the lock back and waking who waits for it left
// the application asleep for ever.
func TestALostWakeIsMadeGood(t *testing.T) {
	var w LockWord
	if !NewAdaptive(&w, BottomHalf).Lock(0) {
		t.Fatal("a free lock was not to be had")
	}
	got := make(chan struct{})
	go func() {
		NewAdaptive(&w, TopHalf).Lock(-1)
		close(got)
	}()
	for end := time.Now().Add(time.Minute); w.Contended.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody sleeps on the lock")
		}
	}
	w.word.Store(0) // and no wake-up
	select {
	case <-got:
	case <-time.After(time.Minute):
		t.Fatal("who waits was not woken, and did not look either")
	}
}
