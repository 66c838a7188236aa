package interleave

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"strings"
)

// Scheduler runs the tasks of one run, one at a time, each as a coroutine. Its
// methods are called by the tasks; outside of them Yield does nothing.
type Scheduler struct {
	explorer *Explorer
	tasks    []*task
	current  *task
	choices  int
	preempts int
	trace    []string
	failure  error
	stopping bool
}

type task struct {
	Task
	next    func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
	ready   func() bool // nil: can go on
	done    bool
	history uint64 // of the states that it has seen
}

func (t *task) enabled() bool { return !t.done && (t.ready == nil || t.ready()) }

// errStopped unwinds a task whose run has ended before it.
var errStopped = errors.New("run has ended")

// ErrDeadlock is the failure of a run in which all tasks wait.
var ErrDeadlock = errors.New("nobody can go on")

var seed = maphash.MakeSeed()

// Yield ends a step: another task may come first.
func (s *Scheduler) Yield() { s.Wait(nil) }

// Wait ends a step; the task goes on only when ready reports true.
func (s *Scheduler) Wait(ready func() bool) {
	t := s.current
	if t == nil || s.stopping {
		return
	}
	t.ready = ready
	if !t.yield(struct{}{}) {
		panic(errStopped)
	}
	t.ready = nil
}

// Choose returns one of 0 … n-1; all are tried.
func (s *Scheduler) Choose(n int) int {
	if s.current == nil || s.stopping {
		return 0
	}
	k := s.choose(n)
	s.trace = append(s.trace, fmt.Sprintf("%s:choice%d", s.current.Name, k))
	s.current.history = maphash.Comparable(seed, [2]uint64{s.current.history, uint64(k)})
	return k
}

// Forget says that what the task does from here on depends on key and on the
// state alone, not on what it has seen: runs that meet here are tried once.
func (s *Scheduler) Forget(key int) {
	if s.current != nil {
		s.current.history = maphash.Comparable(seed, key)
	}
}

func (s *Scheduler) choose(n int) int {
	s.choices++
	return s.explorer.choose(s.choices-1, n)
}

// Failf ends the run: what was to be shown is not so.
func (s *Scheduler) Failf(format string, args ...any) {
	if s.failure == nil {
		s.failure = fmt.Errorf(format, args...)
	}
}

// run runs all tasks to their end; cut reports that the run came into a state
// from which everything has been tried.
func (s *Scheduler) run(r Run) (cut bool, err error) {
	for _, t := range r.Tasks {
		s.start(t)
	}
	defer s.end()
	var last *task
	for s.failure == nil {
		if s.choices >= len(s.explorer.path) && s.known(last) {
			return true, nil
		}
		t := s.pick(last)
		if t == nil {
			break
		}
		s.step(t)
		last = t
	}
	switch {
	case s.failure != nil:
		return false, s.failure
	case !s.finished():
		return false, fmt.Errorf("%w: %s", ErrDeadlock, s.waiting())
	case r.Check != nil:
		return false, r.Check()
	}
	return false, nil
}

func (s *Scheduler) start(given Task) {
	t := &task{Task: given}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if p := recover(); p != nil && p != errStopped && !s.stopping {
				s.Failf("task %s: panic: %v", t.Name, p)
			}
		}()
		t.yield = yield
		t.Do()
	})
	s.tasks = append(s.tasks, t)
}

// end lets go of the tasks that have not come to their end.
func (s *Scheduler) end() {
	s.stopping = true
	for _, t := range s.tasks {
		t.stop()
	}
}

func (s *Scheduler) step(t *task) {
	if f := s.explorer.State; f != nil {
		if t.Sees != nil {
			f = t.Sees
		}
		t.history = maphash.Comparable(seed, [2]any{t.history, f()})
	}
	s.trace = append(s.trace, t.Name)
	s.current = t
	_, more := t.next()
	s.current = nil
	t.done = !more
}

// pick chooses who has the next step, or returns nil if nobody can. Option 0 is
// the one who had the last.
func (s *Scheduler) pick(last *task) *task {
	var options [8]*task
	n := 0
	if last != nil && last.enabled() {
		options[0], n = last, 1
	}
	for _, t := range s.tasks {
		if t != last && t.enabled() {
			options[n] = t
			n++
		}
	}
	if n == 0 {
		return nil
	}
	goesOn := options[0] == last && last != nil
	bound := s.explorer.Preemptions
	if n == 1 || goesOn && bound >= 0 && s.preempts >= bound {
		return options[0]
	}
	k := s.choose(n)
	if goesOn && k > 0 {
		s.preempts++
	}
	return options[k]
}

// known reports whether this state was met before, and notes it.
func (s *Scheduler) known(last *task) bool {
	f := s.explorer.State
	if f == nil {
		return false
	}
	var key strings.Builder
	fmt.Fprintf(&key, "%x", maphash.Comparable(seed, f()))
	if s.explorer.Preemptions >= 0 {
		// What may still follow depends on who can go on for nothing, too.
		name := ""
		if last != nil {
			name = last.Name
		}
		fmt.Fprintf(&key, "/%d/%s", s.preempts, name)
	}
	for _, t := range s.tasks {
		fmt.Fprintf(&key, " %x %v", t.history, t.done)
	}
	was := s.explorer.seen[key.String()]
	s.explorer.seen[key.String()] = true
	return was
}

func (s *Scheduler) finished() bool {
	for _, t := range s.tasks {
		if !t.done {
			return false
		}
	}
	return true
}

func (s *Scheduler) waiting() string {
	var names []string
	for _, t := range s.tasks {
		if !t.done {
			names = append(names, t.Name)
		}
	}
	return strings.Join(names, ", ") + " wait"
}
