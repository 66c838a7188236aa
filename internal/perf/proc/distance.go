package proc

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A distance is the least of so many tries of so many rounds each.
const (
	distanceTries  = 20
	distanceRounds = 100
)

// distanceTime is how long one may take: it is a millisecond if both CPUs are free.
const distanceTime = 100 * time.Millisecond

// word is in a line of the cache of its own.
type word struct {
	_ [64]byte
	atomic.Uint32
	_ [64]byte
}

// Distance returns how long a word of memory takes from CPU a to CPU b and back. CPUs of a
// virtual machine are threads of its host, which may be two of one core, or far apart, and
// moves them. It is an error if a CPU is not available, or not free for that long.
func Distance(a, b int) (time.Duration, error) {
	if a == b {
		return 0, fmt.Errorf("CPU %d is as far as that from itself", a)
	}
	var ball word
	back, away := make(chan error, 1), make(chan error, 1)
	least := time.Duration(0)
	end := time.Now().Add(distanceTime)
	go func() { back <- On(b, func() error { return ball.returned(end) }) }()
	go func() {
		away <- On(a, func() (err error) {
			least, err = ball.served(end)
			return err
		})
	}()
	err := errors.Join(<-away, <-back)
	return least, err
}

// On runs a function on one CPU. The thread may run where it could before then: it is not
// left to end with its goroutine, since the processes that it has started may have asked to
// be killed when it does (Pdeathsig).
func On(cpu int, f func() error) error {
	runtime.LockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("CPU %d: %w", cpu, err)
	}
	err := f()
	if back := unix.SchedSetaffinity(0, &before); back != nil {
		return errors.Join(err, fmt.Errorf("sched_setaffinity: %w", back)) // this thread is good for nothing else
	}
	runtime.UnlockOSThread()
	return err
}

// served is one side's: it returns the least time of a round.
func (w *word) served(end time.Time) (least time.Duration, err error) {
	for try := range uint32(distanceTries) {
		begun := time.Now()
		for i := range uint32(distanceRounds) {
			n := 2 * (try*distanceRounds + i)
			w.Store(n + 1)
			if err := w.await(n+2, end); err != nil {
				return 0, err
			}
		}
		if took := time.Since(begun) / distanceRounds; least == 0 || took < least {
			least = took
		}
	}
	return least, nil
}

// returned is the other's.
func (w *word) returned(end time.Time) error {
	for i := range uint32(distanceTries * distanceRounds) {
		if err := w.await(2*i+1, end); err != nil {
			return err
		}
		w.Store(2*i + 2)
	}
	return nil
}

// await waits for a value.
func (w *word) await(n uint32, end time.Time) error {
	for spins := 1; w.Load() != n; spins++ {
		if spins%10000 == 0 && time.Now().After(end) {
			return errors.New("a CPU was not free")
		}
	}
	return nil
}
