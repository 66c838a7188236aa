package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// A connection can go on in another segment, with another child: its program hands it
// over, and keeps the rest. While the locks of both segments are held its octets are
// copied and its Conn is transplanted; then the slot in the old segment is useMoved.
// That one word is what a repair goes by: before it the connection is the old
// segment's, and what is in the new one another that nobody hears of; after it the old
// one has nothing but the flow. A death in between leaves it in both places, which
// say the same to the peer, so that no octet is lost.
//
// The rest is left to the children, who find it in their segments, whoever dies: the
// new one claims the connection at the connection server (aux.pool of a slot that is
// not useMoved), the old one tells the peer's child by which way its packets go from
// now on, and whenever one comes that does not know (graves.go).

// spareBuffers is how many buffers of our own must stay free when connections come, so
// that they can go on.
const spareBuffers = rxBuffers / 8

// load is what connections take of a segment that they go to.
type load struct {
	octets, chunks, annexes int
}

// add counts connection i of h.
func (l *load) add(h *Half, i uint32) {
	c := &h.conns[i]
	var queues [32]tcp.Queue
	for _, q := range c.Queues(&h.mem, queues[:0]) {
		l.octets += int(q.Bytes)
		l.chunks += int(q.Count) + int(q.Bytes)/rxSize + 1
	}
	if c.Annex != 0 {
		l.annexes++
	}
}

// fits reports whether h has room for what there is to come.
func (l *load) fits(h *Half) bool {
	return l.octets/rxSize+1+spareBuffers <= h.rx.Available() &&
		l.chunks <= int(h.ctl.chunks.Free) && l.annexes <= int(h.ctl.annexes.Free)
}

// reachable reports whether all octets of connection i are mapped here.
func (h *Half) reachable(i uint32) bool {
	ok := true
	h.eachChunk(i, func(c *tcp.Chunk) {
		ok = ok && (c.Region == pool.OwnRegion || h.drv.Octets(c.Region) != nil)
	})
	return ok
}

// eachChunk calls f for all chunks of connection i.
func (h *Half) eachChunk(i uint32, f func(*tcp.Chunk)) {
	var queues [32]tcp.Queue
	for _, q := range h.conns[i].Queues(&h.mem, queues[:0]) {
		at := q.Head
		for range q.Count {
			f(&h.chunks[at])
			at = h.chunks[at].Next
		}
	}
}

// transplant makes slot i, which is fresh and has room, the connection that slot j of
// from has. Both locks are held.
func (h *Half) transplant(i uint32, from *Half, j uint32, at wire.VCI) {
	src, was, a := &from.conns[j], &from.aux[j], &h.aux[i]
	var room [32]tcp.Queue
	queues := src.Queues(&from.mem, room[:0])
	sent, read := src.Heads()
	for k := range queues {
		queues[k] = h.copyQueue(from, queues[k], [2]uint32{sent, read}, k)
	}
	annex := none
	if src.Annex != 0 {
		annex = h.ctl.annexes.Alloc(h.annexLinks)
	}
	a.mtu, a.accepted, a.born = was.mtu, was.accepted, was.born
	a.origin, a.pool = j, uint16(at)+1
	if was.circuit == pool.NIC {
		h.setCircuit(i, pool.NIC)
	} // to a peer of the ring we go through the servers until he comes by a circuit
	if a.heard = was.heard & mayCome; onRing(was.circuit) {
		a.heard = mayCome
	}
	h.begin(i).Transplant(src, &from.mem, &h.mem, queues, annex)
	h.end(i)
	if src.State != tcp.Closed {
		h.insert(i)
	}
	h.enlist(listTouched, i)
}

// copyQueue copies the octets of queue number k of a connection of from's, less those
// at its front that are done with.
func (h *Half) copyQueue(from *Half, q tcp.Queue, done [2]uint32, k int) tcp.Queue {
	var s tcp.Segment
	s.Payload = tcp.Queue{Head: none, Tail: none}
	skip := uint32(0)
	if k < len(done) {
		skip = done[k]
	}
	at := q.Head
	for range q.Count {
		c := &from.chunks[at]
		if !h.copyIn(&s, from.octets(c, skip, c.Len-skip)) {
			panic("BUG: a segment that had room has none")
		}
		at, skip = c.Next, 0
	}
	return s.Payload
}

