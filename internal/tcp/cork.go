package tcp

// Corkable reports whether what NextSegment would send is just new data that
// does not fill a segment. A half whose peer has not yet looked at what was sent
// before may let it wait and grow: no acknowledgement, FIN or retransmission is
// held back by that. Nor is the first segment of a request, since the packets
// that the peer has not looked at are then other connections': there would be
// nothing to grow behind, and of many connections all would wait for each.
func (c *Conn) Corkable() bool { return c.CorkableBelow(c.snd.mss) }

// CorkableBelow reports whether it is new data of fewer octets than that.
func (c *Conn) CorkableBelow(octets uint32) bool {
	unsent := c.snd.end.From(c.snd.nxt)
	return c.pending == 0 && c.Opt.NoAutoCork == 0 && c.loss.phase == phaseOpen && c.board.lost == 0 && !c.has(flagFinQueued) &&
		c.State >= Established && c.snd.nxt != c.snd.una && unsent > 0 && uint32(unsent) < octets
}
