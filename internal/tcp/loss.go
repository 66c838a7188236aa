package tcp

import "usertcp/internal/seq"

// recovered handles what a new acknowledgement of acked octets means for loss
// recovery; flight was in flight before it.
func (c *Conn) recovered(m *Memory, now Time, seg *Segment, acked, flight uint32) {
	l := &c.loss
	full := c.snd.una.AtOrAfter(l.recover)
	restart := true
	switch l.phase {
	case phaseOpen:
		l.dupAcks = 0
		c.onAck(now, acked, flight)
	case phaseRecovery:
		c.onAck(now, acked, flight)
		switch {
		case c.echoesOriginal(seg):
			c.undoRecovery(m, now)
		case full:
			c.endRecovery(now)
		default:
			// "For the first partial ACK that arrives during fast recovery, also reset
			// the retransmit timer" (RFC 6582 section 3.2, step 3)
			restart = !c.has(flagPartialAcked)
			c.partialAck(acked)
		}
	case phaseLoss:
		l.dupAcks = 0
		x := news{acked: acked, original: c.snd.againSeq.AtOrBefore(c.snd.una.Minus(seq.Size(acked)))}
		if c.snd.againSeq.AtOrBefore(c.snd.una) {
			c.restartAgain()
		}
		c.onAck(now, acked, flight)
		switch {
		case c.frtoAck(&x), c.echoesOriginal(seg):
			c.undoRecovery(m, now)
		case full:
			l.phase = phaseOpen
			c.onRecoveryExit(now)
		}
	}
	if restart {
		// "When an ACK is received that acknowledges new data, restart the
		// retransmission timer" (RFC 6298 (5.3))
		c.armResend(now)
	}
}

// dupAck counts a duplicate acknowledgement (RFC 5681 section 3.2, RFC 6582).
func (c *Conn) dupAck(now Time) {
	l := &c.loss
	c.Stats.DupAcks++
	if l.dupAcks < 1<<15 {
		l.dupAcks++
	}
	switch l.phase {
	case phaseRecovery:
		// "For each additional duplicate ACK received (after the third), cwnd MUST be
		// incremented by SMSS": a segment has left the network.
		if !c.ownsWindow() {
			c.cc.cwnd = min(c.cc.cwnd+c.snd.mss, maxBuffer)
		}
	case phaseLoss:
		c.frtoAck(&news{})
	case phaseOpen:
		// If "the Cumulative Acknowledgment field covers more than recover", these are
		// not the echo of what was sent twice (RFC 6582 section 3.2, step 2).
		if l.dupAcks == dupThreshold && c.snd.una.After(l.recover) {
			c.fastRetransmit(now)
		}
	}
}

// fastRetransmit enters fast recovery.
func (c *Conn) fastRetransmit(now Time) {
	c.onMarked(c.snd.mss)
	c.onLoss(now, c.flight())
	// "The lost segment starting at SND.UNA MUST be retransmitted and cwnd set to
	// ssthresh plus 3*SMSS."
	if !c.ownsWindow() {
		c.cc.cwnd = c.cc.ssthresh + dupThreshold*c.snd.mss
	}
	c.loss.phase = phaseRecovery
	c.loss.recover = c.snd.nxt
	c.clear(flagPartialAcked)
	c.armUndo()
	c.pending |= pendResend
	c.armResend(now)
	c.Stats.FastRetransmits++
}

// partialAck handles an acknowledgement that does not end fast recovery: the
// next hole begins where it ends.
func (c *Conn) partialAck(acked uint32) {
	c.onMarked(c.snd.mss)
	c.pending |= pendResend
	c.set(flagPartialAcked)
	if c.ownsWindow() {
		return
	}
	// "Deflate the congestion window by the amount of new data acknowledged … If
	// the partial ACK acknowledges at least one SMSS of new data, then add back
	// SMSS bytes to the congestion window."
	cc := &c.cc
	cc.cwnd -= min(acked, cc.cwnd)
	if acked >= c.snd.mss {
		cc.cwnd += c.snd.mss
	}
	cc.cwnd = max(cc.cwnd, c.snd.mss)
}

