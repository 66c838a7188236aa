package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// repeated is a run of octets that came twice, for the D-SACK block of the next
// acknowledgement (RFC 2883). It is empty if start is end.
type repeated struct {
	start, end seq.Number
}

// noteDuplicate takes note that [start, end) came again: such a block is about
// what the segment brought that the next acknowledgement answers, and reported
// once (RFC 2883 section 4).
func (c *Conn) noteDuplicate(start, end seq.Number) {
	c.Stats.Duplicates++
	if c.has(flagSACK) && end.After(start) {
		c.dup = repeated{start, end}
	}
}

// noteDuplicateOf takes note of a segment that lies before the window.
func (c *Conn) noteDuplicateOf(seg *Segment) {
	if end := seg.Seq.Add(seq.Size(seg.Len)); seg.Len > 0 && end.AtOrBefore(c.rcv.nxt) {
		c.noteDuplicate(seg.Seq, end)
	}
}

// takeDSACK looks whether the first SACK block of a segment reports a duplicate
// (RFC 2883 section 4.1): it lies below the acknowledgement number, or inside the
// second block.
func (c *Conn) takeDSACK(seg *Segment, x *news) bool {
	o := &seg.Options
	first := o.SACK[0]
	below := first.Start.Before(seg.Ack)
	if !below && (o.SACKBlocks < 2 || first.Start.Before(o.SACK[1].Start) || first.End.After(o.SACK[1].End)) {
		return false
	}
	if !c.plausible(first) || c.Stats.DSACKs >= c.Stats.Resent {
		// It is about nothing that we sent twice, but the network did.
		return true
	}
	c.Stats.DSACKs++
	x.dsack = true
	x.dsackEnd = first.End
	x.undone = c.undoTwice(first.Start, first.End)
	return true
}

// plausible reports whether a block is about what was sent not too long ago.
func (c *Conn) plausible(b wire.Block) bool {
	s := &c.snd
	return b.Start.Before(b.End) && b.End.AtOrBefore(s.nxt) &&
		b.Start.AtOrAfter(s.una.Minus(seq.Size(s.maxWnd)))
}
