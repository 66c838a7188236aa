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

// most returns how many ranges there is room for.
func (o *reassembly) most() uint32 {
	if o.at.far != 0 {
		return maxRanges
	}
	return nearRanges
}

// find returns the first range that ends behind s, n if there is none.
func (o *reassembly) find(m *Memory, s seq.Number) uint32 {
	rs := o.view(m)
	low, high := uint32(0), o.n
	for low < high {
		if mid := (low + high) / 2; s.Before(rs[mid].end) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// discard gives up the ranges [i, j).
func (c *Conn) discard(m *Memory, i, j uint32) {
	if i == j {
		return
	}
	for _, r := range c.ooo.view(m)[i:j] {
		c.Freed[freedRest].join(m, r.queue())
		c.ooo.forget(r.start, r.end)
	}
	c.ooo.remove(m, i, j)
	c.ooo.tellOne(m)
}

// dropRanges gives up all ranges.
func (c *Conn) dropRanges(m *Memory) { c.discard(m, 0, c.ooo.n) }

// remove takes the ranges [i, j) out of the list.
func (o *reassembly) remove(m *Memory, i, j uint32) {
	if i == 0 {
		o.replace(m, o.view(m)[j:])
		return
	}
	rs := o.edit(m)
	o.replace(m, append(rs[:i], rs[j:o.n]...))
}

// insert makes room for a range before range i.
func (o *reassembly) insert(m *Memory, i uint32) *oooRange {
	rs := o.edit(m)
	copy(rs[i+1:o.n+1], rs[i:o.n])
	o.n++
	return &rs[i]
}

// putAside puts the octets [start, end), which lie behind a gap, among the
// ranges. Of octets that are there already the first copy stays, but a range
// that the new octets cover wholly gives way to them, so that what is taken is
// always one piece. What is not taken goes to rest.
func (c *Conn) putAside(m *Memory, text Queue, start, end seq.Number, rest *Queue) {
	o := &c.ooo
	// Range i ends at start or behind it, those before it do not touch.
	i := o.find(m, start.Minus(1))
	left := i < o.n && o.view(m)[i].start.AtOrBefore(start)
	if left {
		r := o.view(m)[i]
		if end.AtOrBefore(r.end) {
			o.tell(r.start, r.end)
			c.Stats.DropDuplicate++
			c.noteDuplicate(start, end)
			rest.join(m, text)
			return
		}
		text.trimFront(m, uint32(r.end.From(start)), rest)
		start = r.end
		i++
	}
	// Ranges before i end at or before start.
	j := i
	for j < o.n && o.view(m)[j].end.AtOrBefore(end) {
		j++
	}
	c.discard(m, i, j)
	right := i < o.n && o.view(m)[i].start.AtOrBefore(end)
	if right {
		end = o.view(m)[i].start
		text.trimBack(m, uint32(end.From(start)), rest)
	}
	c.link(m, i, left, right, text, start, end, rest)
}

// link puts [start, end) between the ranges i-1 and i, joined to that on its
// left and that on its right where they touch.
func (c *Conn) link(m *Memory, i uint32, left, right bool, text Queue, start, end seq.Number, rest *Queue) {
	o := &c.ooo
	if right {
		r := o.view(m)[i]
		text.join(m, r.queue())
		end = r.end
	}
	switch {
	case left:
		i--
		r := &o.edit(m)[i]
		start = r.start
		q := r.queue()
		q.join(m, text)
		r.setQueue(q, start, end)
		if right {
			o.remove(m, i+1, i+2)
		}
	case right:
		o.edit(m)[i].setQueue(text, start, end)
	default:
		if !c.roomForRange(m, i) {
			c.Stats.DropFull++
			rest.join(m, text)
			return
		}
		o.insert(m, i).setQueue(text, start, end)
	}
	o.tell(start, end)
}

// roomForRange makes room for a range before range i, if need be by giving up
// the last one: what is nearer to rcv.nxt is wanted sooner.
func (c *Conn) roomForRange(m *Memory, i uint32) bool {
	o := &c.ooo
	if o.n == nearRanges && o.at.far == 0 && o.at.home != 0 {
		o.spill(m)
	}
	if o.n < o.most() {
		return true
	}
	if i == o.n {
		return false
	}
	c.Stats.DropFull++
	c.discard(m, o.n-1, o.n)
	return true
}

// fillGap cuts octets in order, [start, end), to what the first range does not
// hold, and gives up the ranges that they cover. It returns the new end.
func (c *Conn) fillGap(m *Memory, text *Queue, start, end seq.Number, rest *Queue) seq.Number {
	o := &c.ooo
	if o.n == 0 {
		return end
	}
	c.discard(m, 0, o.find(m, end))
	if o.n == 0 {
		return end
	}
	if first := o.view(m)[0].start; first.Before(end) {
		end = first
		text.trimBack(m, uint32(end.From(start)), rest)
	}
	return end
}

// pullRange moves the first range to RcvQ if it comes next.
func (c *Conn) pullRange(m *Memory) {
	o := &c.ooo
	if o.n == 0 || o.view(m)[0].start != c.rcv.nxt {
		return
	}
	r := o.view(m)[0]
	q := r.queue()
	c.Stats.BytesIn += uint64(q.Bytes)
	c.rcv.nxt = r.end
	o.forget(r.start, r.end)
	o.remove(m, 0, 1)
	o.tellOne(m)
	if c.has(flagReadClosed) {
		c.Freed[freedRest].join(m, q)
		return
	}
	c.RcvQ.join(m, q)
}

// tell puts range [start, end), which has changed, before what else the peer is
// told of.
func (o *reassembly) tell(start, end seq.Number) {
	o.forget(start, end)
	o.blocks = min(o.blocks+1, uint32(len(o.recent)))
	copy(o.recent[1:], o.recent[:o.blocks-1])
	o.recent[0] = wire.Block{Start: start, End: end}
}

// tellOne sees to it that the peer is told of some range, if there is one: of the
// highest, which is likely the youngest, if of no other.
func (o *reassembly) tellOne(m *Memory) {
	if o.blocks == 0 && o.n > 0 {
		last := &o.view(m)[o.n-1]
		o.tell(last.start, last.end)
	}
}

// forget takes out of what the peer is told of whatever is part of [start, end).
func (o *reassembly) forget(start, end seq.Number) {
	k := uint32(0)
	for _, b := range o.recent[:o.blocks] {
		if b.Start.Before(start) || b.End.After(end) {
			o.recent[k] = b
			k++
		}
	}
	o.blocks = k
}

// sack fills in as many blocks as there is room for: "The first SACK block …
// MUST specify the contiguous block of data containing the segment which
// triggered this ACK" (RFC 2018 section 4); behind it those follow that were
// first before, so that each block is told several times.
func (c *Conn) sack(o *wire.Options, most int) {
	n := 0
	if c.dup.start != c.dup.end {
		// What came twice goes first; the block that holds it, if it lies behind a gap,
		// comes next (RFC 2883 section 4).
		o.SACK[0] = wire.Block{Start: c.dup.start, End: c.dup.end}
		c.dup = repeated{}
		n = 1
	}
	n += copy(o.SACK[n:most], c.ooo.recent[:c.ooo.blocks])
	o.SACKBlocks = uint8(n)
}

// sackBlocks returns how many SACK blocks there are to be told.
func (c *Conn) sackBlocks() int {
	if !c.has(flagSACK) {
		return 0
	}
	blocks := int(c.ooo.blocks)
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
