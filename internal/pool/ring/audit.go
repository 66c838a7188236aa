package ring

import (
	"fmt"

	"usertcp/internal/pool"
)

// Fits checks that the references of all buffers and packets are those that tx and
// held count, besides what the peers have not released. It is for testers, while
// no step is in progress.
func (d *Driver) Fits(tx, held func(region uint16, id uint32) uint32) error {
	for i := range d.states {
		if d.states[i].State.Load() == circuitFree {
			continue
		}
		if err := d.newCircuit(uint16(i)).fits(tx, held); err != nil {
			return fmt.Errorf("circuit %d: %w", i, err)
		}
	}
	return nil
}

func (c *circuit) fits(tx, held func(region uint16, id uint32) uint32) error {
	refs := make([]uint32, Buffers)
	ids := uint32(PDUs)
	for id := range c.pdus {
		u := &c.pdus[id]
		if u.n > pool.MaxPieces {
			return fmt.Errorf("packet %d is between two states: %#x", id, u.n)
		}
		if u.n > 0 {
			ids--
		}
		for _, b := range u.bufs[:u.n] {
			refs[b]++
		}
	}
	used := 0
	for b, n := range refs {
		want := n + tx(pool.TxRegion(c.index), uint32(b))
		if got := c.bufs.Refs(uint32(b)); got != want {
			return fmt.Errorf("buffer %d has %d references, %d are counted", b, want, got)
		}
		if want > 0 {
			used++
		}
	}
	if used != c.bufs.Used() || ids != c.st.IDs.Free {
		return fmt.Errorf("%d buffers are in use, %d are counted; %d identifiers are free, %d are counted", used, c.bufs.Used(), ids, c.st.IDs.Free)
	}
	return c.fitsHeld(held)
}

func (c *circuit) fitsHeld(held func(region uint16, id uint32) uint32) error {
	total := uint32(0)
	for id, n := range c.holds {
		if n == releaseLater {
			n = 0
		}
		want := held(pool.RxRegion(c.index), uint32(id))
		if n != want {
			return fmt.Errorf("packet %d of the peer is held by %d chunks, %d are counted", id, want, n)
		}
		total += want
	}
	if total != c.st.Held {
		return fmt.Errorf("%d pieces are held, %d are counted", total, c.st.Held)
	}
	return nil
}
