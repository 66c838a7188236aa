package tcp

import "usertcp/internal/seq"

// Unreachable says that a router or the peer's host could not deliver a segment
// of ours with sequence number quoted, for reason e.
//
// While we open a connection that ends the attempt, whatever the reason: RFC 5461
// section 4 describes this of most implementations, Linux does it, and the reason is that
// who has other addresses to try need not wait for minutes. It departs from
// "a TCP implementation MUST NOT abort the connection (MUST-56)" for soft errors (RFC
// 9293 section 3.9.2.2), which the same section notes. Once the peer has answered, no
// message ends a connection: "hard" ones may be forged (RFC 5927 section 5.2). They
// are what the program is told if the connection times out in the end.
func (c *Conn) Unreachable(m *Memory, now Time, e Error, quoted seq.Number) {
	c.begin()
	if c.State < SynSent || c.State == TimeWait || quoted.Before(c.snd.una) || quoted.AtOrAfter(c.snd.nxt) {
		return
	}
	if c.State == SynSent {
		// "These are hard error conditions, so TCP implementations SHOULD abort the
		// connection (SHLD-26)."
		c.pending = 0
		c.end(m, now, e)
		return
	}
	c.Soft = e
}

// timeoutError returns why a connection has timed out: what ICMP said last, if
// it did.
func (c *Conn) timeoutError() Error {
	if c.Soft != ErrNone {
		return c.Soft
	}
	return ErrTimeout
}