// endRecovery ends fast recovery: "Set cwnd to … min (ssthresh, max(FlightSize,
// SMSS) + SMSS)".
func (c *Conn) endRecovery(now Time) {
	if !c.ownsWindow() {
		// A segment may have grown since ssthresh was set: path MTU discovery.
		c.cc.cwnd = max(min(c.cc.ssthresh, max(c.flight(), c.snd.mss)+c.snd.mss), c.snd.mss)
	}
	c.loss.phase = phaseOpen
	c.loss.dupAcks = 0
	c.pending &^= pendResend
	c.onRecoveryExit(now)
}

// resendTimeout is the expiry of the retransmission timer (RFC 6298 section 5).
func (c *Conn) resendTimeout(m *Memory, now Time) {
	s := &c.snd
	if s.retries >= c.patience(m) || c.userTimeout(now) {
		c.end(m, now, c.timeoutError())
		return
	}
	c.Stats.Timeouts++
	if c.State == SynSent || c.State == SynReceived {
		if !c.deferring() {
			c.pending |= pendSyn
			c.fast.state &^= fastHeld
		}
	} else {
		c.suspectHole(now)
		c.startLoss(m, now)
	}
	s.retries++
	c.clear(flagTiming)
	// "The host MUST set RTO <- RTO * 2 ('back off the timer')" (5.5)
	if c.rtt.timeout() < maxRTO {
		c.rtt.shift++
	}
	c.armResend(now)
}

// startLoss believes lost what is in flight, or with selective acknowledgements
// what of it is old enough, and begins again at una.
func (c *Conn) startLoss(m *Memory, now Time) {
	calm, first := c.loss.phase == phaseOpen, c.snd.retries == 0
	if c.has(flagSACK) {
		c.markTimeout(m, now)
	} else if first {
		c.onMarked(c.flight())
	}
	if first {
		c.onRTO(now, c.flight())
	} else {
		// When "the given segment has already been retransmitted by way of the
		// retransmission timer at least once, the value of ssthresh is held constant"
		// (RFC 5681 section 3.1).
		c.cc.cwnd = c.snd.mss
	}
	if calm {
		c.armUndo()
	}
	c.enterLoss()
	c.frtoBegin(first && calm)
}

// enterLoss begins to send again at una all that is in flight, or with selective
// acknowledgements what of it is marked as lost.
func (c *Conn) enterLoss() {
	c.loss.phase = phaseLoss
	c.loss.recover = c.snd.nxt
	c.loss.dupAcks = 0
	c.probing = probeNone
	c.stopLossTimer()
	c.pending &^= pendResend | pendTail
	if c.has(flagSACK) {
		c.pending |= pendResend
	}
	c.restartAgain()
}

// restartAgain puts the cursor of what is sent again to una.
func (c *Conn) restartAgain() {
	c.snd.againSeq = c.snd.una
	c.snd.again = cursor{chunk: None}
	if c.SndQ.Count > 0 {
		c.snd.again = cursor{c.SndQ.Head, c.snd.head}
	}
}

// armResend sets the retransmission timer, which must not outlast the user
// timeout.
func (c *Conn) armResend(now Time) {
	c.arm(timerResend, c.withinTimeout(now, now+c.rtt.timeout()))
}

// withinTimeout returns at, or when the user timeout is over if that is earlier.
func (c *Conn) withinTimeout(now, at Time) Time {
	if u := c.userTimeoutSpan(); u != 0 {
		at = max(min(at, c.snd.since+u), now+Millisecond)
	}
	return at
}

// userTimeout reports whether sent data has waited for longer than the program
// allows (RFC 9293 section 3.8.3, RFC 5482).
func (c *Conn) userTimeout(now Time) bool {
	u := c.userTimeoutSpan()
	return u != 0 && now-c.snd.since >= u
}

// patience returns how many timeouts in a row are too many.
func (c *Conn) patience(m *Memory) uint8 {
	switch {
	case c.State == SynSent, c.State == SynReceived && !c.has(flagPassive):
		return c.Opt.SynRetries
	case c.State == SynReceived:
		return max(c.Opt.SynAckTries, c.deferTries())
	case c.has(flagOrphan):
		tries := m.OrphanTries
		if tries == 0 {
			tries = orphanTries
		}
		return min(tries, c.Opt.DataRetries)
	}
	return c.Opt.DataRetries
}
