package tcp

// The timers of a connection.
const (
	timerResend  = iota // RFC 6298
	timerPersist        // zero-window probes and the override of SWS avoidance
	timerAck            // delayed acknowledgement
	timerKeep           // keep-alive
	timerLife           // TIME-WAIT, and FIN-WAIT-2 of an orphan
	timerLoss           // RACK-TLP: reordering or tail loss probe (RFC 8985)
	timerPace           // pacing: the next burst may leave
)

// arm sets a timer, whether or not it is set already.
func (c *Conn) arm(i int, at Time) {
	t := &c.timers
	old := t.at[i]
	t.at[i] = at
	switch {
	case t.next == 0 || at <= t.next:
		t.next = at
	case old == t.next:
		t.findNext()
	}
}

// stop clears a timer.
func (c *Conn) stop(i int) {
	t := &c.timers
	old := t.at[i]
	t.at[i] = 0
	if old != 0 && old == t.next {
		t.findNext()
	}
}

// stopSending clears the timers that watch what is in flight, and the one that
// waits to send if there is nothing to be sent.
func (c *Conn) stopSending() {
	t := &c.timers
	t.at[timerResend], t.at[timerLoss] = 0, 0
	if c.unsent() == 0 && (!c.has(flagFinQueued) || c.finSent()) {
		t.at[timerPace] = 0
	}
	c.clear(flagReorderTimer)
	t.findNext()
}

// armed reports whether a timer is set.
func (c *Conn) armed(i int) bool { return c.timers.at[i] != 0 }

// stopAll clears all timers.
func (c *Conn) stopAll() { c.timers = timers{} }

// findNext finds the earliest timer.
func (t *timers) findNext() {
	t.next = 0
	for _, at := range t.at {
		if at != 0 && (t.next == 0 || at < t.next) {
			t.next = at
		}
	}
}

// Deadline returns when Timeout must be called, Never if nothing is due.
func (c *Conn) Deadline() Time {
	if c.timers.next == 0 {
		return Never
	}
	return c.timers.next
}

// Timeout does what is due at now. It is cheap if nothing is.
func (c *Conn) Timeout(m *Memory, now Time) {
	if c.Deadline() > now {
		return
	}
	c.begin()
	for i, at := range c.timers.at {
		// A timer that an earlier one has cleared or moved is not due any more.
		if at != 0 && at <= now && c.timers.at[i] == at {
			c.stop(i)
			c.expire(m, now, i)
		}
	}
}

// expire does what timer i is for.
func (c *Conn) expire(m *Memory, now Time, i int) {
	switch i {
	case timerResend:
		if !c.probesInstead(now) {
			c.resendTimeout(m, now)
		}
	case timerLoss:
		c.lossTimeout(m, now)
	case timerPersist:
		c.persistTimeout(m, now)
	case timerAck:
		c.pending |= pendAck
	case timerKeep:
		c.keepTimeout(m, now)
	case timerLife:
		c.lifeTimeout(m, now)
	}
}
