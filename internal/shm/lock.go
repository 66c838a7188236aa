package shm

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Party is one of the two that share a segment: the paper's two halves.
type Party uint32

// The parties.
const (
	Nobody     Party = 0
	TopHalf    Party = 1 // the application
	BottomHalf Party = 2 // its child
)

func (p Party) String() string {
	switch p {
	case TopHalf:
		return "top half"
	case BottomHalf:
		return "bottom half"
	}
	return "nobody"
}

// Locker is a lock between the two halves (paper section 4.4.3). The paper's
// locks and ours are interchangeable behind it. Within a process the caller
// sees to it that only one goroutine uses the Locker at a time.
type Locker interface {
	// Lock takes the lock. It waits at most for d, without a bound if d < 0,
	// and reports whether it has the lock.
	Lock(d time.Duration) bool
	// Unlock gives the lock back.
	Unlock()
	// Holder returns who has the lock. Of a party that has died while it was about
	// to take the lock some say that it has it.
	Holder() Party
	// Seize takes the lock from a holder who is dead: the caller has made sure of
	// that. It reports whether he had it. Another goroutine of the caller's process
	// may be waiting in Lock: it goes on waiting until Unlock.
	Seize() bool
	// Inherit takes the lock over from a dead process of the same party, in whose
	// place the caller is now. It reports false if that had it not, or was only about
	// to take it: then the caller takes it like others, with Lock.
	Inherit() bool
}

// LockWord is the lock's state in shared memory, alone in its cache line. What of
// it is used depends on the kind.
//
//	word: bit  31 … 3   2          1 0
//	           unused   a waiter   holder: 0, TopHalf, BottomHalf
type LockWord struct {
	word atomic.Uint32 // Adaptive
	// Contended counts how often a party had to sleep.
	Contended atomic.Uint32
	kind      uint32 // a LockKind; written before there is a second party
	cpu       uint32 // Edwards: where both halves have to run

	holder   atomic.Uint32    // Semaphore, Peterson
	want     [2]atomic.Uint32 // Peterson: of the top and the bottom half
	turn     atomic.Uint32    // Peterson
	disable  atomic.Uint32    // Edwards: the top half has the lock, or is about to
	inside   atomic.Uint32    // Edwards: the bottom half has it
	blocking atomic.Uint32    // Edwards: the bottom half sleeps
	_        [20]byte
}

var _ [64]byte = [unsafe.Sizeof(LockWord{})]byte{}

const (
	holderMask = 3
	waiterBit  = 4

	// spins is how often a party looks at a taken lock before it sleeps: about
	// a microsecond, as long as most steps of the engine take.
	spins = 400
)

// Adaptive is the default lock: one atomic operation to take and one to give
// back, no system call; contended it spins for about a step's time and then
// sleeps on a futex. The word names its holder, so that the other party can
// find out that he is dead.
type Adaptive struct {
	w    *LockWord
	me   Party
	spin int
}

// NewAdaptive returns party me's side of the lock in w.
func NewAdaptive(w *LockWord, me Party) *Adaptive {
	if me != TopHalf && me != BottomHalf {
		panic("BUG: the lock has two parties")
	}
	return &Adaptive{w: w, me: me, spin: spins}
}

// SetSpin changes how often Lock looks at a taken lock before it sleeps.
func (l *Adaptive) SetSpin(n int) { l.spin = n }

// Lock implements Locker.
func (l *Adaptive) Lock(d time.Duration) bool {
	yield()
	if l.w.word.CompareAndSwap(0, uint32(l.me)) {
		return true
	}
	return l.lockSlow(d)
}

func (l *Adaptive) lockSlow(d time.Duration) bool {
	for range l.spin {
		yield()
		if l.w.word.Load()&holderMask == 0 && l.take() {
			return true
		}
	}
	var deadline time.Time
	if d >= 0 {
		deadline = time.Now().Add(d)
	}
	for {
		yield()
		v := l.w.word.Load()
		if v&holderMask == 0 {
			if l.take() {
				return true
			}
			continue
		}
		yield()
		if v&waiterBit == 0 && !l.w.word.CompareAndSwap(v, v|waiterBit) {
			continue
		}
		left := time.Duration(-1)
		if d >= 0 {
			if left = time.Until(deadline); left <= 0 {
				return false
			}
		}
		l.w.Contended.Add(1)
		sleepOn(&l.w.word, v|waiterBit, left)
	}
}

// take takes a free lock. There are two parties, so whoever gets here is the
// only one who could be waiting: the waiter bit need not be kept.
func (l *Adaptive) take() bool {
	yield()
	v := l.w.word.Load()
	return v&holderMask == 0 && l.w.word.CompareAndSwap(v, uint32(l.me))
}

// Unlock implements Locker.
func (l *Adaptive) Unlock() {
	yield()
	if old := l.w.word.Swap(0); old&waiterBit != 0 {
		yield()
		wakeOne(&l.w.word)
	} else if Party(old) != l.me {
		panic("BUG: unlock of a lock held by " + Party(old&holderMask).String())
	}
}

// Holder implements Locker.
func (l *Adaptive) Holder() Party { return Party(l.w.word.Load() & holderMask) }

// Seize implements Locker.
func (l *Adaptive) Seize() bool {
	v := l.w.word.Load()
	dead := Party(v & holderMask)
	if dead == Nobody || dead == l.me {
		return false
	}
	return l.w.word.CompareAndSwap(v, uint32(l.me)|v&waiterBit)
}

// Inherit implements Locker.
func (l *Adaptive) Inherit() bool { return l.Holder() == l.me }
