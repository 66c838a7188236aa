package nic

import (
	"errors"
	"fmt"
	"sync/atomic"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// Driver is one half's use of the TAP device: it implements pool.Driver with one
// circuit, pool.NIC. Both halves of an application have a Driver on the same
// segment and the same device; the segment's lock is held around every method
// that does not say otherwise.
type Driver struct {
	fd       int         // of the TAP device, not blocking
	gone     atomic.Bool // the device is no more: nobody waits for it
	nap      nap
	pace     pace
	post     post
	ctl      *control
	bufs     pool.Buffers
	txOctets []byte
	rxOctets []byte
	holds    []uint32
	links    []uint32

	unplaceable bool // the program has waited with memory that can't be written
	in, out     shm.Vector
	inHead      [headLen]byte
	outHead     [headLen + pool.MaxData]byte
}

var _ pool.Driver = (*Driver)(nil)

// Initialise prepares the driver's part of a fresh segment.
func Initialise(seg *shm.Segment) error {
	d, err := attach(seg, -1)
	if err != nil {
		return err
	}
	d.ctl.version = Version
	d.bufs.Reset(Buffers)
	d.ctl.rx.Reset(Slots)
	return nil
}

// New returns a driver for the pool whose state lies in seg, over a TAP device
// whose descriptor fd, which stays the caller's, does not block.
func New(seg *shm.Segment, fd int) (*Driver, error) {
	d, err := attach(seg, fd)
	if err == nil && d.ctl.version != Version {
		err = fmt.Errorf("nic state: %w", shm.ErrLayout)
	}
	return d, err
}

func attach(seg *shm.Segment, fd int) (*Driver, error) {
	d := &Driver{fd: fd, nap: nap{poll: -1}}
	var errs [6]error
	var refs, links []uint32
	d.ctl, errs[0] = shm.One[control](seg, secControl)
	d.txOctets, errs[1] = shm.Slice[byte](seg, secTxOctets)
	refs, errs[2] = shm.Slice[uint32](seg, secTxRefs)
	links, errs[3] = shm.Slice[uint32](seg, secTxLinks)
	d.rxOctets, errs[4] = shm.Slice[byte](seg, secRxOctets)
	d.holds, errs[5] = shm.Slice[uint32](seg, secRxHolds)
	var err error
	d.links, err = shm.Slice[uint32](seg, secRxLinks)
	if err := errors.Join(errors.Join(errs[:]...), err); err != nil {
		return nil, err
	}
	if len(d.txOctets) != Buffers*BufferSize || len(refs) != Buffers || len(links) != Buffers ||
		len(d.rxOctets) != Slots*SlotSize || len(d.holds) != Slots || len(d.links) != Slots {
		return nil, fmt.Errorf("nic state: %w", shm.ErrLayout)
	}
	d.bufs = pool.NewBuffers(&d.ctl.tx, refs, links, BufferSize, 0)
	return d, nil
}

// Counters returns what was done and passed over so far.
func (d *Driver) Counters() *Counters { return &d.ctl.counters }

// Octets implements pool.Driver.
func (d *Driver) Octets(region uint16) []byte {
	if pool.IsTx(region) {
		return d.txOctets
	}
	return d.rxOctets
}

// The circuit is always there.

// Changed implements pool.Driver.
func (d *Driver) Changed() bool { return false }

// Mapped implements pool.Driver.
func (d *Driver) Mapped(circuit uint16) bool { return circuit == pool.NIC }

// Usable implements pool.Driver.
func (d *Driver) Usable(circuit uint16) bool { return circuit == pool.NIC }

// Use implements pool.Driver.
func (d *Driver) Use(uint16, int) {}

// Execute implements pool.Driver. Each packet is a system call of its own: the device
// takes and gives one at a time.
func (d *Driver) Execute(ops []pool.Op) { pool.Perform(d, ops) }

// Crossings implements pool.Driver: reads and writes of the device.
func (d *Driver) Crossings() uint64 { return d.ctl.counters.Reads + d.ctl.counters.Writes }

// MayRefuse implements pool.Driver.
func (d *Driver) MayRefuse(uint16) bool { return true }

// UseCaches implements pool.Cacher.
func (d *Driver) UseCaches(half int) { d.bufs.UseCache(half) }

// FlushIdle implements pool.Cacher.
func (d *Driver) FlushIdle() { d.bufs.FlushIdle() }

// CacheStats implements pool.Cacher.
func (d *Driver) CacheStats() pool.CacheStats { return d.bufs.CacheStats() }

// BufferSize implements pool.Driver.
func (d *Driver) BufferSize() int { return BufferSize }

// Alloc implements pool.Operations.
func (d *Driver) Alloc(uint16) (buf, off uint32) { return d.bufs.Alloc() }

// Ref implements pool.Driver.
func (d *Driver) Ref(_ uint16, buf uint32) { d.bufs.Ref(buf) }

// Unref implements pool.Operations: the device has copied what it was given, so that
// a buffer is free when nobody refers to it.
func (d *Driver) Unref(_ uint16, buf uint32) { d.bufs.Unref(buf) }

// SetTxLimit changes how many buffers for sending may be in use.
func (d *Driver) SetTxLimit(n int) { d.bufs.SetLimit(n) }

// InUse returns how many buffers for sending are in use, and how many packets
// received are held.
func (d *Driver) InUse() (tx, held int) { return d.bufs.Used(), int(d.ctl.held) }

// Memory returns how many octets of the buffers for sending, and of the slots of packets
// received, hold something.
func (d *Driver) Memory() uint64 {
	return uint64(d.bufs.Used())*BufferSize + uint64(Slots-min(d.ctl.rx.Free, Slots))*SlotSize
}

// Rebuild implements pool.Driver.
func (d *Driver) Rebuild(tx, held func(region uint16, id uint32) uint32) {
	d.bufs.Rebuild(func(i uint32) uint32 { return tx(pool.TxRegion(pool.NIC), i) })
	d.ctl.held = 0
	d.ctl.rx.Rebuild(d.links, func(i uint32) bool {
		d.holds[i] = held(pool.RxRegion(pool.NIC), i)
		if d.holds[i] > 0 {
			d.ctl.held++
		}
		return d.holds[i] > 0
	})
}
