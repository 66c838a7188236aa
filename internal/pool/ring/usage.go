package ring

// InUse returns how many buffers for sending are in use on all circuits that are
// mapped here, and how many pieces of the peers' packets are held.
func (d *Driver) InUse() (tx, held int) {
	for i := range d.states {
		c := d.circuit(uint16(i))
		if c == nil || c.peer == nil {
			continue
		}
		d.reclaim(c)
		tx += c.bufs.Used()
		held += int(c.st.Held)
	}
	return tx, held
}

// Memory returns how many octets of our buffers hold something that the peers have not
// released.
func (d *Driver) Memory() (octets uint64) {
	for _, c := range *d.active.Load() {
		if c.gen != c.st.Gen {
			continue // it is no more
		}
		d.reclaim(c)
		octets += uint64(c.bufs.Used()) * BufferSize
	}
	return octets
}

// OwnMemory appends to files the descriptors of the memory that is ours of all circuits
// that are mapped. It needs no lock, but that no circuit goes meanwhile.
func (d *Driver) OwnMemory(files []int) []int {
	for _, c := range *d.active.Load() {
		files = append(files, c.own.Fd())
	}
	return files
}

// Spare reports whether circuit has at most as many buffers in use as connections: then
// one of them may be without, and get one even if memory is short.
func (d *Driver) Spare(circuit uint16) bool {
	c := d.circuit(circuit)
	if c == nil || c.peer == nil {
		return true
	}
	d.reclaim(c)
	return c.bufs.Used() <= int(c.st.Users)
}
