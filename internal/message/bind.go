package message

// BindHow says how a local end is taken: N of a Bind and of a Listen bind, VCI of a
// Keep bind. Bit 0 is SO_REUSEADDR; bits 4 to 7 are the shard, bits 8 to 12 the number
// of shards that have this end together, 0 if it is one socket's.
type BindHow uint16

// BindReuse is SO_REUSEADDR.
const BindReuse BindHow = 1

// MaxShards is how many shards may have a local end together.
const MaxShards = 16

// BindShard returns how shard at of of takes a local end that all of them take.
func BindShard(at, of int) BindHow { return BindHow(at)<<4 | BindHow(of)<<8 }

// Reuse reports whether SO_REUSEADDR is set.
func (h BindHow) Reuse() bool { return h&BindReuse != 0 }

// Shard returns the shard and the number of shards, 0 and 0 if there are none.
func (h BindHow) Shard() (at, of int) { return int(h >> 4 & 0xf), int(h >> 8 & 0x1f) }

// MoveGrant is what the server has given for a Move: N of the General_Reply. Bits 0 to 15
// are the MTU, 16 and 17 what came along.
type MoveGrant struct {
	MTU   uint16 // octets of a packet by the devices; 0: not by them
	Bound bool   // the local end came along
	Reuse bool   // … and has SO_REUSEADDR
}

// N is the grant as it goes in the message.
func (g MoveGrant) N() uint32 {
	n := uint32(g.MTU)
	if g.Bound {
		n |= 1 << 16
	}
	if g.Reuse {
		n |= 1 << 17
	}
	return n
}

// MoveGrantOf is what N of a reply says.
func MoveGrantOf(n uint32) MoveGrant {
	return MoveGrant{MTU: uint16(n), Bound: n>>16&1 != 0, Reuse: n>>17&1 != 0}
}

// BindHowOf checks what came in a message.
func BindHowOf(n uint32) (h BindHow, ok bool) {
	h = BindHow(n)
	at, of := h.Shard()
	switch {
	case n&^0x1ff1 != 0, of > MaxShards, of == 0 && at != 0, of > 0 && at >= of:
		return 0, false
	}
	return h, true
}
