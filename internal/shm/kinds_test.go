package shm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/interleave"
)

// paperLocks are the locks of the paper.
var paperLocks = []LockKind{LockSemaphore, LockPeterson, LockEdwards}

// model stands in for the kernel in a run: pauses and a semaphore.
type model struct {
	s     *interleave.Scheduler
	count int
}

// install makes the locks use m, until the test ends.
func (m *model) install(t *testing.T) {
	p, take, give, wait := pause, semTake, semGive, semWait
	t.Cleanup(func() { pause, semTake, semGive, semWait = p, take, give, wait })
	quietly := func(ready func() bool) func() bool {
		return func() bool { // looking is not a step
			SetYield(nil)
			defer SetYield(m.s.Yield)
			return ready()
		}
	}
	pause = func(ready func() bool) { m.s.Wait(quietly(ready)) }
	semTake = func(Semaphore) bool {
		m.s.Yield()
		if m.count == 0 {
			return false
		}
		m.count--
		return true
	}
	semGive = func(Semaphore) { m.s.Yield(); m.count++ }
	semWait = func(_ Semaphore, d time.Duration) { m.s.Wait(func() bool { return m.count > 0 || d >= 0 }) }
}

// shared is all that the parties share.
func (m *model) shared(w *LockWord, c *critical) any {
	return [9]uint32{w.holder.Load(), w.want[0].Load(), w.want[1].Load(), w.turn.Load(),
		w.disable.Load(), w.inside.Load(), w.blocking.Load(), uint32(m.count), uint32(c.inside)}
}

func newKind(k LockKind, me Party, w *LockWord) Locker {
	InitialiseLock(w, k, 0)
	l, err := NewLock(w, me, Semaphore{1})
	if err != nil {
		panic(err)
	}
	return l
}

// In every interleaving only one has the lock, both get it as often as they want,
// and it is free at the end; also if a party gives up at times.
func TestPapersLocksInAllInterleavings(t *testing.T) {
	for _, tc := range []struct {
		kind            LockKind
		rounds, preempt int // preempt < 0: all interleavings
	}{
		{LockSemaphore, 2, -1},
		{LockPeterson, 2, -1},
		{LockEdwards, 1, -1},
		{LockEdwards, 2, 4},
	} {
		for _, givesUp := range []Party{Nobody, TopHalf, BottomHalf} {
			t.Run(fmt.Sprintf("%v, %d rounds, %v gives up", tc.kind, tc.rounds, givesUp), func(t *testing.T) {
				m := &model{}
				m.install(t)
				var w *LockWord
				var c *critical
				failed := 0
				e := &interleave.Explorer{Preemptions: tc.preempt, State: func() any { return m.shared(w, c) }}
				r, err := explore(e, 1, func(s *interleave.Scheduler, _ *interleave.Futex) interleave.Run {
					m.s, m.count = s, 1
					w, c = &LockWord{}, &critical{}
					party := func(me Party) func() {
						l := newKind(tc.kind, me, w)
						return func() {
							for n := range tc.rounds {
								s.Forget(n)
								d := time.Duration(-1)
								if me == givesUp {
									d = 0
								}
								if !l.Lock(d) {
									failed++
									continue
								}
								c.visit(s, me)
								l.Unlock()
							}
						}
					}
					return interleave.Run{
						Tasks: []interleave.Task{{Name: "t", Do: party(TopHalf)}, {Name: "b", Do: party(BottomHalf)}},
						Check: func() error { return idle(w, m) },
					}
				})
				t.Log(r)
				if err != nil {
					t.Error(err)
				}
				if (failed > 0) != (givesUp != Nobody) {
					t.Errorf("gave up %d times", failed)
				}
			})
		}
	}
}

// idle reports what is not as it is in a lock that nobody has.
func idle(w *LockWord, m *model) error {
	if w.holder.Load()|w.want[0].Load()|w.want[1].Load()|w.disable.Load()|w.inside.Load()|w.blocking.Load() != 0 || m.count != 1 {
		return fmt.Errorf("at the end: %v, semaphore %d", w, m.count)
	}
	return nil
}

