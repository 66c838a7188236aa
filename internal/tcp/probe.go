package tcp

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
	if s.probes >= c.patience() || s.probes > 0 && c.userTimeout(now) {
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
	c.emit(now, out, c.snd.una.Minus(1), 0)
	c.Stats.Probes++
}

// keepAlive sets the keep-alive timer, if the program wants it (RFC 9293 section
// 3.8.4).
func (c *Conn) keepAlive(now Time) {
	if c.Opt.KeepAlive == 0 || !c.State.Synchronized() || c.State == TimeWait {
		c.stop(timerKeep)
		return
	}
	c.arm(timerKeep, now+seconds(c.Opt.KeepIdle))
}

func seconds(n uint32) Time { return Time(max(n, 1)) * Second }

// keepTimeout is the expiry of the keep-alive timer. "Keep-alive packets MUST
// only be sent when no sent data is outstanding, and no data or acknowledgment
// packets have been received for the connection within an interval" (MUST-26).
func (c *Conn) keepTimeout(m *Memory, now Time) {
	s := &c.snd
	idle := seconds(c.Opt.KeepIdle)
	switch due := c.rcv.lastSeg + idle; {
	case c.flight() > 0 || c.unsent() > 0:
		c.arm(timerKeep, now+idle)
	case s.keepProbes == 0 && due > now:
		c.arm(timerKeep, due)
	case s.keepProbes >= c.Opt.KeepCount:
		c.reset()
		c.end(m, now, ErrTimeout)
	default:
		s.keepProbes++
		c.pending |= pendProbe
		c.arm(timerKeep, now+seconds(c.Opt.KeepInterval))
	}
}

// OptionsChanged must be called when the program has changed Opt.
func (c *Conn) OptionsChanged(now Time) {
	c.Opt.RcvBuf = min(c.Opt.RcvBuf, maxBuffer)
	c.Opt.SndBuf = min(c.Opt.SndBuf, maxBuffer)
	if on := c.Opt.KeepAlive != 0; !on || !c.armed(timerKeep) {
		c.snd.keepProbes = 0
		c.keepAlive(now)
	}
	c.chooseCongestion(now)
	if c.Opt.QuickAck != 0 && c.armed(timerAck) {
		c.pending |= pendAck
	}
}
