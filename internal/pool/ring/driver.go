package ring

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// Driver is one half's use of the ring: it implements pool.Driver over the
// circuits of one pool. Both halves of an application have a Driver on the same
// segment; the segment's lock is held around every method that does not say
// otherwise.
type Driver struct {
	vci      wire.VCI
	states   []circuitState
	refs     []uint32
	links    []uint32
	pdus     []pdu
	pduLinks []uint32
	holds    []uint32
	counters *Counters
	control  *control
	known    atomic.Uint32 // control.changes when the process last looked

	// circuits are those mapped in this process, by index; copied on change, so
	// that Pending and Octets need no lock.
	circuits atomic.Pointer[[]*circuit]
	active   atomic.Pointer[[]*circuit]
	change   sync.Mutex
	warmth   warmth

	next  int // circuit that Receive looks at first
	taken int // packets taken from it in a row
	dirty []*circuit

	half   int // whose buffer caches are used
	caches bool
}

var _ pool.Driver = (*Driver)(nil)

// Initialise prepares the driver's part of a fresh segment. With crc every PDU
// carries AAL-5's CRC-32 and is checked.
func Initialise(seg *shm.Segment, crc bool) error {
	c, err := shm.One[control](seg, secControl)
	if err != nil {
		return err
	}
	c.txLimit = Buffers
	if crc {
		c.crc = 1
	}
	return nil
}

// NewDriver returns a driver for the pool with the given VCI, whose state lies
// in seg.
func NewDriver(seg *shm.Segment, vci wire.VCI) (*Driver, error) {
	d := &Driver{vci: vci}
	var errs [6]error
	d.states, errs[0] = shm.Slice[circuitState](seg, secCircuits)
	d.refs, errs[1] = shm.Slice[uint32](seg, secTxRefs)
	d.links, errs[2] = shm.Slice[uint32](seg, secTxLinks)
	d.pdus, errs[3] = shm.Slice[pdu](seg, secPDUs)
	d.pduLinks, errs[4] = shm.Slice[uint32](seg, secPDULinks)
	d.holds, errs[5] = shm.Slice[uint32](seg, secHolds)
	var err error
	if d.counters, err = shm.One[Counters](seg, secCounters); err != nil {
		return nil, err
	}
	if d.control, err = shm.One[control](seg, secControl); err != nil {
		return nil, err
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if len(d.states) != MaxCircuits || len(d.refs) != MaxCircuits*Buffers || len(d.pdus) != MaxCircuits*PDUs {
		return nil, fmt.Errorf("ring state: %w", shm.ErrLayout)
	}
	none := make([]*circuit, MaxCircuits)
	d.circuits.Store(&none)
	d.active.Store(new([]*circuit))
	return d, nil
}

// VCI returns the pool's VCI.
func (d *Driver) VCI() wire.VCI { return d.vci }

// Counters returns what was passed over so far.
func (d *Driver) Counters() *Counters { return d.counters }

// newCircuit returns the views of circuit i's part of the segment.
func (d *Driver) newCircuit(i uint16) *circuit {
	at, end := int(i)*Buffers, int(i+1)*Buffers
	pat, pend := int(i)*PDUs, int(i+1)*PDUs
	st := &d.states[i]
	c := &circuit{
		index: i, gen: st.Gen, st: st,
		bufs:      pool.NewBuffers(&st.Tx, d.refs[at:end], d.links[at:end], BufferSize, 0),
		pdus:      d.pdus[pat:pend],
		pduLinks:  d.pduLinks[pat:pend],
		holds:     d.holds[pat:pend],
		doorbells: [2]shm.Doorbell{shm.NoDoorbell, shm.NoDoorbell},
	}
	if d.caches {
		c.bufs.UseCache(d.half)
	}
	return c
}

// install makes c the process's circuit of its index; nil removes it.
func (d *Driver) install(i uint16, c *circuit) {
	d.change.Lock()
	defer d.change.Unlock()
	all := append([]*circuit(nil), *d.circuits.Load()...)
	if old := all[i]; old != nil {
		d.forget(old)
	}
	all[i] = c
	var active []*circuit
	for _, c := range all {
		if c != nil && c.peer != nil {
			active = append(active, c)
		}
	}
	d.circuits.Store(&all)
	d.active.Store(&active)
}

// circuit returns a circuit that is mapped here and whose use is the segment's
// present one, or nil.
func (d *Driver) circuit(i uint16) *circuit {
	if int(i) >= MaxCircuits {
		return nil
	}
	c := (*d.circuits.Load())[i]
	if c == nil || c.gen != c.st.Gen {
		return nil
	}
	return c
}

// Octets implements pool.Driver.
func (d *Driver) Octets(region uint16) []byte {
	c := d.circuit(pool.RegionCircuit(region))
	switch {
	case c == nil:
		return nil
	case pool.IsTx(region):
		return c.ownOctets
	}
	return c.peerOctets
}

// Offload implements pool.Driver: the ring's packets are as large as IP's, there
// is nothing to cut.
func (d *Driver) Offload(uint16) uint32 { return 0 }

// Execute implements pool.Driver. The peer sees what was done at the next Flush.
func (d *Driver) Execute(ops []pool.Op) { pool.Perform(d, ops) }

// Crossings implements pool.Driver: doorbells that were rung.
func (d *Driver) Crossings() uint64 { return d.counters.Rings }

// MayRefuse implements pool.Driver.
func (d *Driver) MayRefuse(uint16) bool { return false }

// UseCaches implements pool.Cacher.
func (d *Driver) UseCaches(half int) {
	d.half, d.caches = half, true
	for _, c := range *d.circuits.Load() {
		if c != nil {
			c.bufs.UseCache(half)
		}
	}
}

// FlushIdle implements pool.Cacher.
func (d *Driver) FlushIdle() {
	for _, c := range *d.active.Load() {
		if c.gen == c.st.Gen {
			c.bufs.FlushIdle()
		}
	}
}

// CacheStats implements pool.Cacher: those of the circuits that there are.
func (d *Driver) CacheStats() (sum pool.CacheStats) {
	for _, c := range *d.active.Load() {
		if c.gen == c.st.Gen {
			sum = sum.Plus(c.bufs.CacheStats())
		}
	}
	return sum
}

// BufferSize implements pool.Driver.
func (d *Driver) BufferSize() int { return BufferSize }

// Alloc implements pool.Operations.
func (d *Driver) Alloc(i uint16) (buf, off uint32) {
	c := d.circuit(i)
	if c == nil || c.peer == nil {
		return pool.None, 0
	}
	if c.bufs.Dry() {
		d.reclaim(c) // so that few buffers are used again and again
	}
	if buf, off = c.bufs.Alloc(); buf == pool.None {
		d.reclaim(c)
		buf, off = c.bufs.Alloc()
	}
	return buf, off
}

// Ref implements pool.Driver.
func (d *Driver) Ref(region uint16, buf uint32) { d.bufs(region).Ref(buf) }

// Unref implements pool.Operations.
func (d *Driver) Unref(region uint16, buf uint32) { d.bufs(region).Unref(buf) }

// bufs returns the buffers of a region for sending, mapped here or not: their
// state lies in the segment.
func (d *Driver) bufs(region uint16) *pool.Buffers {
	i := pool.RegionCircuit(region)
	if c := d.circuit(i); c != nil {
		return &c.bufs
	}
	return &d.newCircuit(i).bufs
}

func closeFd(fds ...int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
