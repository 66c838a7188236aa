package nic

import (
	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// A packet whose payload is to land in a reader's memory is read into three places:
//
//	slot             [headers, as many octets as foreseen]         [what the reader has no room for]
//	reader's memory                                        [payload]
//
// Which packet comes is known only then. If it has other headers, or may not be believed
// as it is, what lies in the reader's memory is copied to where it would lie else, and
// nobody needs to know that it was elsewhere.

var _ pool.Placer = (*Driver)(nil)

// ReceiveInto implements pool.Placer.
func (d *Driver) ReceiveInto(p *pool.Packet, header int, into []byte) bool {
	if d.unplaceable || header > pool.MaxData {
		return d.receive(p, 0, nil)
	}
	into = into[:min(len(into), SlotSize-header)]
	ok := d.receive(p, header, into)
	d.in.Forget()
	return ok
}

// placed returns how many octets of the packet that has been read, n octets, of which the
// slot b has all others, are to stay in the reader's memory; none if it is not as it was
// foreseen: then the slot has all.
func (d *Driver) placed(b []byte, n, header int, into []byte) int {
	k := min(n-header, len(into))
	if k <= 0 {
		return 0
	}
	if n > pool.MaxData && asForeseen(&d.inHead, b, header) {
		return k
	}
	copy(b[header:], into[:k])
	return 0
}

// asForeseen reports whether a packet is a segment whose headers have the given number of
// octets, without options of IP, that the device or the kernel has verified.
func asForeseen(head *[headLen]byte, b []byte, header int) bool {
	if head[atFlags]&(flagNeedsCsum|flagDataValid) == 0 || tooLarge(head) != 0 {
		return false
	}
	switch {
	case b[0] == 0x45 && b[9] == wire.ProtoTCP && header >= wire.IPv4Len+13:
		return header == wire.IPv4Len+int(b[wire.IPv4Len+12]>>4)*4
	case b[0]>>4 == 6 && b[6] == wire.ProtoTCP && header >= wire.IPv6Len+13:
		return header == wire.IPv6Len+int(b[wire.IPv6Len+12]>>4)*4
	}
	return false
}
