package server

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// relay is the way to a child for frames. One that does not read them (it is
// stopped, say) costs others relayTimeout a second at most.
type relay struct {
	ch    *message.Channel
	mu    sync.Mutex
	quiet time.Time // drop frames until then
}

// send reports whether the frame was sent.
func (r *relay) send(f *ring.Frame) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.quiet) {
		return false
	}
	err := ring.SendFrame(r.ch, f)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.quiet = time.Now().Add(relayPenalty)
	}
	return err == nil
}

// give passes a frame on to the child.
func (c *child) give(f *ring.Frame) {
	if !c.frames.send(f) {
		c.s.counters.stuck.Add(1)
		return
	}
	c.s.counters.toChild.Add(1)
}

// receiveFrames takes the child's frames until its channel ends. A child is
// trusted code: one that sends garbage is broken, and ended by watch.
func (c *child) receiveFrames() {
	if !c.s.hasJoined() {
		return
	}
	buf := make([]byte, ring.MaxFrame)
	for {
		var f ring.Frame
		err := ring.RecvFrame(c.frames.ch, buf, &f)
		if err != nil {
			if ring.IsBadFrame(err) {
				c.s.counters.badChild.Add(1)
				c.s.log.Error("bad frame from a child", "vci", c.vci, "err", err)
				continue
			}
			return
		}
		c.fromChild(f)
		message.CloseFiles(f.Files)
	}
}

// fromChild sends the child's frame where it belongs. f.Files stay the caller's.
func (c *child) fromChild(f ring.Frame) {
	s := c.s
	switch {
	case f.Src != c.vci || f.Type == ring.FrameHello || f.Type == ring.FrameUnreachable || f.Type == ring.FrameCensus:
		s.counters.forgedFrames.Add(1)
		return
	case f.Type == ring.FrameLease && !s.ports.holds(c.vci, &f):
		s.counters.forgedFrames.Add(1)
		return
	case f.Type == ring.FramePDU:
		c.sendPDU(f)
		return
	case f.Type == ring.FrameDetach && f.Dst.IsWellKnown(): // the whole pool
		c.detachAll(make(map[wire.VCI]bool))
		return
	case f.Type == ring.FrameDetach:
		c.removePeer(f.Dst)
	case f.Type == ring.FrameAttach:
		c.addPeer(f.Dst)
	}
	err := s.send(f)
	if f.Type == ring.FrameAttach && errors.Is(err, ring.ErrNoHost) {
		c.removePeer(f.Dst)
		c.give(&ring.Frame{Type: ring.FrameDetach, Src: f.Dst, Dst: c.vci})
	}
}

// sendPDU sends a packet of the child's: over a circuit's VCI as it stands, to
// the well-known VCI of whatever host has its destination address.
func (c *child) sendPDU(f ring.Frame) {
	s := c.s
	var ip wire.IP
	if err := wire.ParseIP(f.Packet(), &ip); err != nil || !s.ports.onRing(ip.Src) || !c.mayOpen(&f) {
		s.counters.forgedFrames.Add(1)
		return
	}
	if f.Dst.IsWellKnown() {
		id, ok := s.route(ip.Dst)
		if !ok {
			c.giveUnreachable(&f)
			return
		}
		f.Dst = wire.WellKnownVCI(int(id))
	}
	if err := s.send(f); errors.Is(err, ring.ErrNoHost) {
		c.giveUnreachable(&f)
	}
}

// mayOpen reports whether a packet is no SYN, or opens a connection that the child may open:
// the other end takes that as proof that whoever had these ends before has them no more
// (half.succeeded).
func (c *child) mayOpen(f *ring.Frame) bool {
	var seg segment
	if !seg.parse(f) || !seg.isSyn() {
		return true
	}
	flow := seg.flow()
	return c.s.ports.mayOpen(c.vci, wire.Flow{Local: flow.Remote, Remote: flow.Local})
}

// giveUnreachable returns the beginning of a packet that could not be delivered.
func (c *child) giveUnreachable(f *ring.Frame) {
	c.s.counters.unreachable.Add(1)
	u := f.Unreachable(unix.EHOSTUNREACH)
	c.give(&u)
}

// send gives a frame to the ring. A host that does not read loses it, which the
// station counts; TCP sends again.
func (s *Server) send(f ring.Frame) error {
	if !s.hasJoined() {
		return ring.ErrClosed
	}
	err := ring.ErrNoHost
	if s.station != nil {
		err = s.station.Send(f)
	}
	if err != nil {
		s.log.Debug("frame dropped", "type", f.Type, "src", f.Src, "dst", f.Dst, "err", err)
		return err
	}
	s.counters.relayed.Add(1)
	return nil
}

// fromStation takes a frame that has come for this host: for one of its children,
// or for the server itself.
func (s *Server) fromStation(f ring.Frame) {
	<-s.joined
	defer message.CloseFiles(f.Files)
	if f.Dst.IsWellKnown() {
		switch f.Type {
		case ring.FramePDU:
			s.packet(&f)
		case ring.FrameCensus:
			s.census(&f)
		}
		return
	}
	c := s.child(f.Dst)
	if c == nil || f.Type == ring.FrameAttach && !c.addPeer(f.Src) {
		if f.Type == ring.FramePDU || f.Type == ring.FrameAttach || f.Type == ring.FrameMoved { // let the peer drop its half
			s.send(ring.Frame{Type: ring.FrameDetach, Src: f.Dst, Dst: f.Src})
		}
		return
	}
	if f.Type == ring.FrameDetach {
		c.removePeer(f.Src)
	}
	c.give(&f)
}
