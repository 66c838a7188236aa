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
