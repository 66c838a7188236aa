package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

// The peer sends data again, with an acknowledgement of something new and the
// window that goes with it. Its sequence number is below that of the last window
// update, so that the window was not taken; but una moved on, and the old window
// with it, beyond what the peer had ever offered (seed 7162 of the simulator).
func TestWindowComesWithANewAcknowledgement(t *testing.T) {
	tk := calm(established(t))
	tk.inject(wire.ACK, 1001, 1, 1000, window(3000)) // behind a gap: the last update
	tk.drain()
	tk.write(3000)
	if n := tk.drain(); n == 0 {
		t.Fatal("nothing was sent")
	}
	sent := rel(tk.c.snd.nxt, ourISS)
	tk.inject(wire.ACK, 1, sent, 1000, window(0)) // fills the gap, and closes the window
	if edge := rel(tk.c.sndEdge(), ourISS); edge != sent {
		t.Errorf("it may send up to %d, the peer said %d", edge, sent)
	}
	// What comes late, with an old acknowledgement, changes nothing.
	tk.inject(wire.ACK, 2001, 1, 0, window(9000))
	if edge := rel(tk.c.sndEdge(), ourISS); edge != sent {
		t.Errorf("an old window was taken: up to %d", edge)
	}
}
