package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// arriveAck handles the acknowledgement and the window of a segment ("fifth,
// check the ACK field" in RFC 9293 section 3.10.7.4). It returns false if the
// segment is to be dropped for it.
func (c *Conn) arriveAck(m *Memory, now Time, seg *Segment) bool {
	s := &c.snd
	if seg.Ack.After(s.nxt) {
		// "If the ACK acks something not yet sent (SEG.ACK > SND.NXT), then send an
		// ACK, drop the segment, and return."
		c.Stats.DropAck++
		c.challenge(now)
		return false
	}
	if seg.Ack.Before(s.una.Minus(seq.Size(s.maxWnd))) {
		// "The ACK value is considered acceptable only if it is in the range of
		// ((SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT)" (RFC 5961 section 5.2)
		c.Stats.DropAck++
		c.challenge(now)
		return false
	}
	c.keepTimestamp(now, seg)
	c.rcv.lastSeg = now
	c.clear(flagMore)
	s.probes, s.keepProbes = 0, 0
	c.takeUserTimeout(now, &seg.Options)
	wnd, before, flight := s.wnd, c.flight()-c.board.sacked, c.flight()
	c.takeWindow(seg)
	switch {
	case seg.Ack.After(s.una):
		c.newAck(m, now, seg)
	case c.has(flagSACK):
		c.weigh(m, now, seg, 0, c.flight(), c.repeats(seg, wnd))
	case c.flight() > 0 && c.repeats(seg, wnd):
		c.dupAck(now)
	}
	switch {
	case c.ecn.on == ecnAccurate:
		c.arriveFeedback(now, seg, before-min(before, c.flight()-c.board.sacked), flight)
	case c.ecn.on == ecnClassic && seg.Flags&wire.ECE != 0:
		c.arriveEcho(now)
	}
	if s.wnd == 0 {
		// "As long as the receiving TCP peer continues to send acknowledgments in
		// response to the probe segments, the sending TCP peer MUST allow the
		// connection to stay open" (RFC 9293 MUST-37)
		s.retries = 0
		if s.una == s.nxt {
			s.since = now
		}
	}
	return true
}

// takeWindow takes the peer's window: "If (SND.WL1 < SEG.SEQ or (SND.WL1 =
// SEG.SEQ and SND.WL2 =< SEG.ACK)), set SND.WND <- SEG.WND". An old
// acknowledgement is none that could carry a younger window, and one of something
// new always does, even on data that is sent again: SND.WND counts from SND.UNA, so
// that otherwise the old window would go on with it, beyond what was offered.
func (c *Conn) takeWindow(seg *Segment) {
	s := &c.snd
	old := seg.Ack.Before(s.una) || seg.Seq.Before(s.wl1) || (seg.Seq == s.wl1 && seg.Ack.Before(s.wl2))
	if old && !seg.Ack.After(s.una) {
		return
	}
	// "The window field (SEG.WND) of every incoming segment, with the exception of
	// <SYN> segments, MUST be left-shifted by Snd.Wind.Shift bits" (RFC 7323
	// section 2.3)
	wnd := uint32(seg.Window) << s.scale
	if wnd > s.wnd {
		s.probeShift = 0
	}
	s.wnd = wnd
	s.maxWnd = max(s.maxWnd, wnd)
	s.wl1 = seq.Max(s.wl1, seg.Seq)
	s.wl2 = seg.Ack
}

// repeats makes the test of RFC 5681 section 2 for a duplicate acknowledgement,
// but does not ask whether something is in flight; wnd is the window before the
// segment.
func (c *Conn) repeats(seg *Segment, wnd uint32) bool {
	return seg.Ack == c.snd.una && seg.Len == 0 &&
		seg.Flags&(wire.SYN|wire.FIN) == 0 && c.snd.wnd == wnd
}

// newAck handles an acknowledgement of something new.
func (c *Conn) newAck(m *Memory, now Time, seg *Segment) {
	s := &c.snd
	c.measure(now, seg)
	flight := c.flight()
	n := uint32(seq.Min(seg.Ack, s.end).From(seq.Min(s.una, s.end)))
	c.release(m, n)
	acked := uint32(seg.Ack.From(s.una))
	s.una = seg.Ack
	s.since = now
	s.retries = 0
	c.Stats.BytesAcked += uint64(n)
	if c.urgent.sending != 0 {
		c.urgentAcked()
	}
	c.keepNear()
	if c.has(flagSACK) {
		c.weigh(m, now, seg, acked, flight, false)
	} else {
		c.recovered(m, now, seg, acked, flight)
	}
	if s.una == s.nxt {
		// "When all outstanding data has been acknowledged, turn off the
		// retransmission timer" (RFC 6298 (5.2))
		c.stopSending()
		c.rack.seen = 0
	}
	c.Soft = ErrNone
	if c.path.probe != 0 {
		c.probeAcked()
	}
	if c.tunesSend() {
		c.tuneSend(m)
	}
	if n > 0 && c.roomy() {
		c.Events |= EventWritable
		c.clear(flagStarved)
	}
	c.watchLimit(now)
}

// keepNear moves numbers that are only compared with una along with it, lest
// they seem to lie ahead of it once the sequence space has wrapped.
func (c *Conn) keepNear() {
	s := &c.snd
	if s.small.Before(s.una) {
		s.small = s.una
	}
	if c.ecn.recover.Before(s.una) {
		c.ecn.recover = s.una.Minus(1)
	}
	if c.loss.phase == phaseOpen && c.loss.recover.Before(s.una) {
		c.loss.recover = s.una.Minus(1)
	}
}

// release takes n octets that are acknowledged off the front of SndQ. A chunk
// goes when all of it is acknowledged, and the cursor of nxt goes on from it;
// that of againSeq is set anew when una passes it.
func (c *Conn) release(m *Memory, n uint32) {
	s := &c.snd
	s.head += n
	for c.SndQ.Count > 0 {
		i := c.SndQ.Head
		size := m.Chunks[i].Len
		if s.head < size {
			break
		}
		s.head -= size
		c.SndQ.shed(m, &c.Freed[freedSent])
		if s.next.chunk == i {
			s.next = cursor{chunk: c.SndQ.Head}
		}
	}
}

// flight returns how many octets are sent and not acknowledged, SYN and FIN
// included.
func (c *Conn) flight() uint32 { return uint32(c.snd.nxt.From(c.snd.una)) }

// unsent returns how many octets of SndQ were never sent.
func (c *Conn) unsent() uint32 {
	if c.snd.nxt.AtOrAfter(c.snd.end) {
		return 0
	}
	return uint32(c.snd.end.From(c.snd.nxt))
}

// finSent reports whether our FIN has been sent.
func (c *Conn) finSent() bool { return c.snd.nxt.After(c.snd.end) }

// finAcked reports whether our FIN has been acknowledged.
func (c *Conn) finAcked() bool { return c.snd.una.After(c.snd.end) }