// One party dies at any step. The survivor gets the lock all the same, another
// goroutine of its process that was waiting before comes after it, and then the lock
// works as ever.
func TestPapersLocksOutliveEitherParty(t *testing.T) {
	for _, kind := range paperLocks {
		for _, dies := range []Party{TopHalf, BottomHalf} {
			t.Run(fmt.Sprintf("%v, %v dies", kind, dies), func(t *testing.T) {
				m := &model{}
				m.install(t)
				seized, free := 0, 0
				r, err := explore(&interleave.Explorer{Preemptions: 3}, 0, func(s *interleave.Scheduler, _ *interleave.Futex) interleave.Run {
					m.s, m.count = s, 1
					w, c := &LockWord{}, &critical{}
					return deathRun(s, kind, dies, w, c, &seized, &free)
				})
				t.Log(r)
				if err != nil {
					t.Error(err)
				}
				if seized == 0 {
					t.Errorf("seized %d times, got it %d times", seized, free)
				}
			})
		}
	}
}

// deathRun is a run in which one party dies wherever it is.
func deathRun(s *interleave.Scheduler, kind LockKind, dies Party, w *LockWord, c *critical, seized, free *int) interleave.Run {
	victim, survivor := newKind(kind, dies, w), newKind(kind, dies.other(), w)
	dead := false
	return interleave.Run{Tasks: []interleave.Task{
		{Name: "victim", Do: func() {
			defer func() {
				dead = true
				if p := recover(); p != nil && p != errKilled {
					panic(p)
				}
			}()
			SetYield(func() {
				if s.Choose(2) == 1 {
					panic(errKilled)
				}
				s.Yield()
			})
			victim.Lock(-1)
			s.Yield()
			victim.Unlock()
		}},
		{Name: "survivor", Do: func() {
			s.Wait(func() bool { return dead })
			SetYield(s.Yield)
			for range 2 {
				if survivor.Lock(0) {
					*free++
				} else if survivor.Seize() {
					*seized++
				} else {
					s.Failf("neither free nor to be seized: %v", w)
					return
				}
				c.visit(s, dies.other())
				survivor.Unlock()
			}
		}},
	}}
}

var errKilled = fmt.Errorf("killed")

// A lock that forgets the turn is found out: both wait for ever, or both are inside.
func TestPetersonWithoutTurnsDeadlocks(t *testing.T) {
	m := &model{}
	m.install(t)
	_, err := explore(&interleave.Explorer{Preemptions: -1}, 0, func(s *interleave.Scheduler, _ *interleave.Futex) interleave.Run {
		m.s = s
		var want [2]atomic.Uint32
		party := func(me int) func() {
			return func() {
				s.Yield()
				want[me].Store(1)
				s.Yield()
				if want[1-me].Load() != 0 {
					s.Wait(func() bool { return want[1-me].Load() == 0 })
				}
				want[me].Store(0)
			}
		}
		return interleave.Run{Tasks: []interleave.Task{{Name: "t", Do: party(0)}, {Name: "b", Do: party(1)}}}
	})
	if err == nil {
		t.Error("nothing was found")
	}
}

// The paper's own Edwards, in which the child does not say that it is inside, is
// right where only the child interrupts, and wrong where the application does.
func TestEdwardsNeedsAChildThatIsNotInterrupted(t *testing.T) {
	run := func(interrupted bool) error {
		_, err := explore(&interleave.Explorer{Preemptions: -1}, 0, func(s *interleave.Scheduler, f *interleave.Futex) interleave.Run {
			w, c := &LockWord{}, &critical{}
			inChild := false
			top := func() {
				step := func() { s.Wait(func() bool { return interrupted || !inChild }) }
				step()
				w.disable.Store(1)
				step()
				c.visit(s, TopHalf)
				step()
				w.disable.Store(0)
				if w.blocking.Load() != 0 {
					w.blocking.Store(0)
					f.Wake(&w.blocking)
				}
			}
			child := func() {
				s.Yield()
				inChild = true
				for w.disable.Load() != 0 {
					w.blocking.Store(1)
					inChild = false
					f.Sleep(&w.blocking, 1, -1)
					inChild = true
				}
				s.Yield()
				c.visit(s, BottomHalf)
				inChild = false
			}
			return interleave.Run{Tasks: []interleave.Task{{Name: "t", Do: top}, {Name: "b", Do: child}}}
		})
		return err
	}
	if err := run(false); err != nil {
		t.Errorf("under the paper's scheduling: %v", err)
	}
	if err := run(true); err == nil || !strings.Contains(err.Error(), "is inside") {
		t.Errorf("under any scheduling: %v, want both inside", err)
	}
}

