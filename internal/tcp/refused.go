package tcp

// A device can be unable to take a segment: its queue is full, or the kernel has no
// memory for it now. That is no loss, since nothing has left: the caller puts the
// connection back to what it was before NextSegment, and says so with Refused. As in
// Linux the segment waits for the next occasion (an acknowledgement, a call of the
// program's), and if nothing is in flight that could bring one for a timer.
const (
	// refusedPause is how long after a timer has tried in vain it tries again: Linux's
	// TCP_RESOURCE_PROBE_INTERVAL. It does not grow: the path is not to blame.
	refusedPause = 500 * Millisecond

	// refusedLimit is for how long tries do not count that a device has refused:
	// "The value of R2 SHOULD correspond to at least 100 seconds" (RFC 9293 SHLD-11).
	// Linux counts them if nothing is in flight, so that it gives up after 8 s.
	refusedLimit = 100 * Second
)

// Refused says that the device could not take the data, or the FIN, that NextSegment
// has made out, and that the connection is what it was before. Other segments that
// are refused are as good as lost.
func (c *Conn) Refused(now Time) {
	c.begin()
	if c.State < Established {
		return // the timer of the handshake runs
	}
	first := !c.has(flagRefused)
	c.set(flagRefused)
	c.clear(flagOverride)
	switch {
	case c.flight() == 0:
		if !c.armed(timerPersist) {
			c.snd.probes, c.snd.probeShift = 0, 0
			c.arm(timerPersist, now+c.rtt.rto)
		}
	case c.loss.phase == phaseLoss && first:
		c.refusedAgain(now)
	default:
		// To Linux a full queue of our own is congestion, as a mark is.
		c.shrink(now, c.flight())
	}
}

// refusedAgain puts off what the retransmission timer wanted to send again: the
// timer is not backed off for it.
func (c *Conn) refusedAgain(now Time) {
	s := &c.snd
	c.rtt.shift -= min(c.rtt.shift, 1)
	if now-s.since < refusedLimit {
		s.retries -= min(s.retries, 1)
	}
	c.arm(timerResend, c.withinTimeout(now, now+refusedPause))
}

// refusedTimeout is the expiry of the persist timer while the device takes nothing:
// another try. It reports false if the connection has ended.
func (c *Conn) refusedTimeout(m *Memory, now Time) {
	s := &c.snd
	switch {
	case s.probes == 0:
		s.since = now // as Linux counts it, from the first try of the timer's on
	case c.userTimeout(now), s.probes >= c.patience(m) && now-s.since >= refusedLimit:
		c.end(m, now, ErrTimeout)
		return
	}
	s.probes = min(s.probes+1, 254)
	c.set(flagOverride) // also of what was corked
	c.arm(timerPersist, c.withinTimeout(now, now+refusedPause))
}

// accepted notes that the device takes data again.
func (c *Conn) accepted() {
	if c.has(flagRefused) {
		c.clear(flagRefused)
		c.snd.probes, c.snd.probeShift = 0, 0
	}
}
