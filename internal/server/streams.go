package server

import "usertcp/internal/wire"

// streams hands out the streams of the host's VCIs. One that has been given back
// is not handed out again before all others had their turn, so that a frame that
// is late finds nobody rather than somebody else.
type streams struct {
	taken [wire.MaxStream + 1]bool
	last  int
}

// take returns a free stream, or false if there is none.
func (s *streams) take() (int, bool) {
	for range wire.MaxStream {
		if s.last++; s.last > wire.MaxStream {
			s.last = wire.WellKnownStream + 1
		}
		if !s.taken[s.last] {
			s.taken[s.last] = true
			return s.last, true
		}
	}
	return 0, false
}

// claim takes a stream that is free.
func (s *streams) claim(stream int) {
	if s.taken[stream] {
		panic("BUG: stream claimed that was taken")
	}
	s.taken[stream] = true
}

func (s *streams) give(stream int) {
	if !s.taken[stream] {
		panic("BUG: stream given back that was not taken")
	}
	s.taken[stream] = false
}
