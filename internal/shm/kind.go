package shm

import (
	"fmt"
	"slices"
	"time"
)

// LockKind says which lock a segment has.
type LockKind uint32

// The locks. All but the first are the paper's (section 4.4.3 and appendix A).
const (
	LockAdaptive LockKind = iota
	LockSemaphore
	LockPeterson
	LockEdwards
)

var lockNames = []string{"adaptive", "semaphore", "peterson", "edwards"}

// LockNames returns what ParseLockKind knows.
func LockNames() []string { return slices.Clone(lockNames) }

// String returns the lock's name, or lock(n).
func (k LockKind) String() string {
	if int(k) < len(lockNames) {
		return lockNames[k]
	}
	return fmt.Sprintf("lock(%d)", uint32(k))
}

// ParseLockKind returns the lock of a name.
func ParseLockKind(name string) (LockKind, error) {
	i := slices.Index(lockNames, name)
	if i < 0 {
		return 0, fmt.Errorf("no lock %q: there are %v", name, lockNames)
	}
	return LockKind(i), nil
}

// InitialiseLock says which lock w is, before there is a second party. cpu is where
// both halves of LockEdwards have to run.
func InitialiseLock(w *LockWord, k LockKind, cpu int) {
	w.kind, w.cpu = uint32(k), uint32(cpu)
}

// Kind returns which lock w is.
func (w *LockWord) Kind() LockKind { return LockKind(w.kind) }

// CPU returns where both halves of LockEdwards have to run.
func (w *LockWord) CPU() int { return int(w.cpu) }

// NewLock returns party me's side of the lock in w; sem is the semaphore of
// LockSemaphore, which the others do not need.
func NewLock(w *LockWord, me Party, sem Semaphore) (Locker, error) {
	switch w.Kind() {
	case LockAdaptive:
		return witness(NewAdaptive(w, me)), nil
	case LockSemaphore:
		if sem.Fd() < 0 {
			return nil, fmt.Errorf("the segment's lock is a semaphore, and none was given")
		}
		return NewSemaphoreLock(w, me, sem), nil
	case LockPeterson:
		return NewPeterson(w, me), nil
	case LockEdwards:
		return NewEdwards(w, me), nil
	}
	return nil, fmt.Errorf("the segment has a %v", w.Kind())
}

func (p Party) other() Party { return TopHalf + BottomHalf - p }

// pause is how a party waits that nobody wakes: the paper's half called select
// "purely as a 'sleep' function", for 1 ms, which took 5 (section 4.5.2). A variable
// for the tests of all interleavings, which know when it pays to look again.
var pause = func(ready func() bool) { time.Sleep(pauseTime) }

// pauseTime is about what a thread needs to sleep and wake at all.
const pauseTime = 50 * time.Microsecond

// patience is a bound on waiting.
type patience struct {
	until time.Time
	given bool
}

func patient(d time.Duration) patience {
	if d < 0 {
		return patience{}
	}
	return patience{time.Now().Add(d), true}
}

// left returns how long the patience lasts, negative if it has no end; more is
// false if it is at its end.
func (p patience) left() (d time.Duration, more bool) {
	if !p.given {
		return -1, true
	}
	d = time.Until(p.until)
	return d, d > 0
}
