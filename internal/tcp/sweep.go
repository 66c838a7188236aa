package tcp

// Orphaned reports whether Close was called: nobody waits for the connection.
func (c *Conn) Orphaned() bool { return c.has(flagOrphan) }

// Queues appends to dst all queues through which the connection refers to
// chunks: for whoever has to find out what is in use.
func (c *Conn) Queues(dst []Queue) []Queue {
	dst = append(dst, c.SndQ, c.RcvQ)
	for _, r := range c.ooo.ranges[:min(int(c.ooo.n), oooRanges)] {
		dst = append(dst, Queue{Head: r.head, Tail: r.tail, Count: r.count, Bytes: uint32(r.end.From(r.start))})
	}
	return dst
}
