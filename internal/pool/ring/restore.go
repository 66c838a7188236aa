package ring

import (
	"usertcp/internal/message"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// A child that takes over the segment of a dead one maps its circuits anew, with
// the descriptors that the dead one had left with the connection server.

// Kept returns the descriptors of circuit i, whose other end is p, that a
// successor needs: Restore takes them.
func (d *Driver) Kept(i uint16, p Peer) []int {
	c := d.circuit(i)
	if c == nil || c.own == nil {
		return nil
	}
	return append([]int{c.own.Fd()}, p.Files()...)
}

// Restore maps circuit i to remote with the descriptors of Kept, and takes them
// over. It reports false if the segment has no such circuit any more.
func (d *Driver) Restore(i uint16, remote wire.VCI, files []int) bool {
	if int(i) >= MaxCircuits || len(files) != 5 || d.states[i].Remote != uint32(remote) ||
		d.states[i].State.Load() == circuitFree {
		message.CloseFiles(files)
		return false
	}
	own, err := shm.Attach(files[0], Version, true)
	if err != nil {
		message.CloseFiles(files[1:])
		return false
	}
	c := d.newCircuit(i)
	p, _ := PeerFrom(files[1:])
	if err := c.mapOwn(own); err != nil {
		own.Close()
		p.Close()
		return false
	}
	if err := c.mapPeer(p); err != nil {
		c.unmap()
		return false
	}
	if c.st.State.CompareAndSwap(circuitOffered, circuitUp) {
		d.control.changes.Add(1)
	}
	d.install(i, c)
	return true
}

// Orphaned closes the circuits that have not been restored, and returns them.
func (d *Driver) Orphaned() (lost []uint16) {
	for i := range d.states {
		st := &d.states[i]
		if s := st.State.Load(); (s == circuitOffered || s == circuitUp) && !d.Mapped(uint16(i)) {
			lost = append(lost, uint16(i))
			st.State.Store(circuitDead)
			d.control.changes.Add(1)
		}
	}
	return lost
}

// Has reports whether circuit i is in use and mapped here.
func (d *Driver) Has(i uint16) bool { return d.circuit(i) != nil }

// Remote returns the VCI of the peer of circuit i.
func (d *Driver) Remote(i uint16) wire.VCI { return wire.VCI(d.states[i].Remote) }
