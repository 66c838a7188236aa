package nic

import (
	"fmt"

	"usertcp/internal/pool"
)

// Fits checks that the references of all buffers and slots are those that tx and held
// count. It is for testers, while no step is in progress.
func (d *Driver) Fits(tx, held func(region uint16, id uint32) uint32) error {
	used := 0
	for b := range uint32(Buffers) {
		want := tx(pool.TxRegion(pool.NIC), b)
		if got := d.bufs.Refs(b); got != want {
			return fmt.Errorf("buffer %d has %d references, %d are counted", b, want, got)
		}
		if want > 0 {
			used++
		}
	}
	if used != d.bufs.Used() {
		return fmt.Errorf("%d buffers are in use, %d are counted", used, d.bufs.Used())
	}
	slots := uint32(0)
	for id, n := range d.holds {
		want := held(pool.RxRegion(pool.NIC), uint32(id))
		if n != want {
			return fmt.Errorf("slot %d is held by %d chunks, %d are counted", id, want, n)
		}
		if want > 0 {
			slots++
		}
	}
	if free := d.ctl.rx.Limit - slots; slots != d.ctl.held || d.ctl.rx.Free != free {
		return fmt.Errorf("%d slots are held, %d are counted; %d are free, %d are counted", slots, d.ctl.held, free, d.ctl.rx.Free)
	}
	return nil
}
