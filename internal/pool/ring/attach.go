package ring

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// A circuit comes to be in three steps, whoever begins: this end makes its
// memory and offers it to the peer; the peer does the same (in answer, or by
// itself at the same moment); when both have mapped what the other offered it is
// up. Only the bottom half makes circuits; the top half maps what is there.

// ErrCircuits is why another circuit can't be made.
var ErrCircuits = errors.New("no circuit left: too many peers")

// unmapDelay is how long a mapping stays after its last use: Pending looks at
// the mappings without a lock.
const unmapDelay = time.Second

// NewMemory makes the memory of this end of a circuit to remote. It needs no
// lock.
func (d *Driver) NewMemory(remote wire.VCI) (*shm.Segment, error) {
	s, err := shm.Create("usertcp-circuit", Version, endSpecs()...)
	if err != nil {
		return nil, err
	}
	e, err := shm.One[end](s, secEnd)
	if err != nil {
		s.Close()
		return nil, err
	}
	e.local, e.remote = uint32(d.vci), uint32(remote)
	return s, nil
}

// Find returns the circuit to remote, and whether it is up; ok is false if
// there is none.
func (d *Driver) Find(remote wire.VCI) (i uint16, up, ok bool) {
	for i := range d.states {
		st := &d.states[i]
		if st.Remote == uint32(remote) && (st.State.Load() == circuitUp || st.State.Load() == circuitOffered) {
			return uint16(i), st.State.Load() == circuitUp, true
		}
	}
	return pool.NoCircuit, false, false
}

// Peers returns the peers of the circuits that are up.
func (d *Driver) Peers() map[uint16]wire.VCI {
	peers := map[uint16]wire.VCI{}
	for i := range d.states {
		if st := &d.states[i]; st.State.Load() == circuitUp {
			peers[uint16(i)] = wire.VCI(st.Remote)
		}
	}
	return peers
}

// Offer begins a circuit to remote with the memory of this end, which it takes
// over.
func (d *Driver) Offer(remote wire.VCI, mem *shm.Segment) (uint16, error) {
	for i := range d.states {
		if d.states[i].State.Load() != circuitFree {
			continue
		}
		st := &d.states[i]
		*st = circuitState{Gen: st.Gen + 1, Remote: uint32(remote)}
		c := d.newCircuit(uint16(i))
		c.st.IDs.Reset(PDUs)
		c.bufs.Reset(int(d.control.txLimit))
		clear(c.pdus)
		clear(c.holds)
		st.State.Store(circuitOffered) // last: a death before it leaves a free circuit
		if err := c.mapOwn(mem); err != nil {
			st.State.Store(circuitFree)
			mem.Close()
			return pool.NoCircuit, err
		}
		d.install(uint16(i), c)
		return uint16(i), nil
	}
	mem.Close()
	return pool.NoCircuit, ErrCircuits
}

// Complete maps what the peer of circuit i offers, and takes its descriptors
// over; the circuit is up.
func (d *Driver) Complete(i uint16, p Peer) error {
	old := d.circuit(i)
	if old == nil || old.st.State.Load() != circuitOffered {
		p.Close()
		return fmt.Errorf("circuit %d was not offered", i)
	}
	c := d.newCircuit(i)
	c.own, c.ownEnd, c.ownSlots, c.ownReleases, c.ownOctets = old.own, old.ownEnd, old.ownSlots, old.ownReleases, old.ownOctets
	if err := c.mapPeer(p); err != nil {
		c.own = nil
		c.unmap()
		return err
	}
	c.st.State.Store(circuitUp)
	d.install(i, c)
	d.control.changes.Add(1)
	return nil
}

// Files returns the descriptors with which the top half maps circuit i: its own
// memory first, then the peer's.
func (d *Driver) Files(i uint16) []int {
	c := d.circuit(i)
	if c == nil || c.peer == nil {
		return nil
	}
	return append([]int{c.own.Fd()}, c.peerFiles()...)
}

// Map maps circuit i with the descriptors of Files, and takes them over.
func (d *Driver) Map(i uint16, files []int) error {
	if len(files) != 5 || int(i) >= MaxCircuits {
		closeFd(files...)
		return fmt.Errorf("circuit %d came with %d descriptors", i, len(files))
	}
	p, _ := PeerFrom(files[1:])
	c := d.newCircuit(i)
	own, err := shm.Attach(files[0], Version, true)
	if err != nil {
		p.Close()
		return err
	}
	if err := c.mapOwn(own); err != nil {
		own.Close()
		p.Close()
		return err
	}
	if err := c.mapPeer(p); err != nil {
		c.unmap()
		return err
	}
	d.install(i, c)
	d.rouse(c) // what was said by a process that died, and not shown
	return nil
}

