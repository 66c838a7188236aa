package half

import (
	"sync/atomic"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// corkBacklog is how many packets a peer may not have looked at yet before
// segments that are not full wait and grow: there is no hurry to add to a queue.
const corkBacklog = 4

// output sends what connection i wants to send, as far as there is room. Each
// segment is sent when the state that says so is complete: "commit, then emit".
func (h *Half) output(i uint32) {
	c := &h.conns[i]
	a := &h.aux[i]
	for n := 0; c.HasOutput(); n++ {
		if n > maxBurst {
			panic("BUG: a connection sends without an end")
		}
		fast := h.drv.Usable(a.circuit) && h.formerHere(a)
		if fast && !h.room(i) {
			return
		}
		if !fast && h.slow == nil {
			h.enlist(listBottom, i)
			return
		}
		h.begin(i)
		c.SetOffload(h.offload(a.circuit, fast))
		ok := c.NextSegment(&h.mem, h.now, &h.out)
		intact := h.end(i)
		if !ok || !h.transmit(i) && intact && h.takeBack(i) {
			return
		}
		h.departed(i)
	}
}

// makeOut makes out the first segment of what connection i has to send, in the step that
// has queued it: to begin one of its own would cost another copy for the journal. It
// reports false if output has to do it: where a device may refuse the segment, so that its
// step is undone, or there may be no room for it, or the connection has an annex, of which
// two calls of the engine's in one step would write both sides.
func (h *Half) makeOut(i uint32) bool {
	c, circuit := &h.conns[i], h.aux[i].circuit
	if c.Annex != 0 || !c.HasOutput() || !h.drv.Usable(circuit) || h.drv.MayRefuse(circuit) {
		return false
	}
	if room, backlog := h.roomOn(circuit); room == 0 || backlog >= corkBacklog {
		return false
	}
	c.SetOffload(h.offload(circuit, true))
	return c.NextSegment(&h.mem, h.now, &h.out)
}

// takeBack undoes the step by which connection i has made out data, or its FIN,
// that the device could not take, and reports whether it did: other segments are
// lost, as a packet may be.
func (h *Half) takeBack(i uint32) bool {
	c, j := &h.conns[i], h.journal
	if h.out.Len == 0 && h.out.Flags&wire.FIN == 0 || h.out.Flags&wire.SYN != 0 || j.index != i {
		return false
	}
	atomic.StoreUint32(&j.active, 1)
	*c = j.before
	h.begin(i).Refused(h.now)
	h.end(i)
	h.ctl.Counters.Refused++
	return true
}

// maxBurst is how many segments a connection can have to send at once: a window of
// 1 GiB, of segments of the least size that there is, comes to fewer.
const maxBurst = 1 << 22

// room reports whether i's circuit takes another packet; if not, i will be tried
// again when it does.
func (h *Half) room(i uint32) bool {
	circuit := h.aux[i].circuit
	room, backlog := h.roomOn(circuit)
	if room > 0 && (backlog < corkBacklog || !h.conns[i].Corkable()) && !h.holdsBack(i) {
		return true
	}
	h.enlist(listBlocked, i)
	h.drv.Notify(circuit, backlog > 0, room == 0)
	return false
}

// offload returns how many octets of payload a segment for circuit may have, if
// its driver cuts it into smaller ones.
func (h *Half) offload(circuit uint16, fast bool) uint32 {
	if !fast {
		return 0
	}
	n := min(h.drv.Offload(circuit), pool.MaxPDU)
	n -= min(n, mostHeaders)
	// Full buffers, and the first may be full from its middle on.
	return min(n, uint32((pool.MaxPieces-1)*h.drv.BufferSize()))
}

// mostHeaders is how many octets of a packet are not payload, at most.
const mostHeaders = wire.IPv6Len + 60

// transmit puts the segment in h.out into a packet of connection i. It reports false
// if the device can't take it now.
func (h *Half) transmit(i uint32) bool {
	c := &h.conns[i]
	p := h.packet()
	h.header(p, &c.Flow, &h.out, c.Opt.TTL, c.Opt.TOS)
	circuit := h.aux[i].circuit
	if h.out.Len > 0 {
		h.bulk.sent(i)
	}
	switch {
	case h.out.Len == 0 || h.gather(p, circuit):
		return h.emit(p, circuit)
	case h.drv.Usable(circuit):
		return h.bounce(p, circuit)
	}
	h.transmitSlow(p)
	return true
}

// bounce sends the segment in h.out from a copy in buffers of the circuit: its
// payload lies elsewhere, since the circuit came later than the data, or in too
// many pieces. Without buffers the packet is lost, as a packet may be.
func (h *Half) bounce(p *pool.Packet, circuit uint16) (taken bool) {
	taken = true
	p.Region, p.NPieces = pool.TxRegion(circuit), 0
	size, left := uint32(h.drv.BufferSize()), h.out.Len
	for _, op := range h.alloc(circuit, min(pool.MaxPieces, int((left+size-1)/size))) {
		p.Bufs[p.NPieces], p.Pieces[p.NPieces] = op.Buf, pool.Piece{Off: op.Off, Len: min(size, left)}
		p.NPieces++
		left -= min(size, left)
	}
	if left == 0 {
		h.copyAcross(p)
		h.ctl.Counters.Copied += uint64(p.Payload)
		taken = h.emit(p, circuit)
	} else {
		h.ctl.Counters.NoRoute++
	}
	for _, b := range p.Bufs[:p.NPieces] {
		h.free(p.Region, b)
	}
	return taken
}

// copyAcross copies the payload of the segment in h.out into the pieces of p.
func (h *Half) copyAcross(p *pool.Packet) {
	octets := h.drv.Octets(p.Region)
	at, skip := h.out.First, h.out.Skip
	for _, q := range p.Pieces[:p.NPieces] {
		room := octets[q.Off : q.Off+q.Len]
		for len(room) > 0 {
			c := &h.chunks[at]
			n := uint32(copy(room, h.octets(c, skip, c.Len-skip)))
			room = room[n:]
			if skip += n; skip == c.Len {
				at, skip = c.Next, 0
			}
		}
	}
}

// header writes the headers of a segment into a packet that has no payload yet.
// The checksum is left out: on a circuit it is never needed, and elsewhere
// computed when the packet is put together.
func (h *Half) header(p *pool.Packet, f *wire.Flow, s *tcp.Segment, ttl, tos uint8) {
	ip := wire.IP{Src: f.Local.Addr, Dst: f.Remote.Addr, Proto: protoTCP, TTL: ttl, TOS: tos | s.ECN, DontFragment: true}
	t := wire.TCP{
		SrcPort: f.Local.Port, DstPort: f.Remote.Port, Seq: s.Seq, Ack: s.Ack,
		Flags: s.Flags, Window: s.Window, Urgent: s.Urgent, Options: s.Options,
	}
	tl := t.Len()
	n := ip.Emit(p.Data[:], tl+int(s.Len))
	t.Emit(p.Data[n:])
	p.Header = uint16(n + tl)
	p.Inline, p.NPieces, p.Payload = 0, 0, s.Len
	p.SegSize = uint16(s.SegSize)
	p.Partial = true
	p.ID = pool.None
}

// gather puts the payload of the segment in h.out into a packet for circuit:
// inline if it is short, as pieces of our buffers on that circuit otherwise. It
// reports false if the payload lies elsewhere.
func (h *Half) gather(p *pool.Packet, circuit uint16) bool {
	if p.Payload <= uint32(pool.MaxData-wire.AAL5Len-int(p.Header)) {
		h.copyOut(p.Data[p.Header:p.Header:pool.MaxData])
		p.Inline = uint16(p.Payload)
		return true
	}
	if circuit == pool.NoCircuit {
		return false
	}
	p.Region = pool.TxRegion(circuit)
	at, skip, left := h.out.First, h.out.Skip, h.out.Len
	for left > 0 {
		c := &h.chunks[at]
		if c.Region != p.Region || p.NPieces == pool.MaxPieces {
			p.NPieces = 0
			return false
		}
		if n := min(c.Len-skip, left); n > 0 {
			p.Pieces[p.NPieces] = pool.Piece{Off: c.Off + skip, Len: n}
			p.Bufs[p.NPieces] = c.Buf
			p.NPieces++
			left -= n
		}
		at, skip = c.Next, 0
	}
	return true
}

// copyOut appends the payload of the segment in h.out to b.
func (h *Half) copyOut(b []byte) []byte {
	at, skip, left := h.out.First, h.out.Skip, h.out.Len
	for left > 0 {
		c := &h.chunks[at]
		n := min(c.Len-skip, left)
		b = append(b, h.octets(c, skip, n)...)
		left -= n
		at, skip = c.Next, 0
	}
	return b
}

// emit sends a packet by circuit, or through the connection server if there is
// none. It reports false if the circuit's device can't take it now.
func (h *Half) emit(p *pool.Packet, circuit uint16) bool {
	if circuit == pool.NoCircuit {
		h.transmitSlow(p)
		return true
	}
	if room, _ := h.roomOn(circuit); room == 0 {
		h.transmitSlow(p)
		return true
	}
	p.Circuit = circuit
	if !h.post(p) {
		return false
	}
	h.ctl.Counters.PacketsOut++
	return true
}

// transmitSlow sends a packet whose payload is that of h.out through the
// connection server, with a checksum, since it is copied on its way. Where that
// can't be done it is lost, as a packet may be; nor is there anybody who would cut
// a train.
func (h *Half) transmitSlow(p *pool.Packet) {
	if h.slow == nil || p.SegSize != 0 {
		h.ctl.Counters.NoRoute++
		return
	}
	if p.Payload > pool.MaxPDU {
		panic("BUG: a packet of more octets than there can be")
	}
	b := make([]byte, 0, int(p.Header)+int(p.Payload))
	b = append(b, p.Data[:p.Header]...)
	if p.Payload > 0 {
		b = h.copyOut(b)
	}
	var ip wire.IP
	if err := wire.ParseIP(b, &ip); err != nil {
		panic("BUG: packet of our own: " + err.Error())
	}
	t := b[ip.HeaderLen:]
	header := int(p.Header) - ip.HeaderLen
	sum := wire.TCPChecksum(&ip.Src, &ip.Dst, t[:header], [][]byte{t[header:]})
	t[16], t[17] = byte(sum>>8), byte(sum)
	h.ctl.Counters.PacketsOut++
	h.slow(b)
}

// events tells the program what happened on connection i, and sees to what has
// to be done when a connection begins or ends.
func (h *Half) events(i uint32) {
	c := &h.conns[i]
	ev := c.Events
	if ev == 0 {
		return
	}
	a := &h.aux[i]
	if ev&tcp.EventEstablished != 0 {
		h.learn(i)
	}
	if ev&tcp.EventEstablished != 0 && a.parent != none && a.use == useEmbryo && a.accepted == 0 {
		h.acceptable(i)
	}
	if ev&tcp.EventFastOpen != 0 {
		c.Events &^= tcp.EventFastOpen
		h.learnFast(c)
	}
	if ev&tcp.EventClosed != 0 {
		h.closed(i)
	}
	if ev&tcp.EventTimeWait != 0 {
		h.uncountOrphan(i)
	}
	switch a.use {
	case useProgram:
		h.tell(i)
	default:
		c.Events = 0
	}
}

// tell passes i's events on to the program: at once in its own process, through
// a list that it will look at otherwise.
func (h *Half) tell(i uint32) {
	if h.party == shm.BottomHalf {
		h.enlist(listTop, i)
		return
	}
	ev := h.conns[i].Events
	h.conns[i].Events = 0
	h.deliver(i, ev)
}
