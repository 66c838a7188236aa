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
	tail  uint32 // chunk whose buffer spans[0] lies in, if it is the send queue's tail; spans[0] has a chunk of its own then only if the lock is given back
	end   uint32 // where the tail ended
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
	if r.bytes < want {
		h.reserveBuffers(i, want, r)
	}
	return r.bytes
}

// reserveTail takes the free end of the buffer that the send queue ends in. If the
// lock will be given back the buffer gets a reference, so that it stays ours even if
// all that is queued is acknowledged meanwhile.
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
	fresh := none
	if want > small {
		if fresh = h.allocChunk(); fresh == none {
			return
		}
		h.drv.Ref(t.Region, t.Buf)
		h.chunks[fresh] = tcp.Chunk{Off: end, Len: n, Buf: t.Buf, Region: t.Region, Next: none, Flags: chunkReserved}
	}
	r.tail, r.end = c.SndQ.Tail, end
	r.spans[0] = span{b: octets[end : end+n], chunk: fresh}
	r.n, r.bytes = 1, int(n)
}

// reserveBuffers takes as many buffers as are needed, those of a circuit all at once:
// a script of its own for each would be what the paper calls naive (section 4.5.1).
func (h *Half) reserveBuffers(i uint32, want int, r *reservation) {
	circuit := h.aux[i].circuit
	if h.writesOwn(circuit) {
		for r.bytes < want && r.n < spansMax && h.reserveOwn(want, r) {
		}
		return
	}
	size := h.drv.BufferSize()
	n := min((want-r.bytes+size-1)/size, spansMax-r.n, int(h.ctl.chunks.Free))
	if n == 0 {
		return
	}
	for _, op := range h.alloc(circuit, n) {
		h.addSpan(tcp.Chunk{Region: pool.TxRegion(circuit), Buf: op.Buf, Off: op.Off}, want, size, r)
	}
}

// writesOwn reports whether what is written to a connection over circuit lies in the
// pool's own buffers: it has no circuit, or none whose memory is mapped here, or payloads
// are copied once more.
func (h *Half) writesOwn(circuit uint16) bool {
	return circuit == pool.NoCircuit || h.ctl.copiesMore != 0 || !h.drv.Mapped(circuit)
}

// reserveOwn takes another of the pool's own buffers.
func (h *Half) reserveOwn(want int, r *reservation) bool {
	if h.ctl.chunks.Free == 0 {
		return false
	}
	buf, off := h.rx.Alloc()
	if buf == pool.None {
		return false
	}
	h.addSpan(tcp.Chunk{Region: pool.OwnRegion, Buf: buf, Off: off}, want, rxSize, r)
	return true
}

// addSpan adds a buffer of size octets. There is a chunk for it.
func (h *Half) addSpan(c tcp.Chunk, want, size int, r *reservation) {
	at := h.allocChunk()
	n := min(want-r.bytes, size)
	c.Len, c.Next, c.Flags = uint32(n), none, chunkReserved
	h.chunks[at] = c
	r.spans[r.n] = span{b: h.octets(&c, 0, c.Len), chunk: at}
	r.n++
	r.bytes += n
}

// fill writes the script that copies p into what was reserved.
func (r *reservation) fill(s *pool.Script, p []byte) {
	for i := range r.spans[:r.n] {
		b := r.spans[i].b
		s.CopyIn(b, p[:len(b)])
		p = p[len(b):]
	}
}

// send puts what was reserved and filled at the end of i's send queue. It
// reports false, with all given back, if the connection can't send any more. With
// leaves nothing has to be said of these octets before they leave.
func (h *Half) send(i uint32, r *reservation, leaves bool) bool {
	c := &h.conns[i]
	if int(c.SendSpace()) < r.bytes || r.tail != none && r.spans[0].chunk == none && !h.stillTail(c, r) {
		h.cancel(r)
		return false
	}
	a := &h.aux[i]
	a.pace = a.pace.wrote(r.bytes, h.now)
	h.begin(i)
	first := 0
	if h.stillTail(c, r) {
		// It grows, and the reservation's own chunk and reference are not needed.
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
	departs := leaves && h.makeOut(i)
	h.commit(i)
	if departs {
		h.transmit(i)
	}
	if first == 1 && r.spans[0].chunk != none {
		q := tcp.Queue{Head: none, Tail: none}
		h.link(&q, r.spans[0].chunk)
		h.freeChunks(&q)
	}
	return true
}

// stillTail reports whether the free end that was reserved is the send queue's still.
func (h *Half) stillTail(c *tcp.Conn, r *reservation) bool {
	return r.tail != none && c.SndQ.Count > 0 && c.SndQ.Tail == r.tail && h.chunks[r.tail].Off+h.chunks[r.tail].Len == r.end
}

// cancel gives back what was reserved.
func (h *Half) cancel(r *reservation) {
	q := tcp.Queue{Head: none, Tail: none}
	for _, s := range r.spans[:r.n] {
		if s.chunk != none {
			h.link(&q, s.chunk)
		}
	}
	if q.Count > 0 {
		h.freeChunks(&q)
	}
	r.n = 0
}

// peek writes the script that copies the front of i's receive queue to p, in at most
// spansMax runs, and returns how many octets these are.
func (h *Half) peek(i uint32, p []byte, s *pool.Script) (bytes int) {
	c := &h.conns[i]
	at, skip := c.RcvQ.Head, c.RcvHead
	for n := c.RcvQ.Count; n > 0 && s.Len() < spansMax && bytes < len(p); n-- {
		k := &h.chunks[at]
		if m := min(int(k.Len-skip), len(p)-bytes); m > 0 {
			s.CopyOut(p[bytes:bytes+m], h.octets(k, skip, uint32(m)))
			bytes += m
		}
		at, skip = k.Next, 0
	}
	return bytes
}

// consume tells the engine that the program has read n octets.
func (h *Half) consume(i uint32, n int) {
	c := h.begin(i)
	c.Consume(&h.mem, h.now, uint32(n))
	h.commit(i)
}
