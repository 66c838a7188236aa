package ring

import (
	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// Awake implements pool.Driver.
func (d *Driver) Awake() {}

// Receive implements pool.Operations. Circuits have their turn one after the other: of many
// those that are warm, as all are by which something has come that a look has found.
func (d *Driver) Receive(p *pool.Packet) bool {
	active := *d.active.Load()
	n := d.inTurn(active)
	if d.next >= n || d.taken >= burst {
		d.next++
		d.taken = 0
		if d.next >= n {
			d.next = 0
		}
	}
	for range n {
		if c := d.turnOf(active, d.next); c != nil {
			for d.waiting(c) {
				d.taken++
				if d.take(c, p) {
					return true
				}
			}
		}
		d.taken = 0
		if d.next++; d.next >= n {
			d.next = 0
		}
	}
	return false
}

// waiting reports whether the peer has sent something that was not taken.
func (d *Driver) waiting(c *circuit) bool {
	shm.Step()
	n := c.peerEnd.counts.sent() - c.st.Seen
	if n == 0 || c.gen != c.st.Gen || c.st.State.Load() != circuitUp {
		return false
	}
	if n > Slots {
		d.broken(c)
		return false
	}
	return true
}

// take takes the next packet of circuit c; it reports false if it was damaged.
// The slot is the peer's: it is copied before it is looked at.
func (d *Driver) take(c *circuit, p *pool.Packet) bool {
	s := &c.peerSlots[c.st.Seen%Slots]
	id, total := s.id, s.total
	header, inline, pieces, flags := int(s.header), int(s.inline), int(s.pieces), s.flags
	n := header + inline
	ok := header <= maxHeader && n+wire.AAL5Len <= pool.MaxData && pieces <= pool.MaxPieces &&
		total <= pool.MaxPDU && (inline == 0 || pieces == 0)
	if ok {
		copy(p.Data[:n+wire.AAL5Len], s.data[:n+wire.AAL5Len])
		copy(p.Pieces[:pieces], s.piece[:pieces])
	}
	ours := ok && pieces > 0 && id < PDUs && c.holds[id] == 0
	if ours {
		c.holds[id] = mark(markTake, c.st.Seen, uint32(pieces))
		step(&c.st.Seen)
		c.holds[id] = uint32(pieces)
		c.st.Held += uint32(pieces)
	} else {
		c.st.Seen++
	}
	c.st.PacketsIn++
	d.touch(c)
	if !ok || pieces > 0 && !ours {
		d.counters.BadSlot++
		return false
	}
	p.Circuit, p.Region = c.index, pool.RxRegion(c.index)
	p.Header, p.Inline, p.NPieces = uint16(header), uint16(inline), uint8(pieces)
	p.Partial = flags&flagPartial != 0
	p.ID, p.PathMTU = pool.None, 0
	if ours {
		p.ID = id
	}
	return d.accept(c, p, total)
}

// accept checks pieces and trailer.
func (d *Driver) accept(c *circuit, p *pool.Packet, total uint32) bool {
	n := int(p.Header + p.Inline)
	length := uint64(n)
	bad := &d.counters.BadPiece
	for _, q := range p.Pieces[:p.NPieces] {
		length += uint64(q.Len)
		if q.Len == 0 || uint64(q.Off)+uint64(q.Len) > uint64(len(c.peerOctets)) {
			return d.refuse(c, p, bad)
		}
	}
	var t wire.AAL5
	if length != uint64(total) || wire.ParseAAL5(p.Data[n:n+wire.AAL5Len], &t) != nil || uint32(t.Length) != total {
		return d.refuse(c, p, &d.counters.BadSlot)
	}
	p.Payload = total - uint32(p.Header)
	if uint32(t.RxVCI) != c.st.Remote {
		return d.refuse(c, p, &d.counters.BadVCI)
	}
	if d.control.crc != 0 && c.checksum(p, &t, c.peerOctets) != t.CRC {
		return d.refuse(c, p, &d.counters.BadCRC)
	}
	return true
}

func (d *Driver) refuse(c *circuit, p *pool.Packet, why *uint64) bool {
	*why++
	if p.ID != pool.None {
		d.Release(c.index, p.ID, int(p.NPieces))
	}
	return false
}

// Release implements pool.Operations. A process that has not mapped the circuit (its
// program closes a connection that it never used) leaves it to the other half,
// which has, to tell the peer.
func (d *Driver) Release(i uint16, id uint32, n int) {
	c := d.circuit(i)
	if c == nil {
		c = d.newCircuit(i)
	}
	if c.release(id, n) {
		d.giveBack(c, id)
	}
}

// giveBack lets go of a packet that nothing refers to any more.
func (d *Driver) giveBack(c *circuit, id uint32) {
	if c.peer == nil {
		c.holds[id] = releaseLater
		c.st.Later++
		return
	}
	d.tell(c, id)
}

// releaseLater marks a packet that is not held any more, but the peer has not
// been told.
const releaseLater = ^uint32(0)

// tell puts an identifier into the releases that the peer reads.
func (d *Driver) tell(c *circuit, id uint32) {
	c.ownReleases[c.st.Released%PDUs] = id
	c.holds[id] = mark(markTell, c.st.Released, 0)
	step(&c.st.Released)
	c.holds[id] = 0
	d.touch(c)
}

// tellLater tells the peer what the other half could not.
func (d *Driver) tellLater(c *circuit) {
	for id := range c.holds {
		if c.holds[id] == releaseLater {
			d.tell(c, uint32(id))
		}
	}
	c.st.Later = 0
}

// release lets go of n pieces of a held packet, and reports whether they were
// the last.
func (c *circuit) release(id uint32, n int) bool {
	held := c.holds[id]
	if held < uint32(n) || held > pool.MaxPieces {
		panic("BUG: a piece was released twice")
	}
	c.st.Held -= uint32(n)
	if held == uint32(n) {
		return true // the word stays until the peer has been told: see marks.go
	}
	c.holds[id] = held - uint32(n)
	return false
}

// Crowded reports whether so much of the peer's memory is held on circuit i that
// payloads had better be copied out of it at once.
func (d *Driver) Crowded(i uint16) bool {
	return int(i) < MaxCircuits && d.states[i].Held >= holdLimit
}

// checksum returns the CRC that a packet's trailer should carry: AAL-5's CRC-32
// over payload and the first four octets of the trailer (ITU-T I.363.5).
func (c *circuit) checksum(p *pool.Packet, t *wire.AAL5, octets []byte) uint32 {
	n := p.Header + p.Inline
	acc := wire.CRC(0, p.Data[:n])
	for _, q := range p.Pieces[:p.NPieces] {
		acc = wire.CRC(acc, octets[q.Off:q.Off+q.Len])
	}
	return t.CRCOver(acc)
}
