package ring

import (
	"fmt"
	"io"
)

// Dump writes the state of all circuits that are mapped here, for a person to read: the
// indices of both ends, and each packet and buffer that somebody holds.
func (d *Driver) Dump(w io.Writer) {
	fmt.Fprintf(w, "ring counters %+v\n", *d.counters)
	for _, c := range *d.active.Load() {
		c.dump(w)
	}
}

func (c *circuit) dump(w io.Writer) {
	own, peer := c.ownEnd, c.peerEnd
	fmt.Fprintf(w, "circuit %d state %d sent %d (shown %d, peer saw %d) seen %d (shown %d, peer sent %d) released %d (shown %d) reclaimed %d (peer released %d) held %d later %d dirty %v\n",
		c.index, c.st.State.Load(), c.st.Sent, own.counts.sent(), peer.counts.seen(), c.st.Seen, own.counts.seen(), peer.counts.sent(),
		c.st.Released, own.released.Load(), c.st.Reclaimed, peer.released.Load(), c.st.Held, c.st.Later, c.dirty)
	for id := range c.pdus {
		if u := &c.pdus[id]; u.n != 0 {
			fmt.Fprintf(w, "  packet %d with the peer: %#x pieces of buffers %v\n", id, u.n, u.bufs)
		}
	}
	for id, n := range c.holds {
		if n != 0 {
			fmt.Fprintf(w, "  packet %d of the peer: %#x\n", id, n)
		}
	}
	for b, n := range c.bufs.All() {
		fmt.Fprintf(w, "  buffer %d: %d references\n", b, n)
	}
}
