package server

import (
	"slices"
	"time"

	"usertcp/internal/wire"
)

// foreign is a child that stays without server, since it speaks another version or did not
// answer: it goes on over the circuits that it has, and nobody else may have its VCI.
type foreign struct {
	stream  int
	process *process // nil if it is not known
}

// leave leaves its stream to a child that could not be taken over, unless it has ended: one
// that was killed a moment ago can be met until it is gone. s.mu is held.
func (s *Server) leave(f foreign) {
	if f.stream == wire.WellKnownStream || s.children[f.stream] != nil || f.ended() {
		return
	}
	s.streams.claim(f.stream)
	s.foreign = append(s.foreign, f)
}

func (f foreign) ended() bool { return f.process != nil && f.process.ended() }

// foreignPause is how long the server waits at least until it looks again whether such a
// child has ended, and foreignMost at most.
const (
	foreignPause = 10 * time.Millisecond
	foreignMost  = time.Second
)

// watchForeign tells the other ends of a foreign child's circuits when it has ended: nobody
// else would.
func (s *Server) watchForeign() {
	pause := foreignPause
	for s.hasForeign() {
		select {
		case <-s.stopping:
			return
		case <-time.After(pause):
		}
		if s.dropForeign() {
			s.takeCensus()
			pause = foreignPause
		}
		pause = min(2*pause, foreignMost)
	}
}

func (s *Server) hasForeign() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.foreign) > 0
}

// dropForeign forgets those that have ended, and reports whether there were any.
func (s *Server) dropForeign() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.foreign)
	s.foreign = slices.DeleteFunc(s.foreign, func(f foreign) bool {
		ended := f.ended()
		if ended {
			s.streams.give(f.stream) // whose turn comes after all others'
		}
		return ended
	})
	return len(s.foreign) < before
}
