package tcp

var stateNames = [...]string{
	"CLOSED", "LISTEN", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
	"FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT",
}

// String returns the state's name in RFC 9293.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "state out of range"
}

// Synchronized reports whether both sides know each other's sequence numbers:
// ESTABLISHED and what follows it.
func (s State) Synchronized() bool { return s >= Established }

var errorNames = [...]string{
	"no error", "connection refused", "connection reset by peer", "connection timed out",
	"connection aborted", "no route to host", "segment damaged", "network is unreachable", "permission denied",
}

// String says what happened.
func (e Error) String() string {
	if int(e) < len(errorNames) {
		return errorNames[e]
	}
	return "error out of range"
}

// setState makes all transitions.
func (c *Conn) setState(m *Memory, now Time, s State) {
	c.State = s
	switch s {
	case FinWait2:
		c.Events |= EventWritable // whoever lingers in Close may go
		if c.has(flagOrphan) {
			c.arm(timerLife, now+c.finWait(m))
		}
	case TimeWait:
		c.stopAll()
		c.arm(timerLife, now+timeWait)
		c.Events |= EventTimeWait
	case Closed:
		c.stopAll()
		c.limited.advance(now)
		c.limited.now = limitNone
		c.pending &= pendReset | pendRefuse
		c.purge(m)
		c.Events |= EventClosed
	}
}

// purge gives up all chunks that nobody can want any more. What is in order
// stays for the program to read, if there still is one.
func (c *Conn) purge(m *Memory) {
	c.SndQ.shedAll(&c.Freed[freedSent])
	c.snd.head = 0
	c.snd.next = cursor{chunk: None}
	c.snd.again = c.snd.next
	c.board.begin(c.snd.una)
	c.probing = probeNone
	c.dropRanges(m)
	c.leaveAnnex()
	if c.has(flagOrphan) {
		c.purgeRead()
	}
}

// purgeRead gives up what the program has not read.
func (c *Conn) purgeRead() {
	c.RcvQ.shedAll(&c.Freed[freedRead])
	c.RcvHead = 0
}

// end takes the connection to CLOSED, with e for the program.
func (c *Conn) end(m *Memory, now Time, e Error) {
	if e != ErrNone {
		c.Error = e
		c.Events |= EventError | EventReadable | EventWritable
	}
	c.setState(m, now, Closed)
}

// begin asserts what holds before every step.
func (c *Conn) begin() {
	if c.Freed[freedSent].Count|c.Freed[freedRead].Count|c.Freed[freedRest].Count != 0 {
		panic("BUG: freed chunks of the last step were not taken")
	}
	c.unturned()
}
