package tcp

import "usertcp/internal/wire"

// TCP_DEFER_ACCEPT: a connection that a listener was asked for counts as open
// only when its first data has come, so that the program is not woken for
// nothing. A bare acknowledgement of our SYN-ACK is passed over until the
// program's patience is at its end; then the SYN-ACK is sent once more, and what
// the peer answers opens the connection.

// deferTries returns how many timeouts of the SYN-ACK make up the time that the
// program allows, as Linux counts it.
func (c *Conn) deferTries() uint8 {
	limit := Time(c.Opt.DeferAccept) * Second
	if limit == 0 {
		return 0
	}
	n := uint8(1)
	for passed := initialRTO; passed < limit && n < 60; n++ {
		passed += backOff(initialRTO, n)
	}
	return n
}

// deferOpen reports whether the acknowledgement of our SYN-ACK is to be passed
// over.
func (c *Conn) deferOpen(seg *Segment) bool {
	if c.Opt.DeferAccept == 0 || c.fast.state&fastServer != 0 || !c.has(flagPassive) || seg.Len > 0 || seg.Flags&wire.FIN != 0 || c.snd.retries >= c.deferTries() {
		return false
	}
	c.held.acked = 1
	return true
}

// deferring reports whether a timeout of the SYN-ACK passes in silence: the peer
// has it. The last one does not.
func (c *Conn) deferring() bool {
	return c.held.acked != 0 && c.snd.retries+1 < c.deferTries()
}
