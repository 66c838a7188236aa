package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// byReference is the payload length from which the octets of a packet stay in
// the peer's memory until the program reads them; shorter ones are copied out at
// once and packed together, so that a slow reader holds few of the peer's
// packets.
const byReference = 2048

// chunkReserved is the flag of a chunk whose octets a call of the program's copies in,
// perhaps without the lock: no queue has it yet.
const chunkReserved = 1

// allocChunk takes a free chunk, or none.
func (h *Half) allocChunk() uint32 {
	f := &h.ctl.chunks
	i := f.Head
	switch {
	case i != none:
		f.Head = h.chunks[i].Next
	case f.Fresh < f.Limit:
		i = f.Fresh
		f.Fresh++
	default:
		return none
	}
	f.Free--
	return i
}

// freeChunks frees the chunks of q, and what they refer to, and empties q. Its
// links are intact up to its count.
func (h *Half) freeChunks(q *tcp.Queue) {
	at := q.Head
	for n := q.Count; n > 0; n-- {
		c := &h.chunks[at]
		next := c.Next
		h.unref(c)
		c.Next = h.ctl.chunks.Head
		h.ctl.chunks.Head = at
		h.ctl.chunks.Free++
		at = next
	}
	*q = tcp.Queue{Head: none, Tail: none}
}

// unref gives up a chunk's hold on its octets.
func (h *Half) unref(c *tcp.Chunk) {
	switch {
	case c.Region == pool.OwnRegion:
		h.rx.Unref(c.Buf)
	default:
		h.free(c.Region, c.Buf)
	}
}

// octets returns the octets of a chunk from skip on, n of them.
func (h *Half) octets(c *tcp.Chunk, skip, n uint32) []byte {
	region := h.rxOctets
	if c.Region != pool.OwnRegion {
		region = h.drv.Octets(c.Region)
	}
	return region[c.Off+skip : c.Off+skip+n]
}

// link puts a fresh chunk behind a queue of fresh chunks.
func (h *Half) link(q *tcp.Queue, i uint32) {
	if q.Count == 0 {
		q.Head = i
	} else {
		h.chunks[q.Tail].Next = i
	}
	h.chunks[i].Flags &^= chunkReserved
	q.Tail = i
	q.Count++
	q.Bytes += h.chunks[i].Len
}

// take makes chunks of a packet's payload. It reports false, with nothing taken
// and the packet released, if the pool's limits forbid.
func (h *Half) take(p *pool.Packet, s *tcp.Segment) bool {
	s.Payload = tcp.Queue{Head: none, Tail: none}
	switch {
	case p.Payload == 0:
		h.release(p)
		return true
	case p.Placed > 0:
		return h.refer(p, s)
	case p.NPieces > 0 && p.Payload >= byReference && h.ctl.copiesMore == 0 && !h.drv.Crowded(p.Circuit):
		return h.refer(p, s)
	case p.NPieces > 0:
		return h.copyPieces(p, s)
	}
	return h.copyIn(s, p.Data[p.Header:p.Header+p.Inline])
}

// release gives back a packet whose payload was copied, or is not wanted.
func (h *Half) release(p *pool.Packet) {
	if p.NPieces > 0 {
		h.need(1)
		h.script.Release(p)
	}
}

// refer leaves the payload where it is.
func (h *Half) refer(p *pool.Packet, s *tcp.Segment) bool {
	if int(h.ctl.chunks.Free) < int(p.NPieces) {
		h.ctl.Counters.ChunksFull++
		h.release(p)
		return false
	}
	at := firstOctet(s)
	for _, q := range p.Pieces[:p.NPieces] {
		i := h.allocChunk()
		h.chunks[i] = tcp.Chunk{Off: q.Off, Len: q.Len, Seq: at, Buf: p.ID, Region: p.Region, Next: none}
		at += tcpSeq(q.Len)
		h.link(&s.Payload, i)
	}
	return true
}

// copyPieces copies the payload out of the peer's memory and releases it.
func (h *Half) copyPieces(p *pool.Packet, s *tcp.Segment) bool {
	region := h.drv.Octets(p.Region)
	ok := true
	for _, q := range p.Pieces[:p.NPieces] {
		if ok = ok && h.copyIn(s, region[q.Off:q.Off+q.Len]); !ok {
			break
		}
	}
	h.ctl.Counters.Copied += uint64(p.Payload)
	h.release(p)
	return ok
}

// copyIn copies b behind what s has of payload, into buffers of our own. If the
// pool has all of its Rx buffers in use the packet is discarded (paper section
// 3): s has no payload then, and copyIn reports false.
func (h *Half) copyIn(s *tcp.Segment, b []byte) bool {
	for len(b) > 0 {
		buf, off, room := h.pack()
		i := none
		if buf != pool.None {
			i = h.allocChunk()
		}
		if i == none {
			h.discard(s, buf)
			return false
		}
		n := copy(h.rxOctets[off:off+room], b)
		b = b[n:]
		h.ctl.packed += uint32(n)
		h.rx.Ref(buf)
		h.chunks[i] = tcp.Chunk{Off: off, Len: uint32(n), Seq: firstOctet(s) + tcpSeq(s.Payload.Bytes), Buf: buf, Region: pool.OwnRegion, Next: none}
		h.link(&s.Payload, i)
	}
	return true
}

func (h *Half) discard(s *tcp.Segment, buf uint32) {
	if buf == pool.None {
		h.ctl.Counters.RxFull++
	} else {
		h.ctl.Counters.ChunksFull++
	}
	h.freeChunks(&s.Payload)
}

// pack returns the free part of the buffer that payloads are packed into. The
// pool has a reference to it for as long as it has room.
func (h *Half) pack() (buf, off, room uint32) {
	c := h.ctl
	if c.packing != pool.None {
		// All that was packed into it has been read: start again at the front.
		if h.rx.Refs(c.packing) == 1 {
			c.packed = 0
		}
		if c.packed < rxSize {
			return c.packing, h.rx.Offset(c.packing) + c.packed, rxSize - c.packed
		}
		h.rx.Unref(c.packing)
	}
	c.packing, off = h.rx.Alloc()
	c.packed = 0
	return c.packing, off, rxSize
}

// firstOctet returns the sequence number of the first payload octet: a SYN comes
// before it.
func firstOctet(s *tcp.Segment) tcpSeq {
	if s.Flags.Has(wire.SYN) {
		return s.Seq + 1
	}
	return s.Seq
}
