package usertcp

// WriteMore writes p and says that more comes: MSG_MORE of the kernel. What does
// not fill a segment waits for what the next call writes, whatever SetNoDelay
// says; for a retransmission timeout at most, or until the peer's next segment.
func (c *Conn) WriteMore(p []byte) (int, error) {
	n, err := c.sock.WriteMore(p)
	return n, c.fail("write", err)
}

// Peek reads as Read does, and leaves what it reads for the next Read: MSG_PEEK of
// the kernel.
func (c *Conn) Peek(p []byte) (int, error) {
	n, err := c.sock.Peek(p)
	return n, c.fail("read", err)
}
