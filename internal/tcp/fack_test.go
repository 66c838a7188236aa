package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

// A segment was sent again, the recovery undone, and its acknowledgement came so
// soon that it could only be the first copy's. RACK learns nothing from that; but
// the highest octet delivered stayed behind una, and what came next looked late
// (seed 200319 of the simulator).
func TestFirstCopyMovesTheHighestDelivered(t *testing.T) {
	tk := established(t, withSACK)
	tk.write(1000)
	tk.want(wire.ACK|wire.PSH, 1, 1, 1000)
	tk.c.board.near[0].at |= sentResent // as an undone recovery leaves it
	tk.inject(wire.ACK, 1, 1001, 0)
	if f := rel(tk.c.rack.fack, ourISS); f != 1001 {
		t.Errorf("the highest octet delivered is %d, una is 1001", f)
	}
}
