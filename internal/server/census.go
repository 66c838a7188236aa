package server

import (
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// A child that is killed together with its server has no successor, and nobody tells the
// other ends of its circuits, who would write into memory that nobody reads. So a server
// that starts tells the other hosts which children it has, before it lets applications in
// that could get a VCI for the second time; they tell theirs, since they may have said so
// when this host had no server. What is left goes through the servers, and hears RST.

// takeCensus tells all that there is at the start, and when a child without server has ended.
func (s *Server) takeCensus() {
	streams := s.liveStreams()
	s.dropDead(s.RingID(), streams)
	if s.station == nil {
		return
	}
	for _, h := range s.station.Hosts() {
		if h.RingID != s.RingID() {
			s.sendCensus(h.RingID, streams, 1)
		}
	}
}

func (s *Server) sendCensus(host int, streams []byte, n uint32) {
	s.send(ring.Frame{Type: ring.FrameCensus, Src: s.vci(), Dst: wire.WellKnownVCI(host), N: n, PDU: streams})
}

// liveStreams has a bit for each child that there is.
func (s *Server) liveStreams() []byte {
	b := make([]byte, ring.CensusLen)
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.children {
		b[stream/8] |= 1 << (stream % 8)
	}
	for _, f := range s.foreign {
		b[f.stream/8] |= 1 << (f.stream % 8)
	}
	return b
}

// census takes another host's.
func (s *Server) census(f *ring.Frame) {
	s.dropDead(f.Src.Ring(), f.PDU)
	if f.N == 1 {
		s.sendCensus(f.Src.Ring(), s.liveStreams(), 0)
	}
}

// dropDead ends the circuits of this host's children to those of a host that are not
// among its streams any more.
func (s *Server) dropDead(host int, streams []byte) {
	s.mu.Lock()
	var all []*child
	for _, c := range s.children {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		select {
		case <-c.ready:
		default:
			continue // it has no circuits yet
		}
		for _, v := range c.deadPeers(host, streams) {
			c.give(&ring.Frame{Type: ring.FrameDetach, Src: v, Dst: c.vci})
		}
	}
}

// deadPeers removes the peers that are of a host and not among its streams.
func (c *child) deadPeers(host int, streams []byte) (dead []wire.VCI) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for v := range c.peers {
		if n := v.Stream(); v.Ring() == host && streams[n/8]&(1<<(n%8)) == 0 {
			dead = append(dead, v)
			delete(c.peers, v)
		}
	}
	return dead
}
