package tcp

// Orphaned reports whether Close was called: nobody waits for the connection.
func (c *Conn) Orphaned() bool { return c.has(flagOrphan) }

// Queues appends to dst all queues through which the connection refers to
// chunks: for whoever has to find out what is in use.
func (c *Conn) Queues(m *Memory, dst []Queue) []Queue {
	dst = append(dst, c.SndQ, c.RcvQ)
	for _, r := range c.ooo.view(m) {
		dst = append(dst, r.queue())
	}
	return dst
}
