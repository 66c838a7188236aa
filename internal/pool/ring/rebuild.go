package ring

import "usertcp/internal/pool"

// Rebuild implements pool.Driver.
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
	}
}

// rebuildTx counts the references of buffers for sending anew: those of chunks,
// and those of packets that the peer has not released.
func (c *circuit) rebuildTx(tx func(uint16, uint32) uint32) {
	refs := make([]uint32, Buffers)
	for id := range c.pdus[:min(c.st.IDs.Fresh, PDUs)] {
		u := &c.pdus[id]
		for _, b := range u.bufs[:min(u.n, pool.MaxPieces)] {
			refs[b%Buffers]++
		}
	}
	c.st.IDs.Rebuild(c.pduLinks, func(id uint32) bool { return c.pdus[id].n != 0 })
	c.bufs.Rebuild(func(i uint32) uint32 { return refs[i] + tx(pool.TxRegion(c.index), i) })
}

// rebuildHolds releases packets of the peer that nothing refers to any more.
func (c *circuit) rebuildHolds(d *Driver, held func(uint16, uint32) uint32) {
	c.st.Held, c.st.Later = 0, 0
	for id := range c.holds {
		want := held(pool.RxRegion(c.index), uint32(id))
		had := c.holds[id]
		c.holds[id] = want
		c.st.Held += want
		if want == 0 && had > 0 && c.own != nil {
			d.tell(c, uint32(id))
		}
	}
}
