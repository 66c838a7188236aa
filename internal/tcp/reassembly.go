package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

func (r *oooRange) queue() Queue {
	return Queue{Head: r.head, Tail: r.tail, Count: r.count, Bytes: uint32(r.end.From(r.start))}
}

// setQueue makes the range [start, end) of the chunks of q.
func (r *oooRange) setQueue(q Queue, start, end seq.Number) {
	*r = oooRange{start: start, end: end, head: q.Head, tail: q.Tail, count: q.Count}
}

// discard gives up range i.
func (c *Conn) discard(m *Memory, i int) {
	c.Freed[freedRest].join(m, c.ooo.ranges[i].queue())
	c.ooo.remove(i)
}

// dropRanges gives up all ranges.
func (c *Conn) dropRanges(m *Memory) {
	for c.ooo.n > 0 {
		c.discard(m, int(c.ooo.n)-1)
	}
}

// remove takes range i out of the list.
func (o *reassembly) remove(i int) {
	copy(o.ranges[i:o.n], o.ranges[i+1:o.n])
	o.n--
	switch {
	case o.n == 0:
		o.recent = 0
	case int(o.recent) == i:
		o.recent = o.n - 1 // the highest is likely the youngest
	case int(o.recent) > i:
		o.recent--
	}
}

// insert makes room for a range before range i.
func (o *reassembly) insert(i int) *oooRange {
	copy(o.ranges[i+1:o.n+1], o.ranges[i:o.n])
	o.n++
	return &o.ranges[i]
}

// putAside puts the octets [start, end), which lie behind a gap, among the
// ranges. Of octets that are there already the first copy stays, but a range
// that the new octets cover wholly gives way to them, so that what is taken is
// always one piece. What is not taken goes to rest.
func (c *Conn) putAside(m *Memory, text Queue, start, end seq.Number, rest *Queue) {
	o := &c.ooo
	i := 0
	for i < int(o.n) && o.ranges[i].end.Before(start) {
		i++
	}
	left := i < int(o.n) && o.ranges[i].start.AtOrBefore(start)
	if left {
		from := o.ranges[i].end
		if end.AtOrBefore(from) {
			o.recent = uint8(i)
			c.Stats.DropDuplicate++
			c.noteDuplicate(start, end)
			rest.join(m, text)
			return
		}
		text.trimFront(m, uint32(from.From(start)), rest)
		start = from
		i++
	}
	// Ranges before i end at or before start.
	for i < int(o.n) && o.ranges[i].end.AtOrBefore(end) {
		c.discard(m, i)
	}
	right := i < int(o.n) && o.ranges[i].start.AtOrBefore(end)
	if right {
		end = o.ranges[i].start
		text.trimBack(m, uint32(end.From(start)), rest)
	}
	c.link(m, i, left, right, text, start, end, rest)
}

// link puts [start, end) between the ranges i-1 and i, joined to that on its
// left and that on its right where they touch.
func (c *Conn) link(m *Memory, i int, left, right bool, text Queue, start, end seq.Number, rest *Queue) {
	o := &c.ooo
	if right {
		q := o.ranges[i].queue()
		text.join(m, q)
		end = o.ranges[i].end
	}
	switch {
	case left:
		i--
		r := &o.ranges[i]
		q := r.queue()
		q.join(m, text)
		r.setQueue(q, r.start, end)
		if right {
			o.remove(i + 1)
		}
	case right:
		o.ranges[i].setQueue(text, start, end)
	default:
		if int(o.n) == oooRanges {
			c.Stats.DropFull++
			if i == oooRanges {
				rest.join(m, text)
				return
			}
			// What is nearer to rcv.nxt is wanted sooner.
			c.discard(m, oooRanges-1)
		}
		o.insert(i).setQueue(text, start, end)
	}
	o.recent = uint8(i)
}

// fillGap cuts octets in order, [start, end), to what the first range does not
// hold, and gives up the ranges that they cover. It returns the new end.
func (c *Conn) fillGap(m *Memory, text *Queue, start, end seq.Number, rest *Queue) seq.Number {
	o := &c.ooo
	for o.n > 0 && o.ranges[0].end.AtOrBefore(end) {
		c.discard(m, 0)
	}
	if o.n > 0 && o.ranges[0].start.Before(end) {
		end = o.ranges[0].start
		text.trimBack(m, uint32(end.From(start)), rest)
	}
	return end
}

// pullRange moves the first range to RcvQ if it comes next.
func (c *Conn) pullRange(m *Memory) {
	o := &c.ooo
	if o.n == 0 || o.ranges[0].start != c.rcv.nxt {
		return
	}
	q := o.ranges[0].queue()
	c.Stats.BytesIn += uint64(q.Bytes)
	c.rcv.nxt = o.ranges[0].end
	o.remove(0)
	if c.has(flagReadClosed) {
		c.Freed[freedRest].join(m, q)
		return
	}
	c.RcvQ.join(m, q)
}

// sack fills in as many blocks as there is room for: "The first SACK block …
// MUST specify the contiguous block of data containing the segment which
// triggered this ACK" (RFC 2018 section 4); the others follow from the highest
// down, as the highest are likely the youngest.
func (c *Conn) sack(o *wire.Options, most int) {
	n := 0
	if c.dup.start != c.dup.end {
		// What came twice goes first; the block that holds it, if it lies behind a gap,
		// comes next (RFC 2883 section 4).
		o.SACK[0] = wire.Block{Start: c.dup.start, End: c.dup.end}
		c.dup = repeated{}
		n = 1
	}
	recent := int(c.ooo.recent)
	if c.ooo.n > 0 && n < most {
		o.SACK[n] = c.ooo.block(recent)
		n++
	}
	for i := int(c.ooo.n) - 1; i >= 0 && n < most; i-- {
		if i != recent {
			o.SACK[n] = c.ooo.block(i)
			n++
		}
	}
	o.SACKBlocks = uint8(n)
}

func (o *reassembly) block(i int) wire.Block {
	return wire.Block{Start: o.ranges[i].start, End: o.ranges[i].end}
}

// sackBlocks returns how many SACK blocks there are to be told.
func (c *Conn) sackBlocks() int {
	if !c.has(flagSACK) {
		return 0
	}
	blocks := int(c.ooo.n)
	if c.dup.start != c.dup.end {
		blocks++
	}
	return blocks
}

// sackRoom returns how many SACK blocks a segment carries now.
func (c *Conn) sackRoom() int {
	blocks := c.sackBlocks()
	if blocks == 0 {
		return 0
	}
	room := optionsLen - sackHeadLen - c.counterRoom()
	if c.has(flagTimestamps) {
		room -= timestampsLen
	}
	return min(blocks, room/sackBlockLen)
}
