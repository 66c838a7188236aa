package ring

import (
	"sync/atomic"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// Room implements pool.Driver: free slots, and identifiers for packets whose
// pieces the peer will hold.
func (d *Driver) Room(i uint16) int {
	c := d.circuit(i)
	if c == nil || c.peer == nil || c.st.State.Load() != circuitUp {
		return 0
	}
	free := Slots - d.backlog(c)
	if int(c.st.IDs.Free) < free {
		d.reclaim(c)
	}
	return max(0, min(free, int(c.st.IDs.Free)))
}

// Backlog implements pool.Driver.
func (d *Driver) Backlog(i uint16) int {
	c := d.circuit(i)
	if c == nil || c.peer == nil {
		return 0
	}
	return d.backlog(c)
}

// backlog returns how many packets the peer has not taken out yet. What the
// peer says is checked: it can't have seen what was not sent.
func (d *Driver) backlog(c *circuit) int {
	n := c.st.Sent - c.peerEnd.counts.seen()
	if n > Slots {
		d.broken(c)
		return Slots
	}
	return int(n)
}

// Send implements pool.Operations.
func (d *Driver) Send(p *pool.Packet) bool {
	c := d.circuit(p.Circuit)
	if c == nil || c.peer == nil {
		d.counters.Dropped++
		return true
	}
	s := &c.ownSlots[c.st.Sent%Slots]
	s.header, s.inline, s.pieces = uint8(p.Header), uint8(p.Inline), p.NPieces
	total := uint32(p.Header) + p.Payload
	s.total = total
	s.flags = 0
	if p.Partial {
		s.flags = flagPartial
	}
	n := int(p.Header + p.Inline)
	copy(s.data[:n], p.Data[:n])
	copy(s.piece[:p.NPieces], p.Pieces[:p.NPieces])
	id, u := c.pin(p)
	s.id = id
	trailer := wire.AAL5{RxVCI: d.vci, Length: uint16(total)}
	if d.control.crc != 0 {
		trailer.CRC = c.checksum(p, &trailer, c.ownOctets)
	}
	trailer.Emit(s.data[n:])
	if u != nil {
		step(&c.st.Sent)
		u.n = uint32(p.NPieces)
	} else {
		c.st.Sent++
	}
	c.st.PacketsOut++
	d.touch(c)
	return true
}

// pin gives a packet with pieces an identifier, and each of its buffers a
// reference until the peer has released it. What it returns besides is marked as
// about to be sent, nil if there are no pieces.
func (c *circuit) pin(p *pool.Packet) (uint32, *pdu) {
	if p.NPieces == 0 {
		return pool.None, nil
	}
	id := c.st.IDs.Alloc(c.pduLinks)
	if id == shm.None {
		panic("BUG: packet sent without room")
	}
	u := &c.pdus[id]
	copy(u.bufs[:], p.Bufs[:p.NPieces])
	u.n = mark(markPin, c.st.Sent, uint32(p.NPieces))
	for _, b := range p.Bufs[:p.NPieces] {
		c.bufs.Ref(b)
	}
	return id, u
}

// reclaim takes back what the peer has released.
func (d *Driver) reclaim(c *circuit) {
	if c.peer == nil {
		return
	}
	upTo := c.peerEnd.released.Load()
	if upTo-c.st.Reclaimed > PDUs {
		d.broken(c)
		return
	}
	for c.st.Reclaimed != upTo {
		id := c.peerReleases[c.st.Reclaimed%PDUs] // read once, then checked
		if id >= PDUs || c.pdus[id].n == 0 || c.pdus[id].n > pool.MaxPieces {
			d.counters.BadRelease++
			step(&c.st.Reclaimed)
			continue
		}
		u := &c.pdus[id]
		n := u.n
		u.n = mark(markUnpin, c.st.Reclaimed, n)
		step(&c.st.Reclaimed)
		for _, b := range u.bufs[:n] {
			c.bufs.Unref(b)
		}
		u.n = 0
		c.st.IDs.Release(c.pduLinks, id)
	}
}

// broken closes a circuit whose peer does not keep to the rules.
func (d *Driver) broken(c *circuit) {
	d.counters.BadIndex++
	c.st.State.Store(circuitDead)
}

func (d *Driver) touch(c *circuit) {
	c.quiet = 0
	if !c.warm.Load() {
		d.heat(c)
	}
	if !c.dirty {
		c.dirty = true
		d.dirty = append(d.dirty, c)
	}
}

// Flush implements pool.Driver.
func (d *Driver) Flush(r *shm.Rings) {
	for _, c := range d.dirty {
		c.dirty = false
		if c.gen == c.st.Gen && c.peer != nil {
			d.publish(c, r)
		}
	}
	d.dirty = d.dirty[:0]
}

// publish shows the peer what is new, and finds out whom of it to wake: one who
// sleeps, if there is a packet for him or something happened that he asked for.
func (d *Driver) publish(c *circuit, r *shm.Rings) {
	e := c.ownEnd
	wake := c.rouse
	c.rouse = false
	if old, now := c.st.Shown, bothCounts(c.st.Sent, c.st.Seen); old != now {
		shm.Step()
		e.counts.word.Store(now)
		c.st.Shown = now
		wake = wake || uint32(old) != c.st.Sent || c.passes(uint32(old>>32))
	}
	if e.released.Load() != c.st.Released {
		shm.Step()
		e.released.Store(c.st.Released)
		shm.Step()
		wake = wake || c.peerEnd.notifyReleased.Load() != 0
	}
	if !wake {
		return
	}
	if who := c.bell.Ring(&c.st.LastRing); who != shm.Nobody {
		d.counters.Rings++
		r.Add(c.doorbells[who-1])
	}
}

// passes reports whether the peer has asked for a ring when so many packets have been taken
// out as now are, and were not yet when it was old.
func (c *circuit) passes(old uint32) bool {
	if old == c.st.Seen {
		return false
	}
	shm.Step()
	n := c.peerEnd.notifySeen.Load()
	return n&wanted != 0 && int32(c.st.Seen-uint32(n)) >= 0 && int32(old-uint32(n)) < 0
}

// Notify implements pool.Driver.
func (d *Driver) Notify(i uint16, sent, released bool) {
	c := d.circuit(i)
	if c == nil || c.peer == nil {
		return
	}
	shm.Step()
	if sent {
		c.ownEnd.notifySeen.Store(wanted | uint64(c.st.Sent))
	}
	if released {
		c.ownEnd.notifyReleased.Store(1)
	}
}

// notice takes note of what has come about on a circuit.
func (d *Driver) notice(c *circuit) {
	if c.gen != c.st.Gen {
		return
	}
	if c.st.Later > 0 {
		d.tellLater(c)
	}
	if c.seenEnough() {
		c.ownEnd.notifySeen.Store(0)
	}
	if c.hasReleased() {
		c.ownEnd.notifyReleased.Store(0)
		d.reclaim(c)
	}
}

// seenEnough reports whether the peer has looked at as many packets as Notify
// asked for.
func (c *circuit) seenEnough() bool {
	n := c.ownEnd.notifySeen.Load()
	return n&wanted != 0 && int32(c.peerEnd.counts.seen()-uint32(n)) >= 0
}

// hasReleased reports whether the peer has released something since Notify asked
// for it.
func (c *circuit) hasReleased() bool {
	return c.ownEnd.notifyReleased.Load() != 0 && c.peerEnd.released.Load() != atomic.LoadUint32(&c.st.Reclaimed)
}
