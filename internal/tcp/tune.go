package tcp

// tuneOptions takes the sizes of buffers that the program has set.
func (c *Conn) tuneOptions() {}
