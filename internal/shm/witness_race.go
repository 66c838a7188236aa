//go:build race

package shm

import (
	"runtime"
	"time"
	"unsafe"
)

// witnessed tells the race detector of the default lock. Of atomics outside of Go's memory, where the
// lock's word is, that knows nothing: it sees that goroutines of a half come one after the other
// by the mutex that they take before the lock. Who seizes the lock has no mutex, since
// somebody who has it may be waiting in Lock.
type witnessed struct{ *Adaptive }

func witness(l *Adaptive) Locker { return &witnessed{l} }

func (l *witnessed) acquired(ok bool) bool {
	if ok {
		runtime.RaceAcquire(unsafe.Pointer(l))
	}
	return ok
}

// Lock implements Locker.
func (l *witnessed) Lock(d time.Duration) bool { return l.acquired(l.Adaptive.Lock(d)) }

// Seize implements Locker.
func (l *witnessed) Seize() bool { return l.acquired(l.Adaptive.Seize()) }

// Inherit implements Locker.
func (l *witnessed) Inherit() bool { return l.acquired(l.Adaptive.Inherit()) }

// Unlock implements Locker.
func (l *witnessed) Unlock() {
	runtime.RaceReleaseMerge(unsafe.Pointer(l))
	l.Adaptive.Unlock()
}
