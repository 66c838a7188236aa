package shm

import "time"

// Peterson is Peterson's algorithm for two parties, which the authors "modified to
// yield rather than busywait" (paper section 4.4.3 and A.1): no system call unless
// both want the lock, and a sleep of a fixed time if they do.
type Peterson struct {
	w  *LockWord
	me Party
	// seized says that the lock was taken from the dead: it is kept as his, so that
	// whoever waits goes on waiting.
	seized bool
}

// NewPeterson returns party me's side of the lock in w.
func NewPeterson(w *LockWord, me Party) *Peterson { return &Peterson{w: w, me: me} }

// Lock implements Locker.
func (l *Peterson) Lock(d time.Duration) bool {
	mine, other := &l.w.want[l.me-1], l.me.other()
	yield()
	mine.Store(1)
	yield()
	l.w.turn.Store(uint32(other))
	for p := patient(d); !l.free(); {
		if _, more := p.left(); !more {
			yield()
			mine.Store(0)
			return false
		}
		l.w.Contended.Add(1)
		pause(l.free)
	}
	l.w.holder.Store(uint32(l.me))
	return true
}

// free reports whether the other does not want the lock, or it is our turn.
func (l *Peterson) free() bool {
	other := l.me.other()
	yield()
	if l.w.want[other-1].Load() == 0 {
		return true
	}
	yield()
	return l.w.turn.Load() != uint32(other)
}

// Unlock implements Locker.
func (l *Peterson) Unlock() {
	if l.w.holder.Load() != uint32(l.me) {
		panic("BUG: unlock of a lock held by " + l.Holder().String())
	}
	l.w.holder.Store(0)
	wanted := l.me
	if l.seized {
		l.seized, wanted = false, l.me.other()
	}
	yield()
	l.w.want[wanted-1].Store(0)
}

// Holder implements Locker.
func (l *Peterson) Holder() Party {
	if h := Party(l.w.holder.Load()); h == TopHalf || h == BottomHalf {
		return h
	}
	turn := Party(l.w.turn.Load())
	for _, p := range [...]Party{TopHalf, BottomHalf} {
		if l.w.want[p-1].Load() != 0 && (turn == p || l.w.want[p.other()-1].Load() == 0) {
			return p
		}
	}
	return Nobody
}

// Seize implements Locker. The dead may only have been about to take the lock.
func (l *Peterson) Seize() bool {
	other := l.me.other()
	if l.w.holder.Load() == uint32(l.me) || l.w.want[other-1].Load() == 0 {
		return false
	}
	l.seized = true
	l.w.turn.Store(uint32(other))
	l.w.holder.Store(uint32(l.me))
	return true
}

// Inherit implements Locker.
func (l *Peterson) Inherit() bool { return l.w.holder.Load() == uint32(l.me) }
