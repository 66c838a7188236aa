package nic

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// Receive implements pool.Operations. A packet is read straight into a slot: its
// payload stays there until the program has read it. Short payloads go into the
// packet itself.
func (d *Driver) Receive(p *pool.Packet) bool { return d.receive(p, 0, nil) }

// receive takes the next packet; see place.go for header and into.
func (d *Driver) receive(p *pool.Packet, header int, into []byte) bool {
	c := &d.ctl.counters
	if d.pace.rest() {
		return false
	}
	for {
		slot := d.ctl.rx.Alloc(d.links)
		if slot == shm.None {
			d.discard()
			return false
		}
		n, ok := d.read(slot, header, into)
		if !ok {
			d.ctl.rx.Release(d.links, slot)
			return false
		}
		var l layout
		b := d.rxOctets[int(slot)*SlotSize:]
		placed := d.placed(b, n, header, into)
		if mtu := tooLarge(&d.inHead); mtu != 0 {
			n = complain(&d.inHead, b[:SlotSize], n, mtu)
		}
		b = b[:n]
		why := inspect(&d.inHead, b, &l)
		if why == fine {
			c.FramesIn++
			c.OctetsIn += uint64(l.total)
			if l.segSize > 0 {
				c.MergedIn++
			}
			d.fill(p, slot, b, &l, placed)
			return true
		}
		d.passOver(why)
		d.ctl.rx.Release(d.links, slot)
	}
}

// read reads the next frame, its packet into a slot, and what lies behind so many
// octets of headers into into first; ok is false if there is none.
func (d *Driver) read(slot uint32, header int, into []byte) (n int, ok bool) {
	c := &d.ctl.counters
	d.in.Reset()
	d.in.Add(d.inHead[:])
	at := int(slot) * SlotSize
	d.in.Add(d.rxOctets[at : at+header])
	d.in.Add(into)
	d.in.Add(d.rxOctets[at+header+len(into) : at+SlotSize])
	for !d.gone.Load() {
		n, errno := d.in.Read(d.fd)
		c.Reads++
		switch {
		case errno == unix.EAGAIN:
			c.EmptyReads++
			d.pace.nothing()
			return 0, false
		case errno == unix.EFAULT && len(into) > 0:
			// The packet is lost. The program's memory can't be written: it will find out
			// when it is given the octets.
			d.unplaceable = true
			return 0, false
		case errno != 0 || n == 0:
			c.RxErrors++
			d.gone.Store(true)
			return 0, false
		}
		d.received()
		d.pace.packet()
		if n > headLen {
			return n - headLen, true
		}
		c.Short++
	}
	return 0, false
}

// discard drops the next frame, as a pool does whose Rx buffers are all in use
// (paper section 3).
func (d *Driver) discard() {
	var b [headLen]byte
	d.in.Reset()
	d.in.Add(b[:])
	if _, errno := d.in.Read(d.fd); errno == 0 {
		d.ctl.counters.RxFull++
	}
}

func (d *Driver) passOver(why reason) {
	c := &d.ctl.counters
	switch why {
	case short:
		c.Short++
	case notIP:
		c.NotIP++
	case badGSO:
		c.BadGSO++
	default:
		c.BadHeader++
	}
}

// fill makes a packet of what lies in a slot, and of its first payload octets in the
// reader's memory, as many as have been placed there.
func (d *Driver) fill(p *pool.Packet, slot uint32, b []byte, l *layout, placed int) {
	p.Circuit, p.Region, p.Partial = pool.NIC, pool.RxRegion(pool.NIC), !l.verify
	p.Header, p.Inline, p.NPieces = uint16(l.header), 0, 0
	p.Payload, p.ID, p.SegSize = uint32(l.total-l.header), pool.None, uint16(l.segSize)
	p.PathMTU = wayBack(&d.inHead)
	p.Placed = uint32(min(placed, int(p.Payload)))
	if l.total <= pool.MaxData && p.Placed == 0 {
		copy(p.Data[:], b[:l.total])
		p.Inline = uint16(p.Payload)
		d.ctl.rx.Release(d.links, slot)
		return
	}
	copy(p.Data[:], b[:l.header])
	p.NPieces, p.ID = 1, slot
	p.Pieces[0] = pool.Piece{Off: slot*SlotSize + uint32(l.header), Len: p.Payload}
	d.holds[slot] = 1
	d.ctl.held++
}

// Release implements pool.Operations.
func (d *Driver) Release(_ uint16, id uint32, n int) {
	if id >= Slots || d.holds[id] < uint32(n) {
		panic("BUG: a piece was released twice")
	}
	if d.holds[id] -= uint32(n); d.holds[id] == 0 {
		d.ctl.held--
		d.ctl.rx.Release(d.links, id)
	}
}

// Crowded implements pool.Driver.
func (d *Driver) Crowded(uint16) bool { return d.ctl.held > holdLimit }
