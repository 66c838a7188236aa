package tcp

// Pacing spreads what the window allows over the round trip. Segments leave in
// small bursts, of what about a millisecond of the pace is: a timer for each would
// cost more than it is worth.

// Bounds of a burst, in octets; the lower one is two segments.
const mostBurst = 64 << 10

// burst returns how long the pace needs for one burst.
func (c *Conn) burst() Time {
	pace := c.rate.pace
	n := min(pace>>10, mostBurst)
	return takes(max(uint32(n), 2*c.snd.mss), pace)
}

// pacing reports whether pacing forbids that data leaves now; then timerPace says
// when it may, if there is any.
func (c *Conn) pacing(now Time) bool {
	r := &c.rate
	if c.armed(timerPace) {
		if now < r.paceAt {
			return true
		}
		c.stop(timerPace)
	}
	if r.pace == 0 || r.paceAt <= now || r.paceAt-now < c.burst() {
		return false
	}
	if c.unsent() > 0 || c.has(flagFinQueued) && !c.finSent() || c.pending&pendResend != 0 || c.loss.phase != phaseOpen {
		c.arm(timerPace, r.paceAt)
	}
	return true
}

// notePaced puts off the next departure by what n octets take.
func (c *Conn) notePaced(now Time, n uint32) {
	if r := &c.rate; r.pace != 0 {
		r.paceAt = max(r.paceAt, now) + takes(n, r.pace)
	}
}

// setPace sets the pace of a congestion control that has none of its own.
func (c *Conn) setPace() {
	c.rate.pace = 0
	if c.Opt.Pacing != 0 && c.rtt.srtt != 0 {
		c.rate.pace = c.windowPace()
	}
}

// windowPace returns the pace in octets a second that makes good use of cwnd:
// twice the window in a round trip while it may double, and 6/5 of it after that,
// as Linux does it.
func (c *Conn) windowPace() uint64 {
	cc := &c.cc
	n := uint64(cc.cwnd) * 6 / 5
	if cc.cwnd < cc.ssthresh/2 {
		n = uint64(cc.cwnd) * 2
	}
	return max(n*uint64(Second)/uint64(c.rtt.srtt), 1)
}
