package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// arriveText handles the text and the FIN of a segment ("seventh, process the
// segment text" and "eighth, check the FIN bit" in RFC 9293 section 3.10.7.4).
func (c *Conn) arriveText(m *Memory, now Time, seg *Segment) {
	if seg.Flags&wire.URG != 0 {
		c.arriveUrgent(seg)
	}
	fin := seg.Flags&wire.FIN != 0
	if seg.Len == 0 && !fin {
		return
	}
	end := seg.Seq.Add(seq.Size(seg.Len))
	if fin && !c.has(flagFinKnown) && end.AtOrBefore(c.rcv.edge) {
		c.set(flagFinKnown)
		c.rcv.fin = end
	}
	if c.has(flagOrphan) && seg.Len > 0 && end.After(c.rcv.nxt) {
		// "or if new data is received after CLOSE is called, its TCP implementation
		// SHOULD send a RST to show that data was lost" (RFC 9293 SHLD-3)
		c.resetAt(seg)
		c.end(m, now, ErrNone)
		return
	}
	if seg.Len > 0 {
		c.arriveData(m, now, seg, end)
	}
	if c.has(flagFinKnown) && c.rcv.nxt == c.rcv.fin {
		c.arriveFin(m, now)
	}
}

// arriveData handles the octets of a segment, which end before end.
func (c *Conn) arriveData(m *Memory, now Time, seg *Segment, end seq.Number) {
	r := &c.rcv
	r.lastData = now
	c.Stats.DataSegsIn++
	if c.tunesReceive() {
		c.watchRTT(now, seg)
	}
	if seg.Len >= r.mss {
		r.mss = min(seg.Len, uint32(c.Opt.MSS))
	}
	limit := r.edge
	if c.has(flagFinKnown) {
		limit = seq.Min(limit, r.fin)
	}
	end = seq.Min(end, limit)
	start := seq.Max(seg.Seq, r.nxt)
	if seg.Seq.Before(r.nxt) {
		c.noteDuplicate(seg.Seq, seq.Min(end, r.nxt))
	}
	if end.AtOrBefore(start) {
		// A probe of the closed window, or what was here already.
		c.Stats.DropDuplicate++
		c.pending |= pendAck
		return
	}
	if c.ecn.on == ecnClassic {
		c.arriveMark(seg)
	}
	// Cut to what is new and allowed.
	var text, rest Queue
	text = seg.Payload
	text.number(m, seg.Seq)
	text.trimFront(m, uint32(start.From(seg.Seq)), &rest)
	text.trimBack(m, uint32(end.From(start)), &rest)
	if start == r.nxt {
		if gap := c.takeInOrder(m, text, start, end, &rest); gap {
			// "A TCP receiver SHOULD send an immediate ACK when the incoming segment fills
			// in all or part of a gap in the sequence space" (RFC 5681 section 3.2)
			c.pending |= pendAck
		} else {
			c.oweAck(now, seg.More)
		}
	} else {
		c.putAside(m, text, start, end, &rest)
		c.Stats.OutOfOrder++
		// "A TCP receiver SHOULD send an immediate duplicate ACK when an out-of-order
		// segment arrives" (RFC 5681 section 3.2)
		c.pending |= pendAck
	}
	seg.Payload = rest
	if rest.Count == 0 {
		seg.Payload = noChunks
	}
}

// takeInOrder takes the octets [start, end) that come next, and what they join. It
// reports whether something was missing.
func (c *Conn) takeInOrder(m *Memory, text Queue, start, end seq.Number, rest *Queue) (gap bool) {
	r := &c.rcv
	gap = c.ooo.n > 0
	end = c.fillGap(m, &text, start, end, rest)
	c.Stats.BytesIn += uint64(end.From(start))
	r.nxt = end
	if c.has(flagReadClosed) {
		rest.join(m, text)
	} else {
		c.RcvQ.join(m, text)
		c.Events |= EventReadable
	}
	c.pullRange(m)
	return gap
}

// oweAck decides when data in order is acknowledged. If more is there already one
// acknowledgement does for all of it, up to stretchAck.
func (c *Conn) oweAck(now Time, more bool) {
	r := &c.rcv
	owed := uint32(r.nxt.From(r.acked))
	switch {
	case r.quick > 0:
		r.quick--
		c.pending |= pendAck
	case c.Opt.QuickAck != 0, owed > r.mss && !more, owed > min(stretchAck, c.windowLimit()/4):
		// "an ACK SHOULD be generated for at least every second full-sized segment"
		// (RFC 9293 SHLD-19)
		c.pending |= pendAck
	case !c.armed(timerAck):
		c.arm(timerAck, now+delayedAck)
	}
}

// AckOwed says that what was thought to be there already (Segment.More) is not: what
// waits for it is acknowledged now.
func (c *Conn) AckOwed() {
	c.begin()
	if c.armed(timerAck) && uint32(c.rcv.nxt.From(c.rcv.acked)) > c.rcv.mss {
		c.pending |= pendAck
	}
}
