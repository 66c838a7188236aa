package server

import (
	"sync"
	"time"
)

// turns bounds how often users may have something done for them: burst times at once, and
// then once in each period. Who wants more waits, as do those behind him who want it for
// the same user; others do not. Who would have to wait for longer than longestTurn is
// sent away: each message of a flood wakes the server, as long as there is a channel for it.
type turns struct {
	period time.Duration
	burst  time.Duration // in periods

	mu   sync.Mutex
	next map[int]time.Time // by user: when nothing of his burst is used any more
}

func newTurns(period time.Duration, burst int) *turns {
	return &turns{period: period, burst: time.Duration(burst), next: make(map[int]time.Time)}
}

// What is bounded. An application says one thing in its life, or a few. When it asks for
// the state, or the end of orphans, children take the locks of their segments, which their
// programs wait for meanwhile.
const (
	messagePeriod = time.Millisecond
	messageBurst  = 1000
	pollPeriod    = 50 * time.Millisecond
	pollBurst     = 20

	longestTurn = time.Second
)

// take takes a user's turn, and returns how long he has to wait for it. It reports false,
// and nothing has been taken, if that is too long.
func (t *turns) take(uid int, now time.Time) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for u, at := range t.next {
		if !at.After(now) {
			delete(t.next, u) // nobody remembers who has not been here of late
		}
	}
	at := now
	if used, ok := t.next[uid]; ok {
		at = used
	}
	at = at.Add(t.period)
	if wait = max(0, at.Sub(now)-t.burst*t.period); wait > longestTurn {
		return wait, false
	}
	t.next[uid] = at
	return wait, true
}

// turn waits for a user's turn, and reports false if that takes too long or the server
// stops meanwhile: the channel is to be closed.
func (s *Server) turn(t *turns, uid int) bool {
	d, ok := t.take(uid, time.Now())
	if d == 0 || !ok {
		return ok
	}
	select {
	case <-time.After(d):
		return true
	case <-s.stopping:
		return false
	}
}
