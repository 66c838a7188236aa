package tcp

import "usertcp/internal/seq"

// A connection may go on in another memory: another process has it from then on. Who
// moves it copies the octets, of which there are the same in Transplant's queues, and
// then both ends of the move hold the same connection until Depart ends it at the old
// place. In between both would send the same octets with the same numbers, which does
// a peer no harm.

// Transplant makes c, a fresh connection in memory to, what src is in memory from.
// queues are those of src.Queues, in the same order, of chunks in to; the front of
// SndQ that is acknowledged, and that of RcvQ that is read, is left out. annex is a free
// one in to if src has an annex. Undone, c is the fresh connection.
func (c *Conn) Transplant(src *Conn, from, to *Memory, queues []Queue, annex uint32) {
	*c = *src
	c.Events, c.Spent, c.Freed = 0, 0, [freedQueues]Queue{}
	c.SndQ, c.RcvQ = queues[0], queues[1]
	c.snd.head, c.RcvHead = 0, 0
	if src.Annex != 0 {
		to.Annexes[annex] = from.Annexes[src.Annex-1]
		c.Annex = annex + 1
		c.board.at.home, c.ooo.at.home = c.Annex, c.Annex
	}
	ranges := c.ooo.view(to)
	for i := range ranges {
		q := queues[2+i]
		ranges[i].head, ranges[i].tail, ranges[i].count = q.Head, q.Tail, q.Count
	}
	sent, read := src.firsts(from)
	c.SndQ.number(to, sent)
	c.RcvQ.number(to, read)
	for i := range ranges {
		q := ranges[i].queue()
		q.number(to, ranges[i].start)
	}
	c.snd.next = c.SndQ.at(to, sent, seq.Min(c.snd.nxt, c.snd.end))
	if c.snd.again.chunk != None {
		c.snd.again = c.SndQ.at(to, sent, c.snd.againSeq)
	}
}

// firsts returns the numbers of the first octet that is not acknowledged, and of the
// first that is not read, if there are such.
func (c *Conn) firsts(m *Memory) (sent, read seq.Number) {
	if c.SndQ.Count > 0 {
		sent = m.Chunks[c.SndQ.Head].Seq.Add(seq.Size(c.snd.head))
	}
	if c.RcvQ.Count > 0 {
		read = m.Chunks[c.RcvQ.Head].Seq.Add(seq.Size(c.RcvHead))
	}
	return sent, read
}

// Heads returns how many octets at the front of SndQ are acknowledged, and of RcvQ
// read.
func (c *Conn) Heads() (acknowledged, read uint32) { return c.snd.head, c.RcvHead }

// at returns the place of s in q, whose first octet is first; no place if s is not in
// it.
func (q *Queue) at(m *Memory, first, s seq.Number) cursor {
	if q.Count == 0 || s.Before(first) || uint32(s.From(first)) > q.Bytes {
		return cursor{chunk: None}
	}
	return q.forward(m, cursor{chunk: q.Head}, uint32(s.From(first)))
}

// Depart is a step of its own: the connection goes on elsewhere, and nothing of it is
// left here. The peer does not hear of it.
func (c *Conn) Depart(m *Memory, now Time) {
	c.begin()
	c.set(flagOrphan) // what was not read is not wanted here either
	c.setState(m, now, Closed)
	c.purgeRead()
	c.pending, c.Events = 0, 0
}

// Announce owes the peer an acknowledgement: it shall see by which way segments come
// from now on.
func (c *Conn) Announce() {
	c.begin()
	if c.State.Synchronized() && c.State != TimeWait {
		c.pending |= pendAck
	}
}
