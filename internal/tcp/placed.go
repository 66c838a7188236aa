package tcp

// Prepared reports whether the octets that come next would be the next ones that the
// program reads: nothing lies before them, nothing is missing, and no urgent octet is to
// be taken out. Then it pays to have them placed in the memory of a RECEIVE call that
// waits already.
func (c *Conn) Prepared() bool {
	return c.RcvQ.Count == 0 && c.ooo.n == 0 && c.urgent.mark == markNone && c.receives() && !c.has(flagReadClosed|flagFinKnown)
}

// InputRead is Input, and in the same step the RECEIVE call of a program that waits for
// the first n octets of the segment's text and has them already: only the rest need lie
// in the chunks. It reports false if they are not what comes next, or if not all of them
// were taken; then it was Input only, and the caller has to see to it that the chunks
// hold these octets, too, before the step ends.
func (c *Conn) InputRead(m *Memory, now Time, seg *Segment, n uint32) bool {
	next := c.Prepared() && seg.Seq == c.rcv.nxt
	c.Input(m, now, seg)
	// What the queue has now begins with the segment's first octet.
	if !next || c.RcvQ.Bytes < n || c.urgent.mark != markNone {
		return false
	}
	c.read(m, now, n)
	return true
}
