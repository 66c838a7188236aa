package tcp

import "usertcp/internal/seq"

// A step of the engine can be undone by putting back the Conn that was before
// it, without the chunks: so a step never writes to a chunk that a queue of that
// Conn reaches, but for two words whose old value nobody misses: Next of a
// queue's tail (what it names is beyond the queue's Count), and Len of SndQ's
// tail (Bytes of the queue says what it was). Fresh chunks, which no queue
// reached when the step began, are free to be written.
//
// Every walk along Next is bounded by a Count, so that damaged links cannot
// make it endless.

// noChunks is a queue with nothing in it.
var noChunks = Queue{Head: None, Tail: None}

// join links the chunks of r behind those of q.
func (q *Queue) join(m *Memory, r Queue) {
	if r.Count == 0 {
		return
	}
	if q.Count == 0 {
		*q = r
		return
	}
	m.Chunks[q.Tail].Next = r.Head
	q.Tail = r.Tail
	q.Count += r.Count
	q.Bytes += r.Bytes
}

// shed moves the first chunk of q to the end of freed, which holds what was shed
// before it: its links are those that q had, so nothing is written.
func (q *Queue) shed(m *Memory, freed *Queue) {
	i := q.Head
	ch := &m.Chunks[i]
	if freed.Count == 0 {
		*freed = Queue{Head: i}
	}
	freed.Tail = i
	freed.Count++
	freed.Bytes += ch.Len
	if q.Count--; q.Count == 0 {
		*q = noChunks
		return
	}
	q.Head = ch.Next
	q.Bytes -= ch.Len
}

// shedAll moves all chunks of q to freed, which holds what was shed before them.
func (q *Queue) shedAll(freed *Queue) {
	if q.Count == 0 {
		return
	}
	if freed.Count == 0 {
		freed.Head = q.Head
	}
	freed.Tail = q.Tail
	freed.Count += q.Count
	freed.Bytes += q.Bytes
	*q = noChunks
}

// trimFront cuts n octets off the front of a fresh queue. Chunks of which
// nothing is left go to rest.
func (q *Queue) trimFront(m *Memory, n uint32, rest *Queue) {
	for n > 0 && q.Count > 0 {
		i := q.Head
		ch := &m.Chunks[i]
		if ch.Len > n {
			ch.Off += n
			ch.Len -= n
			ch.Seq = ch.Seq.Add(seq.Size(n))
			q.Bytes -= n
			return
		}
		n -= ch.Len
		var gone Queue
		q.shed(m, &gone)
		rest.join(m, gone)
	}
}

// trimBack cuts a fresh queue down to its first n octets. Chunks of which
// nothing is left go to rest.
func (q *Queue) trimBack(m *Memory, n uint32, rest *Queue) {
	if q.Bytes <= n {
		return
	}
	var kept Queue
	for q.Count > 0 && kept.Bytes < n {
		ch := &m.Chunks[q.Head]
		if over := kept.Bytes + ch.Len; over > n {
			ch.Len -= over - n
			q.Bytes -= over - n
		}
		q.shed(m, &kept)
	}
	rest.join(m, *q)
	*q = kept
	if kept.Count == 0 {
		*q = noChunks
	}
}

// number gives the chunks of a fresh queue their sequence numbers, from s on.
func (q *Queue) number(m *Memory, s seq.Number) {
	i := q.Head
	for range q.Count {
		ch := &m.Chunks[i]
		ch.Seq = s
		s = s.Add(seq.Size(ch.Len))
		i = ch.Next
	}
}

// forward returns the place n octets behind p in q. It stands before an octet,
// or behind the last one of the tail.
func (q *Queue) forward(m *Memory, p cursor, n uint32) cursor {
	for range q.Count {
		ch := &m.Chunks[p.chunk]
		left := ch.Len - p.off
		if n < left || p.chunk == q.Tail {
			p.off += n
			return p
		}
		n -= left
		p = cursor{chunk: ch.Next}
	}
	return p
}
