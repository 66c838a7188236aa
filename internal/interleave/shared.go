package interleave

import (
	"slices"
	"sync/atomic"
	"time"
)

// Futex takes the place of the kernel's futex: a task that sleeps goes on when it
// is woken, and not before.
type Futex struct {
	s        *Scheduler
	sleepers []*sleeper
	// Early is how many sleeps of a run may end though nobody woke them, as
	// futex(2) allows; both are tried.
	Early int
}

type sleeper struct {
	word  *atomic.Uint32
	woken bool
}

// NewFutex returns a futex for the tasks of s.
func NewFutex(s *Scheduler) *Futex { return &Futex{s: s} }

// Sleep waits until somebody wakes who sleeps on w, unless *w is not v any more:
// the comparison and falling asleep are one step. A bounded sleep may end by
// itself at any moment.
func (f *Futex) Sleep(w *atomic.Uint32, v uint32, d time.Duration) {
	f.s.Yield()
	if w.Load() != v {
		return
	}
	if f.Early > 0 && f.s.Choose(2) == 1 {
		f.Early--
		return
	}
	me := &sleeper{word: w}
	f.sleepers = append(f.sleepers, me)
	f.s.Wait(func() bool { return me.woken || d >= 0 })
	f.sleepers = slices.DeleteFunc(f.sleepers, func(z *sleeper) bool { return z == me })
}

// Sleeping returns how many sleep: part of what the tasks share.
func (f *Futex) Sleeping() int { return len(f.sleepers) }

// Wake wakes one who sleeps on w.
func (f *Futex) Wake(w *atomic.Uint32) {
	for i, z := range f.sleepers {
		if z.word == w {
			z.woken = true
			f.sleepers = append(f.sleepers[:i], f.sleepers[i+1:]...)
			return
		}
	}
}

// Doorbell takes the place of an eventfd that Go's network poller watches.
type Doorbell struct {
	s    *Scheduler
	edge bool
}

// NewDoorbell returns a doorbell for the tasks of s.
func NewDoorbell(s *Scheduler) *Doorbell { return &Doorbell{s: s} }

// Ring rings.
func (d *Doorbell) Ring() {
	d.s.Yield()
	d.edge = true
}

// Rung reports whether a sleeper would be woken: part of what the tasks share.
func (d *Doorbell) Rung() bool { return d.edge }

// Forget is what the poller does when its Read is called: rings that came before
// do not count any more.
func (d *Doorbell) Forget() {
	d.s.Yield()
	d.edge = false
}

// Sleep waits for a ring that has come since the last Forget or Sleep.
func (d *Doorbell) Sleep() {
	d.s.Wait(func() bool { return d.edge })
	d.edge = false
}
