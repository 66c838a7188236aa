package message

import "testing"

// What a message says of how a local end is taken is read as it was written, and
// whatever else comes is refused.
func TestBindHow(t *testing.T) {
	for of := range MaxShards + 1 {
		for at := range max(of, 1) {
			for _, reuse := range []BindHow{0, BindReuse} {
				h, ok := BindHowOf(uint32(BindShard(at, of) | reuse))
				if !ok {
					t.Fatalf("shard %d of %d is refused", at, of)
				}
				if a, o := h.Shard(); a != at || o != of || h.Reuse() != (reuse != 0) {
					t.Errorf("shard %d of %d, reuse %d: read as %d of %d, %v", at, of, reuse, a, o, h.Reuse())
				}
			}
		}
	}
	for _, n := range []uint32{
		2, 4, 8, 1 << 13, 1 << 16, 1 << 31, ^uint32(0), // bits that mean nothing
		1 << 4,               // shard 1 of none
		2<<4 | 2<<8,          // shard 2 of 2
		0xf<<4 | 1<<8,        // shard 15 of 1
		(MaxShards + 1) << 8, // too many
		0x1f << 8,
	} {
		if h, ok := BindHowOf(n); ok {
			t.Errorf("%#x is taken as %#x", n, h)
		}
	}
}

func TestMoveGrant(t *testing.T) {
	for _, g := range []MoveGrant{{}, {MTU: 1500}, {MTU: 65535, Bound: true}, {Bound: true, Reuse: true}, {MTU: 65535, Reuse: true}} {
		if got := MoveGrantOf(g.N()); got != g {
			t.Errorf("%+v is read as %+v", g, got)
		}
	}
}

func TestForwardGrant(t *testing.T) {
	for _, g := range []ForwardGrant{{}, {MTU: 1500}, {MTU: 65535, Follows: true}, {Follows: true}} {
		if got, ok := ForwardGrantOf(g.N()); got != g || !ok {
			t.Errorf("%+v is read as %+v, %v", g, got, ok)
		}
	}
	for _, n := range []uint32{1 << 17, 1 << 31, ^uint32(0)} {
		if g, ok := ForwardGrantOf(n); ok {
			t.Errorf("%#x is taken as %+v", n, g)
		}
	}
}
