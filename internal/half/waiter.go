package half

import (
	"sync/atomic"
	"time"

	"usertcp/internal/tcp"
)

// waiter is one direction of a socket in which a goroutine may wait. One
// goroutine does at a time: the socket sees to that.
type waiter struct {
	socket     *Socket
	wake       chan struct{} // has room for one
	waiting    bool
	next, prev *waiter

	deadline time.Time
	timer    *time.Timer
	passed   bool
	nonblock bool // a wait fails at once
	order    order

	woken  atomic.Bool // and not back
	called tcp.Time    // its last call
	since  tcp.Time    // since when its goroutine has had a processor, or earlier
}

func (w *waiter) init(s *Socket) {
	w.socket = s
	w.wake = make(chan struct{}, 1)
}

// notify wakes who waits; a wake-up for nobody is kept for the next.
func (w *waiter) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *waiter) expired() bool { return w.passed }

// setDeadline makes waits at w end at d; the zero time means never. Guarded by
// the top half's lock.
func (w *waiter) setDeadline(t *Top, d time.Time) {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.deadline, w.passed = d, false
	if d.IsZero() {
		return
	}
	left := time.Until(d)
	if left <= 0 {
		w.passed = true
		t.signal(w)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		t.enter()
		if w.timer == timer { // not replaced meanwhile
			w.passed = true
			t.signal(w)
		}
		t.leave()
	})
	w.timer = timer
}

// waiters is a circular list of those who wait, oldest first.
type waiters struct{ root waiter }

func (l *waiters) init() { l.root.next, l.root.prev = &l.root, &l.root }

func (l *waiters) add(w *waiter) {
	w.waiting = true
	w.prev, w.next = l.root.prev, &l.root
	w.prev.next, w.next.prev = w, w
}

func (l *waiters) remove(w *waiter) {
	w.waiting = false
	w.prev.next, w.next.prev = w.next, w.prev
	w.next, w.prev = nil, nil
}

// last returns who has come last: of those who wait for answers his will come last,
// so that he leads for longest.
func (l *waiters) last() *waiter {
	if l.root.prev == &l.root {
		return nil
	}
	return l.root.prev
}

func (l *waiters) first() *waiter {
	if l.root.next == &l.root {
		return nil
	}
	return l.root.next
}
