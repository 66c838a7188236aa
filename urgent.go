package usertcp

import "syscall"

// WriteUrgent writes p and marks its last octet as urgent: MSG_OOB of the kernel.
// RFC 6093 advises new protocols against it; it is here for old ones.
func (c *Conn) WriteUrgent(p []byte) (int, error) {
	n, err := c.sock.WriteUrgent(p)
	return n, c.fail("write", err)
}

// ReadUrgent waits for an urgent octet, until the read deadline, and returns it.
// Meanwhile Read goes on, stops where the octet was, and passes over it. It
// returns io.EOF if none can come any more; errors.Is finds EINVAL after
// SetUrgentInline(true).
func (c *Conn) ReadUrgent() (byte, error) {
	b, err := c.sock.ReadUrgent()
	return b, c.fail("read", err)
}

// SetUrgentInline leaves urgent data in its place in the stream (SO_OOBINLINE).
// Read stops before the urgent octet, and AtMark tells of it.
func (c *Conn) SetUrgentInline(on bool) error {
	return c.setSocket(syscall.SO_OOBINLINE, toInt(on))
}

// AtMark reports whether reading has come to the urgent octet: SIOCATMARK of the
// kernel.
func (c *Conn) AtMark() bool { return c.sock.AtMark() }
