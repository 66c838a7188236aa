package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// span is a run of octets that the program copies from or to outside the lock.
type span struct {
	b     []byte
	chunk uint32 // sending: the chunk that describes the octets
}

// spansMax bounds what one reservation covers: 256 KiB of the ring's buffers,
// 64 KiB of our own.
const spansMax = 16

// reservation is what a Write has taken before it copies: at most the free end
// of the send queue's last buffer, and then buffers of its own.
type reservation struct {
	n     int // spans
	bytes int
	spans [spansMax]span
	tail  uint32 // chunk whose buffer spans[0] lies in, if it is the send queue's tail
}

// reserve takes room for up to want octets that are to be sent on connection i.
// It reports how many that are: 0 means that there is no room now.
func (h *Half) reserve(i uint32, want int, r *reservation) int {
	c := &h.conns[i]
	want = min(want, int(c.SendSpace()), h.allowed(i))
	r.n, r.bytes, r.tail = 0, 0, none
	if want == 0 {
		return 0
	}
	h.reserveTail(c, want, r)
	for r.bytes < want && r.n < spansMax && h.reserveBuffer(i, want, r) {
	}
	return r.bytes
}

// reserveTail takes the free end of the buffer that the send queue ends in. The
// buffer gets a reference, so that it stays ours even if all that is queued is
// acknowledged meanwhile.
func (h *Half) reserveTail(c *tcp.Conn, want int, r *reservation) {
	if c.SndQ.Count == 0 {
		return
	}
	t := &h.chunks[c.SndQ.Tail]
	end := t.Off + t.Len
	var limit uint32
	if t.Region == pool.OwnRegion {
		return // packed buffers are shared
	}
	limit = (t.Off/uint32(h.drv.BufferSize()) + 1) * uint32(h.drv.BufferSize())
	n := min(uint32(want), limit-end)
	octets := h.drv.Octets(t.Region)
	if n == 0 || octets == nil {
		return
	}
	h.drv.Ref(t.Region, t.Buf)
	r.tail = c.SndQ.Tail
	r.spans[0] = span{b: octets[end : end+n], chunk: none}
	r.n, r.bytes = 1, int(n)
	fresh := h.allocChunk()
	if fresh == none {
		h.drv.Unref(t.Region, t.Buf)
		r.n, r.bytes, r.tail = 0, 0, none
		return
	}
	h.chunks[fresh] = tcp.Chunk{Off: end, Len: n, Buf: t.Buf, Region: t.Region, Next: none}
	r.spans[0].chunk = fresh
}

// reserveBuffer takes another buffer.
func (h *Half) reserveBuffer(i uint32, want int, r *reservation) bool {
	c := tcp.Chunk{Region: pool.OwnRegion, Next: none}
	size := rxSize
	if circuit := h.aux[i].circuit; circuit == pool.NoCircuit {
		c.Buf, c.Off = h.rx.Alloc()
	} else {
		c.Region, size = pool.TxRegion(circuit), h.drv.BufferSize()
		c.Buf, c.Off = h.drv.Alloc(circuit)
	}
	if c.Buf == pool.None {
		return false
	}
	at := h.allocChunk()
	if at == none {
		h.unref(&c)
		return false
	}
	n := min(want-r.bytes, size)
	c.Len = uint32(n)
	h.chunks[at] = c
	r.spans[r.n] = span{b: h.octets(&c, 0, c.Len), chunk: at}
	r.n++
	r.bytes += n
	return true
}

// fill copies p into what was reserved. It needs no lock.
func (r *reservation) fill(p []byte) {
	for _, s := range r.spans[:r.n] {
		p = p[copy(s.b, p):]
	}
}

// send puts what was reserved and filled at the end of i's send queue. It
// reports false, with all given back, if the connection can't send any more.
func (h *Half) send(i uint32, r *reservation) bool {
	c := &h.conns[i]
	if int(c.SendSpace()) < r.bytes {
		h.cancel(r)
		return false
	}
	h.begin(i)
	first := 0
	if r.tail != none && c.SndQ.Count > 0 && c.SndQ.Tail == r.tail && h.chunks[r.tail].Off+h.chunks[r.tail].Len == h.chunks[r.spans[0].chunk].Off {
		// Still the tail: it grows, and the reservation's own chunk and
		// reference are not needed.
		c.Extend(&h.mem, h.now, uint32(len(r.spans[0].b)))
		first = 1
	}
	q := tcp.Queue{Head: none, Tail: none}
	for _, s := range r.spans[first:r.n] {
		h.link(&q, s.chunk)
	}
	if q.Count > 0 {
		c.Append(&h.mem, h.now, q)
	}
	h.commit(i)
	if first == 1 {
		q := tcp.Queue{Head: none, Tail: none}
		h.link(&q, r.spans[0].chunk)
		h.freeChunks(&q)
	}
	return true
}

// cancel gives back what was reserved.
func (h *Half) cancel(r *reservation) {
	q := tcp.Queue{Head: none, Tail: none}
	for _, s := range r.spans[:r.n] {
		h.link(&q, s.chunk)
	}
	if q.Count > 0 {
		h.freeChunks(&q)
	}
	r.n = 0
}

// peek finds up to len(dst) runs of octets at the front of i's receive queue,
// at most want octets of them.
func (h *Half) peek(i uint32, want int, dst [][]byte) (spans, bytes int) {
	c := &h.conns[i]
	at, skip := c.RcvQ.Head, c.RcvHead
	for n := c.RcvQ.Count; n > 0 && spans < len(dst) && bytes < want; n-- {
		k := &h.chunks[at]
		if m := min(int(k.Len-skip), want-bytes); m > 0 {
			dst[spans] = h.octets(k, skip, uint32(m))
			spans++
			bytes += m
		}
		at, skip = k.Next, 0
	}
	return spans, bytes
}

// consume tells the engine that the program has read n octets.
func (h *Half) consume(i uint32, n int) {
	c := h.begin(i)
	c.Consume(&h.mem, h.now, uint32(n))
	h.commit(i)
}
