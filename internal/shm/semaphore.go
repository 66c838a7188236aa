package shm

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Semaphore is a counter in the kernel, an eventfd: taking one off, or adding one, is
// a system call.
// The zero Semaphore is none.
type Semaphore struct{ n int } // the descriptor and 1

// NewSemaphore makes a semaphore with the value 1.
func NewSemaphore() (Semaphore, error) {
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE)
	if err != nil {
		return Semaphore{}, fmt.Errorf("eventfd: %w", err)
	}
	return Semaphore{fd + 1}, nil
}

// SemaphoreFrom takes over a descriptor that somebody else made.
func SemaphoreFrom(fd int) (Semaphore, error) {
	d, err := DoorbellFrom(fd)
	return Semaphore{d.fd + 1}, err
}

// Fd returns the descriptor, which stays the semaphore's; -1 if it is none.
func (s Semaphore) Fd() int { return s.n - 1 }

// Close closes the descriptor.
func (s Semaphore) Close() error { return Doorbell{s.Fd()}.Close() }

// take takes one off, unless there is none.
var semTake = func(s Semaphore) bool {
	var b [8]byte
	n, err := unix.Read(s.Fd(), b[:])
	return n == len(b) && err == nil
}

var semGive = func(s Semaphore) { unix.Write(s.Fd(), one[:]) }

// semWait waits until there may be one, for d at most, without a bound if d < 0.
var semWait = func(s Semaphore, d time.Duration) {
	var ts *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		ts = &t
	}
	unix.Ppoll([]unix.PollFd{{Fd: int32(s.Fd()), Events: unix.POLLIN}}, ts, nil)
}

// SemaphoreLock is a semaphore: "ideally suited to coarse-grained access control", and
// what the authors wanted to get away from since each use is a system call (paper
// section 4.4.3).
type SemaphoreLock struct {
	w   *LockWord
	me  Party
	sem Semaphore
	mu  sync.Mutex // of taking it, and saying so: Seize must not come between
}

// NewSemaphoreLock returns party me's side of the lock in w and sem.
func NewSemaphoreLock(w *LockWord, me Party, sem Semaphore) *SemaphoreLock {
	return &SemaphoreLock{w: w, me: me, sem: sem}
}

// Lock implements Locker.
func (l *SemaphoreLock) Lock(d time.Duration) bool {
	for p := patient(d); ; {
		if l.try() {
			return true
		}
		left, more := p.left()
		if !more {
			return false
		}
		l.w.Contended.Add(1)
		semWait(l.sem, left)
	}
}

func (l *SemaphoreLock) try() bool {
	yield()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !semTake(l.sem) {
		return false
	}
	l.w.holder.Store(uint32(l.me))
	return true
}

// Unlock implements Locker.
func (l *SemaphoreLock) Unlock() {
	if h := l.Holder(); h != l.me {
		panic("BUG: unlock of a lock held by " + h.String())
	}
	l.w.holder.Store(0)
	yield()
	semGive(l.sem)
}

// Holder implements Locker.
func (l *SemaphoreLock) Holder() Party { return Party(l.w.holder.Load() & holderMask) }

// Seize implements Locker. The dead may have taken the semaphore without having said
// so, or have said that he gives it back without having done so; there is nobody
// else who could have it. A free one is taken, too.
func (l *SemaphoreLock) Seize() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Holder() == l.me {
		return false
	}
	semTake(l.sem)
	l.w.holder.Store(uint32(l.me))
	return true
}

// Inherit implements Locker.
func (l *SemaphoreLock) Inherit() bool { return l.Holder() == l.me }
