package shm

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// yielding, if a test has set it, is called before every step that another party
// could notice, so that a test can try all interleavings. It is nil otherwise.
// It is atomic since a timer of an earlier test may still be about.
var yielding atomic.Pointer[func()]

// SetYield has f called before every step that another party could notice; nil
// ends that. It is for tests.
func SetYield(f func()) {
	if f == nil {
		yielding.Store(nil)
		return
	}
	yielding.Store(&f)
}

func yield() {
	if f := yielding.Load(); f != nil {
		(*f)()
	}
}

// Step marks such a step in the shared memory of another package.
func Step() { yield() }

// Intercept puts other functions in the place of the futex's, for a test of all
// interleavings; restore undoes that. Each sleep may end early.
func Intercept(sleep func(w *atomic.Uint32, v uint32, d time.Duration), wake func(w *atomic.Uint32)) (restore func()) {
	s, w := sleepOn, wakeOne
	sleepOn, wakeOne = sleep, wake
	return func() { sleepOn, wakeOne = s, w }
}

// futex operations of futex(2), without FUTEX_PRIVATE_FLAG: the waiter and the
// waker are different processes.
const (
	futexWait = 0
	futexWake = 1
)

// sleep and wake are variables for the interleaving tests.
var (
	sleepOn = futexSleep
	wakeOne = futexWakeOne
)

// lostWake bounds a sleep: a holder may die between giving the lock back and waking
// who waits for it.
const lostWake = 50 * time.Millisecond

// futexSleep sleeps while *w is v, at most for d if d >= 0. It may return early;
// callers look again.
func futexSleep(w *atomic.Uint32, v uint32, d time.Duration) {
	if d < 0 || d > lostWake {
		d = lostWake
	}
	ts := unix.NsecToTimespec(int64(d))
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w)), futexWait, uintptr(v), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

func futexWakeOne(w *atomic.Uint32) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w)), futexWake, 1, 0, 0, 0)
}
