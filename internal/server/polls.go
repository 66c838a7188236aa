package server

import (
	"sync"
	"time"
)

// polls bounds how often a user may have the children asked what they have, or told to
// end orphans: a child takes the lock of its segment for that, which its program waits
// for meanwhile. Who asks more often waits, as do those who ask behind him for the same
// user.
type polls struct {
	mu   sync.Mutex
	next map[int]time.Time // by user: when the bucket is full again
}

const (
	pollPeriod = 50 * time.Millisecond // on the average between two polls of a user
	pollBurst  = 20                    // polls that may come at once
)

// wait takes a user's turn, and returns how long he has to wait for it.
func (p *polls) wait(uid int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = make(map[int]time.Time)
	}
	for u, t := range p.next {
		if !t.After(now) {
			delete(p.next, u) // nobody remembers who has not asked of late
		}
	}
	at := now
	if t, asked := p.next[uid]; asked {
		at = t
	}
	p.next[uid] = at.Add(pollPeriod)
	return max(0, at.Add(pollPeriod).Sub(now)-pollBurst*pollPeriod)
}

// poll waits for a user's turn, and reports false if the server stops meanwhile.
func (s *Server) poll(uid int) bool {
	d := s.polls.wait(uid, time.Now())
	if d == 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-s.stopping:
		return false
	}
}
