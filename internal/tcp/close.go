package tcp

// Shutdown is the CLOSE call (RFC 9293 section 3.10.4): the program will send no
// more. What it has written is sent, then the FIN.
func (c *Conn) Shutdown(m *Memory, now Time) {
	c.begin()
	c.shutdown(m, now)
}

func (c *Conn) shutdown(m *Memory, now Time) {
	if c.State == SynSent && (c.SndQ.Count > 0 || c.FastHeld() && !c.has(flagOrphan)) {
		// To the program a connection with Fast Open is open, and what travels in the SYN
		// is promised to arrive.
		c.set(flagFinQueued)
		c.LetFast()
		return
	}
	switch c.State {
	case Listen, SynSent:
		// "Delete the TCB".
		c.pending = 0
		c.setState(m, now, Closed)
	case SynReceived:
		// "queue for processing after entering ESTABLISHED state"
		c.set(flagFinQueued)
	case Established:
		c.set(flagFinQueued)
		c.setState(m, now, FinWait1)
	case CloseWait:
		c.set(flagFinQueued)
		c.setState(m, now, LastAck)
	}
}

// CloseRead says that the program will read no more. What is there is given up;
// what comes is acknowledged and given up.
func (c *Conn) CloseRead(m *Memory, now Time) {
	c.begin()
	c.set(flagReadClosed)
	c.purgeRead()
	c.freePeer()
}

// Close says that nobody waits for the connection any more: the program has
// closed its socket, or died. What was written is sent and the connection closed
// in order, unless the program leaves data unread or asked for an abort.
func (c *Conn) Close(m *Memory, now Time) {
	c.begin()
	unread, _ := c.Readable()
	c.set(flagOrphan)
	switch c.State {
	case Closed, TimeWait:
		c.purgeRead()
		return
	case Listen, SynSent:
		c.shutdown(m, now)
		return
	}
	if unread > 0 || c.Opt.LingerSet != 0 && c.Opt.Linger == 0 {
		// "its TCP implementation SHOULD send a RST to show that data was lost" (RFC
		// 9293 SHLD-3; RFC 2525 section 2.17)
		c.reset()
		c.end(m, now, ErrNone)
		return
	}
	c.shutdown(m, now)
	if c.State == FinWait2 {
		c.arm(timerLife, now+c.finWait(m))
	}
}

// finWait returns how long an orphan waits for the peer's FIN: what the program has
// said (TCP_LINGER2), or the host. RFC 9293 has no such limit; as in Linux it is at
// least the time in which a FIN that is lost comes again. 0 is no wait at all.
func (c *Conn) finWait(m *Memory) Time {
	d := m.FinWait
	switch {
	case c.Opt.NoFinWait != 0:
		return 0
	case c.Opt.FinWait > 0:
		d = Time(c.Opt.FinWait) * Second
	case d == 0:
		d = orphanWait
	}
	return max(d, c.rtt.rto*7/2)
}

// lifeTimeout ends what has waited long enough. An orphan that was not to wait says
// so to its peer; one that has waited is forgotten, and the peer's next segment is
// answered with RST.
func (c *Conn) lifeTimeout(m *Memory, now Time) {
	if c.State == FinWait2 && c.Opt.NoFinWait != 0 {
		c.reset()
	}
	c.end(m, now, ErrNone)
}

// Abort is the ABORT call (RFC 9293 section 3.10.5): the connection goes to
// CLOSED at once, with an RST where the peer knows of it.
func (c *Conn) Abort(m *Memory, now Time) {
	c.begin()
	switch c.State {
	case Closed:
		return
	case SynReceived, Established, FinWait1, FinWait2, CloseWait:
		// "send a reset segment: <SEQ=SND.NXT><CTL=RST>"
		c.reset()
	case Listen, SynSent:
		c.pending = 0
	}
	c.end(m, now, ErrAborted)
}

// Fail takes the connection to CLOSED without a word to the peer: e is why it
// cannot go on.
func (c *Conn) Fail(m *Memory, now Time, e Error) {
	c.begin()
	if c.State == Closed {
		return
	}
	c.pending = 0
	c.end(m, now, e)
}
