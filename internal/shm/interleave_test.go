package shm

import (
	"sync/atomic"
	"time"

	"usertcp/internal/interleave"
)

// explore tries all interleavings of what setup makes, with the lock's and the
// bell's steps as steps and a futex that the scheduler knows.
func explore(e *interleave.Explorer, early int, setup func(*interleave.Scheduler, *interleave.Futex) interleave.Run) (interleave.Result, error) {
	var futex *interleave.Futex
	restore := Intercept(
		func(w *atomic.Uint32, v uint32, d time.Duration) { futex.Sleep(w, v, d) },
		func(w *atomic.Uint32) { futex.Wake(w) },
	)
	defer func() { restore(); SetYield(nil) }()
	state := e.State
	if state != nil {
		e.State = func() any { return [3]any{state(), futex.Sleeping(), futex.Early} }
	}
	return e.Explore(func(s *interleave.Scheduler) interleave.Run {
		SetYield(s.Yield)
		futex = interleave.NewFutex(s)
		futex.Early = early
		return setup(s, futex)
	})
}
