package server

import (
	"sync"
	"time"
)

// pendingSyns are the SYNs that a child has not answered.
type pendingSyns struct {
	mu     sync.Mutex
	lastID uint32
	syns   map[uint32]pendingSyn
}

type pendingSyn struct {
	segment
	since time.Time
}

// add returns the ID of a Syn to be sent, or false if too many wait.
func (p *pendingSyns) add(s *segment, now time.Time) (id uint32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.syns == nil {
		p.syns = make(map[uint32]pendingSyn)
	}
	if len(p.syns) >= maxSyns {
		p.expire(now)
	}
	if len(p.syns) >= maxSyns {
		return 0, false
	}
	for {
		p.lastID++
		if _, taken := p.syns[p.lastID]; p.lastID != 0 && !taken {
			p.syns[p.lastID] = pendingSyn{segment: *s, since: now}
			return p.lastID, true
		}
	}
}

// expire forgets those that the child has had for too long.
func (p *pendingSyns) expire(now time.Time) {
	for id, s := range p.syns {
		if now.Sub(s.since) >= synTimeout {
			delete(p.syns, id)
		}
	}
}

// remove returns the SYN that was sent with an ID.
func (p *pendingSyns) remove(id uint32) (segment, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.syns[id]
	delete(p.syns, id)
	return s.segment, ok
}
