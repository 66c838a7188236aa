package shm

import "time"

// Edwards is Edwards' algorithm (paper A.2). It "exploits the fact that the child
// process runs at real-time priority and so cannot be pre-empted by the user
// process": on one CPU a child that runs can look and then act, and the application
// knows that a child which does not run does not have the lock. No system call and no
// atomic read-modify-write unless the child comes while the application is inside.
//
// The paper's version has no word for a child that is inside, since nobody can see
// it there. Here a page fault, the runtime's garbage collector or the kernel's limit
// on real-time processes can take the CPU from the child all the same; so it says
// that it is inside, and the application looks, and waits. Each such wait counts as
// Contended. With that the algorithm excludes each other under any scheduling, but
// waits well only under the paper's.
type Edwards struct {
	w      *LockWord
	me     Party
	held   bool
	seized bool // from the dead, as whose it is kept: whoever waits goes on waiting
}

// NewEdwards returns party me's side of the lock in w.
func NewEdwards(w *LockWord, me Party) *Edwards { return &Edwards{w: w, me: me} }

// Lock implements Locker.
func (l *Edwards) Lock(d time.Duration) bool {
	got := false
	if l.me == TopHalf {
		got = l.lockTop(patient(d))
	} else {
		got = l.lockBottom(patient(d))
	}
	l.held = l.held || got
	return got
}

func (l *Edwards) lockTop(p patience) bool {
	yield()
	l.w.disable.Store(1)
	for !l.childIsOut() {
		if _, more := p.left(); !more {
			l.releaseTop()
			return false
		}
		l.w.Contended.Add(1)
		pause(l.childIsOut)
	}
	return true
}

func (l *Edwards) childIsOut() bool {
	yield()
	return l.w.inside.Load() == 0
}

func (l *Edwards) lockBottom(p patience) bool {
	for {
		yield()
		l.w.inside.Store(1)
		yield()
		if l.w.disable.Load() == 0 {
			return true
		}
		yield()
		l.w.inside.Store(0)
		left, more := p.left()
		if !more {
			return false
		}
		l.w.Contended.Add(1)
		l.block(left)
	}
}

// block waits for the application to wake us, unless it has just gone.
func (l *Edwards) block(d time.Duration) {
	yield()
	l.w.blocking.Store(1)
	yield()
	if l.w.disable.Load() != 0 {
		sleepOn(&l.w.blocking, 1, d)
	}
	yield()
	l.w.blocking.Store(0)
}

// Unlock implements Locker.
func (l *Edwards) Unlock() {
	if !l.held {
		panic("BUG: unlock of a lock held by " + l.Holder().String())
	}
	l.held = false
	of := l.me
	if l.seized {
		l.seized, of = false, l.me.other()
	}
	if of == TopHalf {
		l.releaseTop()
		return
	}
	yield()
	l.w.inside.Store(0)
}

func (l *Edwards) releaseTop() {
	yield()
	l.w.disable.Store(0)
	yield()
	if l.w.blocking.Load() != 0 {
		yield()
		l.w.blocking.Store(0)
		yield()
		wakeOne(&l.w.blocking)
	}
}

// Holder implements Locker.
func (l *Edwards) Holder() Party {
	switch {
	case l.w.inside.Load() != 0:
		return BottomHalf
	case l.w.disable.Load() != 0:
		return TopHalf
	}
	return Nobody
}

// Seize implements Locker. The dead may only have been about to take the lock.
func (l *Edwards) Seize() bool {
	dead := &l.w.inside
	if l.me == BottomHalf {
		dead = &l.w.disable
	}
	if l.held || dead.Load() == 0 {
		return false
	}
	l.held, l.seized = true, true
	return true
}

// Inherit implements Locker. A bottom half that has died in the two instructions in
// which it looks whether the application is inside counts as having had the lock.
func (l *Edwards) Inherit() bool {
	mine := &l.w.inside
	if l.me == TopHalf {
		mine = &l.w.disable
	}
	l.held = mine.Load() != 0
	return l.held
}
