package tcp

import "usertcp/internal/seq"

// probing says whether a tail loss probe is out, and of what kind.
type probing uint8

const (
	probeNone   probing = iota
	probeNew            // it carried new data
	probeResent         // it carried the last segment again
)

const (
	tlpAckDelay = 200 * Millisecond // for how long a peer may delay an acknowledgement: RFC 8985's TLP.max_ack_delay
	tlpNoRTT    = 1 * Second        // the probe timeout without a measurement
	tlpFloor    = 2 * Millisecond   // least probe timeout
)

// probeAt returns when the tail of what is in flight has waited for too long
// (RFC 8985 section 7.2).
func (c *Conn) probeAt() Time {
	pto := tlpNoRTT
	if c.rtt.srtt != 0 {
		pto = max(2*c.rtt.srtt, tlpFloor)
		if c.flight() <= c.snd.mss {
			// A lone segment may wait for the peer's delayed acknowledgement.
			pto += tlpAckDelay
		}
	}
	at := max(c.snd.lastData, c.snd.since) + pto
	if rto := c.timers.at[timerResend]; rto != 0 {
		at = min(at, rto)
	}
	return at
}

// mayProbe reports whether a tail loss probe may be sent when the time comes:
// one at a time, and none where other means of recovery are at work.
func (c *Conn) mayProbe() bool {
	return c.has(flagSACK) && c.loss.phase == phaseOpen && c.probing == probeNone &&
		c.board.sacked|c.board.lost == 0 && c.snd.una != c.snd.nxt && c.State >= Established
}

// armProbe sets the probe timer, if it is not set already to an earlier moment:
// probeTimeout then looks again.
func (c *Conn) armProbe(now Time) {
	if c.has(flagReorderTimer) {
		return
	}
	if !c.mayProbe() {
		if c.armed(timerLoss) {
			c.stop(timerLoss)
		}
		return
	}
	at := max(c.probeAt(), now)
	if old := c.timers.at[timerLoss]; old == 0 || at < old {
		c.arm(timerLoss, at)
	}
}

// probeTimeout owes the probe, if nothing has happened for long enough.
func (c *Conn) probeTimeout(now Time) {
	if !c.mayProbe() {
		return
	}
	if at := c.probeAt(); at > now {
		c.arm(timerLoss, at)
		return
	}
	c.oweProbe(now)
}

// oweProbe owes the probe; the retransmission timer starts anew.
func (c *Conn) oweProbe(now Time) {
	c.pending |= pendTail
	c.Stats.TailProbes++
	c.armResend(now)
}

// probesInstead lets a probe take the place of a retransmission timeout that is
// due at the same time.
func (c *Conn) probesInstead(now Time) bool {
	at := c.timers.at[timerLoss]
	if at == 0 || at > now || c.has(flagReorderTimer) || !c.mayProbe() || c.userTimeout(now) {
		return false
	}
	c.stop(timerLoss)
	c.oweProbe(now)
	return true
}

// sendTail makes out a tail loss probe: new data if there is some, though cwnd
// may not allow it, or else the last segment again (RFC 8985 section 7.3).
func (c *Conn) sendTail(m *Memory, now Time, out *Segment) bool {
	if c.pending&pendTail == 0 {
		return false
	}
	s := &c.snd
	if s.una == s.nxt || c.loss.phase != phaseOpen {
		c.pending &^= pendTail
		return false
	}
	c.set(flagOverride)
	fresh := c.sendNew(m, now, out)
	c.clear(flagOverride)
	c.pending &^= pendTail
	c.probing = probeNew
	if !fresh {
		c.probing = probeResent
		c.emitRun(m, now, out, c.lastSegment(m), s.nxt, c.mostData())
	}
	c.probeEnd = s.nxt
	c.stopLossTimer()
	return true
}

// lastSegment returns where the last segment in flight began, as far as that is
// known: the last run began with a segment, and the others were full-sized.
func (c *Conn) lastSegment(m *Memory) seq.Number {
	s, b := &c.snd, &c.board
	from := s.una
	if b.n > 1 {
		from = b.view(m)[b.n-2].end
	}
	stop := seq.Min(s.nxt, s.end)
	if stop.AtOrBefore(from) {
		return from
	}
	n := uint32(stop.From(from))
	return from.Add(seq.Size((n - 1) / s.mss * s.mss))
}

// probeAnswered finds out what an acknowledgement says of the probe (RFC 8985
// section 7.4). twin says that it is a duplicate without news.
func (c *Conn) probeAnswered(now Time, seg *Segment, x *news, twin bool) {
	if c.probing == probeNone || seg.Ack.Before(c.probeEnd) {
		return
	}
	switch {
	case c.probing == probeNew, x.dsack && x.dsackEnd == c.probeEnd, seg.Ack == c.probeEnd && twin:
		// New data cannot have repaired anything; or both copies have arrived.
		c.probing = probeNone
	case seg.Ack.After(c.probeEnd):
		// Nothing says that the original arrived: the probe has repaired a loss, which
		// is answered like one that a recovery has repaired.
		c.probing = probeNone
		c.Stats.TailLosses++
		if c.loss.phase == phaseOpen {
			c.undo = undoing{}
			c.onLoss(now, c.pipe())
			c.prrEnd()
			c.onRecoveryExit(now)
		}
	}
}
