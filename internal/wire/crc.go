package wire

import "encoding/binary"

// crcPoly is the generator of AAL-5's CRC-32, the one of Ethernet; but here the
// first bit on the wire is an octet's most significant one (ITU-T I.363.5), so
// that hash/crc32, which takes the least significant first, cannot serve.
const crcPoly = 0x04c11db7

// crcTables[k][x] is what octet x adds to the remainder when k octets follow it:
// eight octets are looked up at once.
var crcTables = makeCRCTables()

func makeCRCTables() *[8][256]uint32 {
	var t [8][256]uint32
	for x := range t[0] {
		r := uint32(x) << 24
		for range 8 {
			if r&(1<<31) != 0 {
				r = r<<1 ^ crcPoly
			} else {
				r <<= 1
			}
		}
		t[0][x] = r
	}
	for k := 1; k < len(t); k++ {
		for x := range t[k] {
			r := t[k-1][x]
			t[k][x] = r<<8 ^ t[0][r>>24]
		}
	}
	return &t
}

// CRC adds b to acc, the AAL-5 CRC-32 of what went before it, 0 at the start:
// CRC(CRC(0, a), b) is the CRC of a and b in a row. The remainder starts with
// all ones and is complemented at the end, as I.363.5 wants.
func CRC(acc uint32, b []byte) uint32 {
	t := crcTables
	r := ^acc
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b) ^ uint64(r)<<32
		r = t[7][v>>56] ^ t[6][v>>48&0xff] ^ t[5][v>>40&0xff] ^ t[4][v>>32&0xff] ^
			t[3][v>>24&0xff] ^ t[2][v>>16&0xff] ^ t[1][v>>8&0xff] ^ t[0][v&0xff]
		b = b[8:]
	}
	for _, x := range b {
		r = r<<8 ^ t[0][uint8(r>>24)^x]
	}
	return ^r
}