// Changed reports whether circuits came or went since the last call. It needs no
// lock.
func (d *Driver) Changed() bool {
	n := d.control.changes.Load()
	return d.known.Load() != n && d.known.Swap(n) != n
}

// Missing appends to dst the circuits that are not mapped here and are up, or dead and
// in use: octets of a connection may lie there.
func (d *Driver) Missing(dst []uint16) []uint16 {
	for i := range d.states {
		st := &d.states[i]
		s := st.State.Load()
		if (s == circuitUp || s == circuitDead && st.Users > 0) && !d.Mapped(uint16(i)) {
			dst = append(dst, uint16(i))
		}
	}
	return dst
}

// Generation tells the present use of circuit i from those before: what was asked for in
// another one is not what Map wants.
func (d *Driver) Generation(i uint16) uint32 { return d.states[i].Gen }

// Mapped implements pool.Driver.
func (d *Driver) Mapped(i uint16) bool {
	c := d.circuit(i)
	return c != nil && c.peer != nil
}

// Offers reports whether mem is offered to remote, and has not been answered.
func (d *Driver) Offers(remote wire.VCI, mem *shm.Segment) bool {
	i, up, ok := d.Find(remote)
	c := d.circuit(i)
	return ok && !up && c != nil && c.own == mem
}

// Knows reports whether what a peer offers is the memory that circuit i uses already.
func (d *Driver) Knows(i uint16, p Peer) bool {
	c := d.circuit(i)
	if c == nil || c.peer == nil {
		return false
	}
	var is, was unix.Stat_t
	if unix.Fstat(p.Memory, &is) != nil || unix.Fstat(c.peer.Fd(), &was) != nil {
		return false
	}
	return is.Dev == was.Dev && is.Ino == was.Ino
}

// Usable implements pool.Driver.
func (d *Driver) Usable(i uint16) bool {
	c := d.circuit(i)
	return c != nil && c.peer != nil && c.st.State.Load() == circuitUp
}

// Use implements pool.Driver.
func (d *Driver) Use(i uint16, n int) {
	if int(i) < MaxCircuits {
		d.states[i].Users += uint32(n)
	}
}

// Close marks the circuit to remote as dead: the peer's pool is gone. Its
// connections find out by the answer of the peer's connection server.
func (d *Driver) Close(remote wire.VCI) {
	if i, _, ok := d.Find(remote); ok {
		d.states[i].State.Store(circuitDead)
		d.control.changes.Add(1)
	}
}

// Collectable reports whether Collect would find something.
func (d *Driver) Collectable() bool {
	for i := range d.states {
		if st := &d.states[i]; st.State.Load() == circuitDead && st.Users == 0 {
			return true
		}
	}
	return false
}

// Collect frees dead circuits that no connection uses any more.
func (d *Driver) Collect() {
	for i := range d.states {
		if st := &d.states[i]; st.State.Load() == circuitDead && st.Users == 0 {
			st.Gen++
			st.State.Store(circuitFree)
			d.control.changes.Add(1)
		}
	}
	d.Prune()
}

// Prune unmaps what this process has mapped of circuits that are no more.
func (d *Driver) Prune() {
	for i, c := range *d.circuits.Load() {
		if c != nil && c.gen != c.st.Gen {
			d.install(uint16(i), nil)
			time.AfterFunc(unmapDelay, c.unmap)
		}
	}
}

// Up returns the VCIs of the peers of all circuits that are up.
func (d *Driver) Up() []wire.VCI {
	var up []wire.VCI
	for i := range d.states {
		if d.states[i].State.Load() == circuitUp {
			up = append(up, wire.VCI(d.states[i].Remote))
		}
	}
	return up
}

// SetTxLimit changes how many buffers for sending each circuit may have in use.
func (d *Driver) SetTxLimit(n int) {
	n = min(n, Buffers)
	d.control.txLimit = uint32(n)
	for i := range d.states {
		if d.states[i].State.Load() != circuitFree {
			d.newCircuit(uint16(i)).bufs.SetLimit(n)
		}
	}
}
