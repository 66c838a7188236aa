package tcp

import "usertcp/internal/seq"

// noSegment is a number that no segment in flight can have.
func (c *Conn) noSegment() seq.Number { return c.snd.nxt }

// resendLarge sends again, in segments that fit, what is in flight in packets larger
// than those of now. All of them are lost, for a router which can't pass on one of them
// passes on none: the one that it quotes, those behind it, of which it need not speak
// (RFC 1812 section 4.3.2.8), and those that a timeout has sent again as they were.
// Waiting until each is missed would need a timeout where nothing that fits is behind
// them.
func (c *Conn) resendLarge(m *Memory, now Time, quoted seq.Number) {
	c.path.probe = 0
	switch {
	case c.flight() == 0:
	case c.has(flagSACK):
		if c.noteLost(c.board.markLarge(m, quoted, c.snd.mss, c.rack.grain)) {
			c.resendTooBig(now)
		}
	case quoted != c.noSegment() || c.flight() > c.snd.mss:
		c.resendTooBig(now)
	}
}

// resendProbe sends again what a probe has carried, in segments that fit.
func (c *Conn) resendProbe(m *Memory, now Time) {
	p := &c.path
	start, end := seq.Max(p.probeAt, c.snd.una), p.probeEnd
	p.probe = 0
	if !c.has(flagSACK) || c.noteLost(c.board.markPart(m, start, end, c.rack.grain)) {
		c.resendTooBig(now)
	}
}

// resendTooBig begins to send again what was too large to arrive. That is no sign of
// congestion, and the window stays as it is (RFC 8201 section 5.4). Nor can it have come
// late, so that nothing is to be undone.
func (c *Conn) resendTooBig(now Time) {
	c.enterLoss()
	c.undo = undoing{}
	c.armResend(now)
}
