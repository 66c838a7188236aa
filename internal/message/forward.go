package message

// What N of a Forward may be beside 0. A party that does not know of it says 0, and reads
// nothing in it.
const (
	// ForwardFollows, with OpOpen: the child can make the connection follow one in TIME-WAIT
	// between the same ends (RFC 6191), of which the server tells it then.
	ForwardFollows = 1
	// ForwardUnused, with OpClose: the connection has not begun, so that TIME-WAIT of the
	// one that it was to follow goes on.
	ForwardUnused = 1
)

// ForwardGrant is what the server has given for a Forward open: N of the General_Reply. Bits
// 0 to 15 are the MTU, bit 16 says what came before.
type ForwardGrant struct {
	MTU     uint16 // octets of a packet by the devices; 0: not by them
	Follows bool   // a Time_Wait has come before, with the connection that this one follows
}

// N is the grant as it goes in the message.
func (g ForwardGrant) N() uint32 {
	n := uint32(g.MTU)
	if g.Follows {
		n |= 1 << 16
	}
	return n
}

// ForwardGrantOf is what N of a reply says; false if it cannot be that.
func ForwardGrantOf(n uint32) (g ForwardGrant, ok bool) {
	return ForwardGrant{MTU: uint16(n), Follows: n>>16&1 != 0}, n>>17 == 0
}
