package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// Input is SEGMENT ARRIVES (RFC 9293 section 3.10.7) for a segment of the
// connection's flow whose checksum is right. Payload that is kept is taken out
// of seg.Payload; the rest is the caller's.
func (c *Conn) Input(m *Memory, now Time, seg *Segment) {
	c.begin()
	c.Stats.SegsIn++
	if seg.Len != seg.Payload.Bytes {
		panic("BUG: segment length and payload differ")
	}
	switch c.State {
	case SynSent:
		c.arriveSynSent(m, now, seg)
	case SynReceived:
		c.arriveSynReceived(m, now, seg)
	case Established:
		c.arriveEstablished(m, now, seg)
	case FinWait1:
		c.arriveFinWait1(m, now, seg)
	case FinWait2:
		c.arriveFinWait2(m, now, seg)
	case CloseWait:
		c.arriveCloseWait(m, now, seg)
	case Closing:
		c.arriveClosing(m, now, seg)
	case LastAck:
		c.arriveLastAck(m, now, seg)
	case TimeWait:
		c.arriveTimeWait(m, now, seg)
	default:
		// Whoever owns no connection is answered by ResetFor.
		c.Stats.DropState++
	}
	c.leaveAnnex()
}

// arriveSynSent is RFC 9293 section 3.10.7.3.
func (c *Conn) arriveSynSent(m *Memory, now Time, seg *Segment) {
	acked := seg.Flags&wire.ACK != 0
	if acked && (seg.Ack.AtOrBefore(c.snd.iss) || seg.Ack.After(c.snd.nxt)) {
		// "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is
		// set …) and discard the segment."
		c.refuse(seg)
		c.callAgain(now, seg)
		return
	}
	if seg.Flags&wire.RST != 0 {
		// "If the ACK was acceptable, then signal to the user 'error: connection
		// reset' … Otherwise (no ACK), drop the segment and return."
		if acked {
			c.Stats.Resets++
			c.end(m, now, ErrRefused)
		}
		return
	}
	if seg.Flags&wire.SYN == 0 {
		c.Stats.DropState++
		return
	}
	if acked && c.has(flagFollows) && !c.follows(seg) {
		c.resetAt(seg)
		c.end(m, now, ErrRefused)
		return
	}
	c.takeSyn(now, seg)
	if !acked {
		// Both sides open at the same time: "enter SYN-RECEIVED, form a SYN,ACK
		// segment <SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK> and send it".
		c.pending |= pendSyn
		c.setState(m, now, SynReceived)
		return
	}
	c.fastAnswered(seg)
	c.establish(m, now, seg)
	if seg.Ack.After(c.snd.una) {
		c.newAck(m, now, seg)
	}
	c.pending = pendAck
	c.dropSyn(seg)
	c.arriveText(m, now, seg)
}

// callAgain sends our SYN once more at once, behind the reset that is the answer to an
// acknowledgement of what was never sent. The peer has a connection of former times there,
// and when that has ended (RFC 9293 section 3.5.1, figure 9) nothing else tells it that we
// wait: the timer would, a second later.
func (c *Conn) callAgain(now Time, seg *Segment) {
	if seg.Flags&wire.RST != 0 || c.snd.retries > 0 {
		return
	}
	c.snd.retries++
	c.pending |= pendSyn
	c.fast.state &^= fastHeld
	c.clear(flagTiming)
	c.armResend(now)
}

