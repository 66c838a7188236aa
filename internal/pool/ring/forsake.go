package ring

// Forsake unmaps all circuits in this process, which does not use the pool any more;
// other processes go on. No octets that it has given out may be used afterwards.
func (d *Driver) Forsake() {
	for i, c := range *d.circuits.Load() {
		if c != nil {
			d.install(uint16(i), nil)
			c.unmap()
		}
	}
}
