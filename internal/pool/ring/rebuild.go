package ring

import "usertcp/internal/pool"

// Rebuild implements pool.Driver. A dead process may have moved counters that it
// did not show the peer, or shown them and not rung: the next Flush does both.
func (d *Driver) Rebuild(tx, held func(region uint16, id uint32) uint32) {
	for i := range d.states {
		st := &d.states[i]
		if st.State.Load() == circuitFree {
			continue
		}
		c := d.circuit(uint16(i))
		if c == nil {
			c = d.newCircuit(uint16(i))
		}
		c.rebuildTx(tx)
		c.rebuildHolds(d, held)
		d.rouse(c)
	}
}

// Recount says how many connections use each circuit, after a death in which the
// counts may have gone wrong.
func (d *Driver) Recount(users func(circuit uint16) uint32) {
	for i := range d.states {
		if st := &d.states[i]; st.State.Load() != circuitFree {
			st.Users = users(uint16(i))
		}
	}
}

// rouse has the next Flush show all of a circuit's counters, and ring whoever
// sleeps at its other end.
func (d *Driver) rouse(c *circuit) {
	if c.peer == nil {
		return
	}
	c.st.LastRing = 0
	c.rouse = true
	d.touch(c)
}

// rebuildTx counts the references of buffers for sending anew: those of chunks,
// and those of packets that the peer has not released.
func (c *circuit) rebuildTx(tx func(uint16, uint32) uint32) {
	refs := make([]uint32, Buffers)
	for id := range c.pdus[:min(c.st.IDs.Fresh, PDUs)] {
		u := &c.pdus[id]
		u.n = c.settlePDU(u.n)
		for _, b := range u.bufs[:u.n] {
			refs[b%Buffers]++
		}
	}
	c.st.IDs.Rebuild(c.pduLinks, func(id uint32) bool { return c.pdus[id].n != 0 })
	c.bufs.Rebuild(func(i uint32) uint32 { return refs[i] + tx(pool.TxRegion(c.index), i) })
}

// rebuildHolds releases packets of the peer that nothing refers to any more. Whose a
// packet is that was changing hands is found out for all before any is released: that
// moves the counter that the marks are compared with.
func (c *circuit) rebuildHolds(d *Driver, held func(uint16, uint32) uint32) {
	c.st.Held, c.st.Later = 0, 0
	ours := make([]bool, len(c.holds))
	for id := range c.holds {
		ours[id] = c.settleHold(c.holds[id])
	}
	for id := range c.holds {
		switch want := held(pool.RxRegion(c.index), uint32(id)); {
		case want > 0:
			c.holds[id] = want
			c.st.Held += want
		case ours[id]:
			d.giveBack(c, uint32(id))
		default:
			c.holds[id] = 0
		}
	}
}