// arriveSynReceived handles the third segment of a handshake.
func (c *Conn) arriveSynReceived(m *Memory, now Time, seg *Segment) {
	if seg.Flags&(wire.SYN|wire.RST) == wire.SYN && seg.Seq == c.rcv.irs {
		if seg.Flags&wire.ACK == 0 {
			if c.fast.state&fastServer != 0 && c.snd.nxt == c.snd.iss {
				c.takeFast(m, now, seg)
				return
			}
			if !c.repeatedSyn(seg) {
				c.reset()
				c.end(m, now, c.resetError())
				return
			}
			c.resendSynAck(now)
			return
		}
		// The SYN of a simultaneous open comes again, with the acknowledgement of ours.
		// "The window field in a segment where the SYN bit is set … MUST NOT be scaled"
		// (RFC 7323 section 2.2), and all that follow are.
		c.dropSyn(seg)
		seg.Window >>= c.snd.scale
		c.muteACE(seg)
		c.pending |= pendAck
	}
	if !c.screen(m, now, seg) {
		return
	}
	if seg.Ack.AtOrBefore(c.snd.una) || seg.Ack.After(c.snd.nxt) {
		// "If the segment acknowledgment is not acceptable, form a reset segment
		// <SEQ=SEG.ACK><CTL=RST>", and send it.
		c.refuse(seg)
		return
	}
	c.thirdAck(seg)
	if c.deferOpen(seg) {
		return
	}
	c.establish(m, now, seg)
	if c.arriveAck(m, now, seg) {
		c.arriveText(m, now, seg)
	}
}

// resendSynAck answers a SYN that comes again: our answer to it was lost.
func (c *Conn) resendSynAck(now Time) {
	if c.rcv.lastOdd != 0 && now-c.rcv.lastOdd < oddPause {
		return
	}
	c.rcv.lastOdd = max(now, 1)
	c.pending |= pendSyn
}

// dropSyn makes a segment whose SYN has been dealt with one without.
func (c *Conn) dropSyn(seg *Segment) {
	seg.Flags &^= wire.SYN
	seg.Seq = seg.Seq.Add(1)
}

func (c *Conn) arriveEstablished(m *Memory, now Time, seg *Segment) {
	if c.screen(m, now, seg) && c.arriveAck(m, now, seg) {
		c.arriveText(m, now, seg)
	}
}

func (c *Conn) arriveFinWait1(m *Memory, now Time, seg *Segment) {
	if !c.screen(m, now, seg) || !c.arriveAck(m, now, seg) {
		return
	}
	if c.finAcked() {
		c.setState(m, now, FinWait2)
	}
	c.arriveText(m, now, seg)
}

func (c *Conn) arriveFinWait2(m *Memory, now Time, seg *Segment) {
	if c.screen(m, now, seg) && c.arriveAck(m, now, seg) {
		c.arriveText(m, now, seg)
	}
}

// arriveCloseWait is also what the states after the peer's FIN have in common:
// "This should not occur since a FIN has been received from the remote side.
// Ignore the segment text."
func (c *Conn) arriveCloseWait(m *Memory, now Time, seg *Segment) bool {
	if !c.screen(m, now, seg) || !c.arriveAck(m, now, seg) {
		return false
	}
	if seg.Len > 0 {
		c.Stats.DropState++
	}
	return true
}

func (c *Conn) arriveClosing(m *Memory, now Time, seg *Segment) {
	if c.arriveCloseWait(m, now, seg) && c.finAcked() {
		c.setState(m, now, TimeWait)
	}
}

func (c *Conn) arriveLastAck(m *Memory, now Time, seg *Segment) {
	if c.arriveCloseWait(m, now, seg) && c.finAcked() {
		c.setState(m, now, Closed)
	}
}

// arriveTimeWait handles what is left when all is said. The retransmission of
// the peer's FIN lies before the window: answerUnacceptable acknowledges it.
func (c *Conn) arriveTimeWait(m *Memory, now Time, seg *Segment) {
	if seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN {
		c.set(flagCalled)
	}
	c.arriveCloseWait(m, now, seg)
}

// arriveFin handles the peer's FIN, once all before it is there.
func (c *Conn) arriveFin(m *Memory, now Time) {
	// "advance RCV.NXT over the FIN, and send an acknowledgment for the FIN"
	c.set(flagFinReceived)
	c.rcv.nxt = c.rcv.fin.Add(1)
	c.rcv.edge = seq.Max(c.rcv.edge, c.rcv.nxt)
	c.pending |= pendAck
	c.Events |= EventReadable
	c.dropRanges(m)
	switch c.State {
	case Established:
		c.setState(m, now, CloseWait)
	case FinWait1:
		// Our FIN is not acknowledged, or this would be FIN-WAIT-2.
		c.setState(m, now, Closing)
	case FinWait2:
		c.setState(m, now, TimeWait)
	default:
		panic("BUG: FIN reached in " + c.State.String())
	}
}