// departTo leaves connection or listener j to the pool to.
func (h *Half) departTo(j uint32, to wire.VCI) {
	a := &h.aux[j]
	a.pool, a.born = uint16(to)+1, uint32(h.now/tcp.Second)
	a.heard &= mayCome
	if h.conns[j].Flow.Remote.Port == 0 {
		a.heard = heardServer // a listener is claimed before it goes
	}
	if h.conns[j].State == tcp.Closed { // nothing comes for it any more
		a.use, a.parent = useOrphan, none
		h.depart(j)
		h.finish(j)
		return
	}
	a.use, a.parent = useMoved, none
	h.depart(j)
	h.countOrphan(j)
	h.enlist(listBottom, j)
}

// depart frees what slot j has of a connection that is another pool's.
func (h *Half) depart(j uint32) {
	c := h.begin(j)
	c.Depart(&h.mem, h.now)
	h.end(j)
}

// moved passes over what comes by circuit for slot i, whose connection or listener is
// another pool's, and has the child tell the sender. Nothing may have come by the
// circuit as long as the connection was here.
func (h *Half) moved(i uint32, circuit uint16) uint32 {
	h.ctl.Counters.Moved++
	h.belongs(i, circuit)
	h.countOrphan(i)
	h.enlist(listBottom, i)
	return none
}

// reused reports whether the segment in h.arr is the SYN of a new connection with the
// numbers of one that has gone elsewhere: then that is over, and slot i forgets it.
func (h *Half) reused(i uint32) bool {
	const most = wire.SYN | wire.ACK | wire.RST
	if h.arr.Flags&most != wire.SYN || h.aux[i].born+1 >= uint32(h.now/tcp.Second) {
		return false
	}
	h.close(i)
	return true
}

// keepFormer notes that octets of connection i may lie in the memory of a circuit that it
// leaves, and does not come back to: that stays as long as the connection. It reports
// false if there are too many such circuits.
func (h *Half) keepFormer(i uint32, circuit uint16) bool {
	a := &h.aux[i]
	if circuit == pool.NoCircuit {
		return true
	}
	place := -1
	for k, c := range a.former {
		switch {
		case c == circuit+1:
			return true
		case c == 0:
			place = k
		}
	}
	for k := 0; place < 0 && k < len(a.former); k++ {
		if !h.liesIn(i, a.former[k]-1) {
			h.drv.Use(a.former[k]-1, -1)
			place = k
		}
	}
	if place < 0 {
		return false
	}
	h.drv.Use(circuit, 1)
	a.former[place] = circuit + 1
	return true
}

// here reports whether all memory is mapped in which octets of connection i may lie.
func (h *Half) here(i uint32) bool {
	a := &h.aux[i]
	return (a.circuit == pool.NoCircuit || h.drv.Mapped(a.circuit)) && h.formerHere(a)
}

// formerHere reports whether the circuits are mapped by which a connection went before.
func (h *Half) formerHere(a *aux) bool {
	if a.former == [len(a.former)]uint16{} {
		return true
	}
	for _, c := range a.former {
		if c != 0 && !h.drv.Mapped(c-1) {
			return false
		}
	}
	return true
}

// legible reports whether what connection i has received, and its program not read, can
// be read here.
func (h *Half) legible(i uint32) bool {
	if h.here(i) {
		return true
	}
	q := h.conns[i].RcvQ
	for at := q.Head; q.Count > 0; q.Count-- {
		if c := &h.chunks[at]; c.Region != pool.OwnRegion && h.drv.Octets(c.Region) == nil {
			return false
		}
		at = h.chunks[at].Next
	}
	return true
}

// liesIn reports whether octets of connection i lie in a circuit's memory.
func (h *Half) liesIn(i uint32, circuit uint16) (lies bool) {
	h.eachChunk(i, func(c *tcp.Chunk) {
		lies = lies || c.Region != pool.OwnRegion && pool.RegionCircuit(c.Region) == circuit
	})
	return lies
}

// forgetFormer gives up the circuits by which i went before.
func (h *Half) forgetFormer(i uint32) {
	for k, c := range h.aux[i].former {
		if c != 0 {
			h.drv.Use(c-1, -1)
			h.aux[i].former[k] = 0
		}
	}
}
