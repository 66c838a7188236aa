package tcp

import "usertcp/internal/wire"

// watchWindow sets the persist timer when there is something to send, nothing in
// flight that could bring an acknowledgement, and yet nothing may leave: the
// window is closed or silly, or the program has corked the connection.
func (c *Conn) watchWindow(now Time) {
	if c.flight() > 0 || c.armed(timerPersist) || c.State < Established {
		return
	}
	if c.unsent() > 0 || c.has(flagFinQueued) && !c.finSent() {
		if c.snd.probes == 0 {
			c.snd.since = now
		}
		c.arm(timerPersist, now+backOff(c.rtt.rto, c.snd.probeShift))
	}
}

// persistTimeout is the expiry of the persist timer. "The transmitting host
// SHOULD send the first zero-window probe when a zero window has existed for the
// retransmission timeout period …, and SHOULD increase exponentially the interval
// between successive probes" (RFC 9293 SHLD-29, SHLD-30).
func (c *Conn) persistTimeout(m *Memory, now Time) {
	s := &c.snd
	if c.has(flagRefused) && c.sndEdge().After(s.nxt) {
		c.refusedTimeout(m, now)
		return
	}
	if s.probes >= c.patience(m) || s.probes > 0 && c.userTimeout(now) {
		c.end(m, now, ErrTimeout)
		return
	}
	if c.sndEdge().After(s.nxt) {
		// The override of silly-window avoidance: what fits goes.
		c.set(flagOverride)
	} else {
		s.probes++
		c.pending |= pendProbe
	}
	s.probeShift = min(s.probeShift+1, 16)
	c.arm(timerPersist, now+backOff(c.rtt.rto, s.probeShift))
}

// emitProbe makes out a segment that the peer must answer as it lies before its
// window. It carries no new octet, so it can be lost or repeated at will; Linux
// and BSD probe in the same way.
func (c *Conn) emitProbe(now Time, out *Segment) {
	c.pending &^= pendProbe
	at := c.snd.una.Minus(1)
	if c.urgent.sending != 0 {
		at = c.snd.una // or the peer, to whom it is old, would not look at the pointer
	}
	c.emit(now, out, at, 0)
	c.markUrgent(out)
	c.Stats.Probes++
}

// Prod asks the peer whether it is there: what led to it has gone. It is no keep-alive,
// which comes by itself: who is still there answers once.
func (c *Conn) Prod() {
	c.begin()
	if c.State.Synchronized() && c.State != TimeWait {
		c.pending |= pendProbe
	}
}

// keepAlive sets the keep-alive timer, if the program wants it (RFC 9293 section
// 3.8.4).
func (c *Conn) keepAlive(now Time) {
	if c.Opt.KeepAlive == 0 || !c.State.Synchronized() || c.State == TimeWait {
		c.stop(timerKeep)
		return
	}
	c.arm(timerKeep, max(c.rcv.lastSeg+c.keepIdle(), now))
}

// keepIdle returns how long the peer is silent before we ask whether it is there. If it
// asks, too, one of both asks for both: the other, whose first sequence number is the
// smaller one, waits for an eighth longer.
func (c *Conn) keepIdle() Time {
	idle := seconds(c.Opt.KeepIdle)
	if c.has(flagPeerProbes) && c.snd.iss.Before(c.rcv.irs) {
		idle += idle / 8
	}
	return idle
}

// hearProbe takes a segment that is not acceptable for a sign of life if it is the
// peer's keep-alive: "no data or acknowledgment packets have been received" (MUST-26)
// does not hold then. Nobody but the peer knows both numbers.
func (c *Conn) hearProbe(now Time, seg *Segment) {
	if seg.Flags&(wire.SYN|wire.FIN|wire.ACK) != wire.ACK || seg.Seq != c.rcv.nxt.Minus(1) || seg.Ack != c.snd.nxt {
		return
	}
	c.rcv.lastSeg = now
	c.snd.keepProbes = 0
	c.set(flagPeerProbes)
}

func seconds(n uint32) Time { return Time(max(n, 1)) * Second }

// keptLongEnough reports whether the peer has been silent for too long. As in
// Linux a user timeout stands in for the number of probes.
func (c *Conn) keptLongEnough(now Time) bool {
	if u := c.userTimeoutSpan(); u != 0 {
		return c.snd.keepProbes > 0 && now-c.rcv.lastSeg >= u
	}
	return c.snd.keepProbes >= c.Opt.KeepCount
}

// keepTimeout is the expiry of the keep-alive timer. "Keep-alive packets MUST
// only be sent when no sent data is outstanding, and no data or acknowledgment
// packets have been received for the connection within an interval" (MUST-26).
func (c *Conn) keepTimeout(m *Memory, now Time) {
	s := &c.snd
	idle := c.keepIdle()
	switch due := c.rcv.lastSeg + idle; {
	case c.flight() > 0 || c.unsent() > 0:
		c.arm(timerKeep, now+idle)
	case s.keepProbes == 0 && due > now:
		c.arm(timerKeep, due)
	case c.keptLongEnough(now):
		c.reset()
		c.end(m, now, ErrTimeout)
	default:
		c.clear(flagPeerProbes)
		s.keepProbes = min(s.keepProbes+1, 254)
		c.pending |= pendProbe
		c.arm(timerKeep, now+seconds(c.Opt.KeepInterval))
	}
}
