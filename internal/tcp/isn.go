package tcp

import (
	"encoding/binary"
	"math/bits"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// ISN returns the initial sequence number for a connection of flow that opens at
// now: "ISN = M + F(localip, localport, remoteip, remoteport, secretkey)" (RFC
// 6528 section 3), with SipHash-2-4 for F.
func ISN(now Time, flow *wire.Flow, secret *[16]byte) seq.Number {
	var b [40]byte
	n := copy(b[:], flow.Local.Addr[:])
	n += copy(b[n:], flow.Remote.Addr[:])
	binary.BigEndian.PutUint16(b[n:], flow.Local.Port)
	binary.BigEndian.PutUint16(b[n+2:], flow.Remote.Port)
	return seq.Number(isnClock(now) + uint32(sipHash(secret, b[:36])))
}

// isnClock is M of RFC 6528, "the 4 microsecond timer".
func isnClock(now Time) uint32 { return uint32(now / (4 * Microsecond)) }

// sip is the state of SipHash (Aumasson and Bernstein, 2012).
type sip struct{ v0, v1, v2, v3 uint64 }

// sipHash returns SipHash-2-4 of b.
func sipHash(key *[16]byte, b []byte) uint64 {
	k0 := binary.LittleEndian.Uint64(key[:8])
	k1 := binary.LittleEndian.Uint64(key[8:])
	s := sip{
		v0: k0 ^ 0x736f6d6570736575,
		v1: k1 ^ 0x646f72616e646f6d,
		v2: k0 ^ 0x6c7967656e657261,
		v3: k1 ^ 0x7465646279746573,
	}
	last := uint64(len(b)) << 56
	for ; len(b) >= 8; b = b[8:] {
		s.word(binary.LittleEndian.Uint64(b))
	}
	for i, x := range b {
		last |= uint64(x) << (8 * i)
	}
	s.word(last)
	s.v2 ^= 0xff
	for range 4 {
		s.round()
	}
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

func (s *sip) word(w uint64) {
	s.v3 ^= w
	s.round()
	s.round()
	s.v0 ^= w
}

func (s *sip) round() {
	s.v0 += s.v1
	s.v2 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v1
	s.v0 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 = bits.RotateLeft64(s.v2, 32)
}