// Two processes add to a number that they share, under each lock; nothing is lost.
func TestLocksBetweenTwoProcesses(t *testing.T) {
	if os.Getenv("USERTCP_LOCK_STRESS") != "" {
		stress(t, BottomHalf, 3)
		return
	}
	for _, kind := range append([]LockKind{LockAdaptive}, paperLocks...) {
		t.Run(kind.String(), func(t *testing.T) {
			seg, sem := stressSegment(t, kind)
			cmd := exec.Command(os.Args[0], "-test.run=^TestLocksBetweenTwoProcesses$")
			cmd.Env = append(os.Environ(), "USERTCP_LOCK_STRESS=1")
			cmd.ExtraFiles = []*os.File{dupFile(t, seg.Fd()), dupFile(t, sem.Fd())}
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stress(t, TopHalf, seg.Fd(), sem.Fd())
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			n, _ := One[[2]uint64](seg, 2)
			if n[0] != 2*stressRounds || n[0] != n[1] {
				t.Errorf("%d and %d, want %d", n[0], n[1], 2*stressRounds)
			}
		})
	}
}

const stressRounds = 20_000

func stressSegment(t *testing.T, kind LockKind) (*Segment, Semaphore) {
	t.Helper()
	seg, err := Create("usertcp-test", 1, Spec{ID: 1, Count: 1, Elem: 64}, Spec{ID: 2, Count: 1, Elem: 16})
	if err != nil {
		t.Fatal(err)
	}
	w, err := One[LockWord](seg, 1)
	if err != nil {
		t.Fatal(err)
	}
	InitialiseLock(w, kind, 0)
	sem, err := NewSemaphore()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seg.Close(); sem.Close() })
	return seg, sem
}

func dupFile(t *testing.T, fd int) *os.File {
	t.Helper()
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(d), "inherited")
	t.Cleanup(func() { f.Close() })
	return f
}

// stress is one process: descriptors are the segment's and the semaphore's.
func stress(t *testing.T, me Party, fds ...int) {
	if len(fds) == 1 {
		fds = append(fds, fds[0]+1)
	}
	seg, err := Attach(dupFD(t, fds[0]), 1, true)
	if err != nil {
		t.Fatal(err)
	}
	w, err := One[LockWord](seg, 1)
	if err != nil {
		t.Fatal(err)
	}
	n, err := One[[2]uint64](seg, 2)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLock(w, me, Semaphore{fds[1] + 1})
	if err != nil {
		t.Fatal(err)
	}
	for range stressRounds {
		if !l.Lock(20 * time.Second) {
			t.Fatalf("%v did not get the %v in 20 s", me, w.Kind())
		}
		n[0]++
		n[1]++
		l.Unlock()
	}
}

func dupFD(t *testing.T, fd int) int {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLockNames(t *testing.T) {
	for _, name := range LockNames() {
		k, err := ParseLockKind(name)
		if err != nil || k.String() != name {
			t.Errorf("%q: %v, %v", name, k, err)
		}
	}
	if _, err := ParseLockKind("mutex"); err == nil || !strings.Contains(err.Error(), "peterson") {
		t.Errorf("%v does not say what there is", err)
	}
	w := &LockWord{}
	InitialiseLock(w, 77, 0)
	if _, err := NewLock(w, TopHalf, Semaphore{}); err == nil {
		t.Error("a lock that is none")
	}
	InitialiseLock(w, LockSemaphore, 0)
	if _, err := NewLock(w, TopHalf, Semaphore{}); err == nil {
		t.Error("a semaphore that is none")
	}
}
