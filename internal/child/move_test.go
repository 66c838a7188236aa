package child_test

import (
	"net/netip"
	"testing"
	"time"

	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// Who is told that a connection has moved that it does not have, or not by this circuit,
// says that it sends nothing for it, and makes no circuit to anybody. What it is told
// that it has not asked for it passes over.
func TestMovedIsConfirmed(t *testing.T) {
	p := newOtherPool(t)
	flow := wire.Flow{
		Local:  wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr("10.1.0.7")), Port: 80},
		Remote: wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr("10.1.0.1")), Port: 5000},
	}
	moved := ring.NewMoved(p.vci, p.to, p.vci+1, flow)
	wantKnown := func(when string) {
		t.Helper()
		select {
		case f := <-p.frames:
			if f.Type != ring.FrameMovedKnown || f.Src != p.to || f.Dst != p.vci || f.N != moved.N {
				t.Fatalf("%s: %v from %v to %v, of %d", when, f.Type, f.Src, f.Dst, f.N)
			}
		case <-time.After(patience):
			t.Fatalf("%s: no answer", when)
		}
	}
	p.check(p.station.Send(moved))
	wantKnown("without a circuit")
	p.offer(p.memory())
	p.want(false, 0)
	p.wantUp()
	p.check(p.station.Send(ring.Frame{Type: ring.FrameMovedKnown, Src: p.vci, Dst: p.to, N: uint32(p.to) + 1, PDU: moved.PDU}))
	for range 2 {
		p.check(p.station.Send(moved))
		wantKnown("by a circuit")
	}
}
