package interleave

import (
	"errors"
	"fmt"
	"strings"
)

// Explorer tries all interleavings of some tasks: it runs them again and again,
// each time with the last choice that has an alternative changed (depth first).
type Explorer struct {
	// Preemptions bounds how often a task is interrupted that could go on; a
	// negative bound means that there is none, and that all interleavings are tried.
	Preemptions int

	// State, if set, returns all that the tasks share, as it is now. Tasks are
	// deterministic: if each has seen the same states so far, and the state is the
	// same, all that follows is the same, and is tried only once.
	State func() any

	// Limit bounds the number of runs, 0 for a million. It is a failure to reach it.
	Limit int

	path []choice
	seen map[string]bool
}

// choice is one decision of a run: the option taken of those there were.
type choice struct{ taken, of int }

// Run is one run of the tasks: what Explore's caller sets up each time.
type Run struct {
	Tasks []Task
	// Check, if set, is called when all tasks have come to their end.
	Check func() error
}

// Task is one of the parties.
type Task struct {
	Name string
	Do   func()
	// Sees, if set, returns the part of the state that the task can see.
	Sees func() any
}

// Result says what was tried.
type Result struct {
	Runs  int // interleavings tried to the end
	Cut   int // interleavings that ended in a state known already
	Steps int // in all of them
}

func (r Result) String() string {
	return fmt.Sprintf("%d interleavings, %d more cut short where they met, %d steps", r.Runs, r.Cut, r.Steps)
}

const defaultLimit = 1_000_000

// ErrLimit is why Explore gave up.
var ErrLimit = errors.New("too many interleavings")

// Explore tries all interleavings of the tasks that setup makes for each run. It
// returns the first failure, with the steps that lead to it.
func (e *Explorer) Explore(setup func(s *Scheduler) Run) (Result, error) {
	e.path, e.seen = nil, map[string]bool{}
	limit := e.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	var r Result
	for {
		s := &Scheduler{explorer: e}
		cut, err := s.run(setup(s))
		r.Steps += len(s.trace)
		if err != nil {
			return r, fmt.Errorf("%w\n  in interleaving %d: %s", err, r.Runs+r.Cut+1, strings.Join(s.trace, " "))
		}
		if cut {
			r.Cut++
		} else {
			r.Runs++
		}
		if !e.advance() {
			return r, nil
		}
		if r.Runs+r.Cut >= limit {
			return r, fmt.Errorf("%w: %v", ErrLimit, r)
		}
	}
}

// advance changes the last choice that has an alternative left, and forgets those
// behind it; it reports false if there is none.
func (e *Explorer) advance() bool {
	for len(e.path) > 0 {
		last := &e.path[len(e.path)-1]
		if last.taken++; last.taken < last.of {
			return true
		}
		e.path = e.path[:len(e.path)-1]
	}
	return false
}

// choose returns the decision number at: the one of this path if it goes so far,
// the first option otherwise.
func (e *Explorer) choose(at, of int) int {
	if at < len(e.path) {
		if e.path[at].of != of {
			panic(fmt.Sprintf("BUG: choice %d has %d options, had %d: the tasks are not deterministic", at, of, e.path[at].of))
		}
		return e.path[at].taken
	}
	e.path = append(e.path, choice{0, of})
	return 0
}
