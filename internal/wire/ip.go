package wire

import "encoding/binary"

// Protocol numbers in IP headers.
const (
	ProtoICMP   uint8 = 1
	ProtoTCP    uint8 = 6
	ProtoICMPv6 uint8 = 58
)

// Lengths of IP headers without options or extension headers, in octets.
const (
	IPv4Len = 20
	IPv6Len = 40
)

const (
	flagDF = 1 << 14
	flagMF = 1 << 13
)

// IP is an IPv4 or IPv6 header as a plain struct. Which of them it is the
// addresses say: both are of one family.
type IP struct {
	Src, Dst      Addr
	Proto         uint8  // of what follows the header, extension headers passed over
	TTL           uint8  // hops; IPv6 calls it hop limit
	TOS           uint8  // DSCP and ECN; IPv6 calls it traffic class
	ID            uint16 // IPv4 only
	DontFragment  bool   // IPv4 only
	FlowLabel     uint32 // IPv6 only, 20 bits
	TotalLen      int    // octets: header and payload, as the header says
	HeaderLen     int    // octets: options or extension headers included
	MoreFragments bool
	FragOffset    uint16 // octets, a multiple of 8
}

// Is4 reports whether the header is an IPv4 header.
func (ip *IP) Is4() bool { return ip.Src.Is4() }

// IsFragment reports whether the packet is only part of a datagram.
func (ip *IP) IsFragment() bool { return ip.MoreFragments || ip.FragOffset != 0 }

// PayloadLen returns the octets behind the header, as the header says.
func (ip *IP) PayloadLen() int { return ip.TotalLen - ip.HeaderLen }

// ParseIP reads the IPv4 or IPv6 header at the start of b into ip. b holds at
// least the whole header and may hold less than TotalLen octets, since the
// payload may lie elsewhere: the caller compares TotalLen with what it has.
// IPv4 options and those IPv6 extension headers that ask nothing of an end
// system are passed over. After an error ip's content is undefined.
func ParseIP(b []byte, ip *IP) error {
	if len(b) == 0 {
		return ErrShort
	}
	switch b[0] >> 4 {
	case 4:
		return parseIPv4(b, ip, true)
	case 6:
		return parseIPv6(b, ip)
	}
	return ErrVersion
}

func parseIPv4(b []byte, ip *IP, verify bool) error {
	if len(b) < IPv4Len {
		return ErrShort
	}
	h := (*[IPv4Len]byte)(b)
	n := int(h[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(h[2:]))
	if n < IPv4Len {
		return ErrHeaderLen
	}
	if n > len(b) {
		return ErrShort
	}
	if total < n {
		return ErrTotalLen
	}
	if verify && Fold(Sum(0, b[:n])) != 0xffff {
		return ErrHeaderChecksum
	}
	frag := binary.BigEndian.Uint16(h[6:])
	// Field by field: a literal would be put together elsewhere and copied.
	*ip = IP{}
	ip.Src.set4((*[4]byte)(h[12:]))
	ip.Dst.set4((*[4]byte)(h[16:]))
	ip.Proto = h[9]
	ip.TTL = h[8]
	ip.TOS = h[1]
	ip.ID = binary.BigEndian.Uint16(h[4:])
	ip.DontFragment = frag&flagDF != 0
	ip.TotalLen = total
	ip.HeaderLen = n
	ip.MoreFragments = frag&flagMF != 0
	ip.FragOffset = frag << 3
	return nil
}

// set4 makes a the mapped form of the IPv4 address b; a is zero before.
func (a *Addr) set4(b *[4]byte) {
	a[10], a[11] = 0xff, 0xff
	copy(a[12:], b[:])
}

// Emit writes the header, 20 octets for IPv4 with its checksum or 40 for IPv6,
// and returns how many. payloadLen is the number of octets that will follow it;
// TotalLen and HeaderLen are not looked at. Options and extension headers are
// not written, so that an IPv6 fragment comes out as if it were whole. b must
// have the room.
func (ip *IP) Emit(b []byte, payloadLen int) int {
	if ip.Is4() {
		return ip.emitIPv4(b, payloadLen)
	}
	return ip.emitIPv6(b, payloadLen)
}

func (ip *IP) emitIPv4(b []byte, payloadLen int) int {
	if payloadLen < 0 || payloadLen > 0xffff-IPv4Len {
		panic("BUG: IPv4 payload does not fit its length field")
	}
	h := (*[IPv4Len]byte)(b)
	frag := ip.FragOffset >> 3
	if ip.DontFragment {
		frag |= flagDF
	}
	if ip.MoreFragments {
		frag |= flagMF
	}
	h[0] = 4<<4 | IPv4Len/4
	h[1] = ip.TOS
	binary.BigEndian.PutUint16(h[2:], uint16(IPv4Len+payloadLen))
	binary.BigEndian.PutUint16(h[4:], ip.ID)
	binary.BigEndian.PutUint16(h[6:], frag)
	h[8] = ip.TTL
	h[9] = ip.Proto
	binary.BigEndian.PutUint16(h[10:], 0)
	copy(h[12:16], ip.Src[12:])
	copy(h[16:20], ip.Dst[12:])
	binary.BigEndian.PutUint16(h[10:], ^Fold(Sum(0, h[:])))
	return IPv4Len
}
