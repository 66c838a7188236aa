package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// span returns how much sequence space a segment takes: SEG.LEN of RFC 9293.
func (s *Segment) span() seq.Size {
	n := seq.Size(s.Len)
	if s.Flags&wire.SYN != 0 {
		n++
	}
	if s.Flags&wire.FIN != 0 {
		n++
	}
	return n
}

// ResetFor makes out the answer to a segment that no connection owns (RFC 9293
// section 3.10.7.1). It returns false if there is none.
func ResetFor(seg *Segment, out *Segment) bool {
	// "An incoming segment containing a RST is discarded."
	if seg.Flags&wire.RST != 0 {
		return false
	}
	if seg.Flags&wire.ACK != 0 {
		// "<SEQ=SEG.ACK><CTL=RST>"
		*out = Segment{Seq: seg.Ack, Flags: wire.RST}
		return true
	}
	// "<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>"
	*out = Segment{Ack: seg.Seq.Add(seg.span()), Flags: wire.RST | wire.ACK}
	return true
}

// refuse owes the RST for an acknowledgement of something that was never sent:
// "<SEQ=SEG.ACK><CTL=RST>".
func (c *Conn) refuse(seg *Segment) {
	c.Stats.DropAck++
	if seg.Flags&wire.RST != 0 {
		return
	}
	c.resetAt(seg)
}

// resetAt owes an RST whose number is what the peer expects next, as its
// acknowledgement says.
func (c *Conn) resetAt(seg *Segment) {
	c.snd.reset = seg.Ack
	c.pending |= pendRefuse
}

// reset owes the RST of an abort. Its number must be one that the peer accepts,
// so not beyond the window.
func (c *Conn) reset() {
	s := &c.snd
	s.reset = s.nxt
	if edge := s.una.Add(seq.Size(s.wnd)); s.nxt.After(edge) {
		s.reset = edge
	}
	c.pending |= pendReset
}

// emitReset emits the RST that is owed.
func (c *Conn) emitReset(now Time, out *Segment) bool {
	*out = Segment{Seq: c.snd.reset, Flags: wire.RST}
	if c.pending&pendRefuse == 0 {
		out.Flags |= wire.ACK
		out.Ack = c.rcv.nxt
		if c.has(flagTimestamps) {
			// "the TSopt MUST be sent in every non-<RST> segment for the duration of the
			// connection, and SHOULD be sent in an <RST> segment" (RFC 7323 section 3.2)
			c.timestamps(now, &out.Options)
		}
	}
	c.pending &^= pendReset | pendRefuse
	c.Stats.Resets++
	c.Stats.SegsOut++
	return true
}

// arriveReset handles an RST. In a synchronized state it is believed only if it
// hits rcv.nxt, and asked about elsewhere in the window (RFC 5961 section 3.2).
func (c *Conn) arriveReset(m *Memory, now Time, seg *Segment) {
	if c.State == TimeWait && (!c.has(flagCalled) || seg.Seq != c.rcv.nxt) {
		// An RST that an old duplicate has called forth would end TIME-WAIT too early, and
		// let more old duplicates in: so it is ignored, the first fix of RFC 1337 section
		// 3. RFC 9293 section 3.10.7.4 would have the connection deleted, and so it is
		// where somebody opens the connection anew with a SYN that is not known to be
		// younger, another program with other numbers, say: it answers our acknowledgement
		// with RST, and would wait for us for a minute.
		c.Stats.DropState++
		return
	}
	if seg.Seq != c.rcv.nxt {
		c.challenge(now)
		return
	}
	c.Stats.Resets++
	c.end(m, now, c.resetError())
}

// resetError returns what the program is told when the peer resets.
func (c *Conn) resetError() Error {
	switch c.State {
	case SynReceived:
		if c.has(flagPassive) {
			return ErrReset
		}
		return ErrRefused
	case Closing, LastAck, TimeWait:
		// Both sides have closed: "enter the CLOSED state, delete the TCB" and no more.
		return ErrNone
	}
	return ErrReset
}
