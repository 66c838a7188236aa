package wire

import "encoding/binary"

// Extension headers of IPv6 (RFC 8200 section 4).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60

	fragmentLen = 8 // octets
)

func parseIPv6(b []byte, ip *IP) error {
	if len(b) < IPv6Len {
		return ErrShort
	}
	h := (*[IPv6Len]byte)(b)
	first := binary.BigEndian.Uint32(h[0:])
	*ip = IP{}
	ip.Src = Addr(h[8:24])
	ip.Dst = Addr(h[24:40])
	ip.Proto = h[6]
	ip.TTL = h[7]
	ip.TOS = uint8(first >> 20)
	ip.FlowLabel = first & 0xfffff
	ip.TotalLen = IPv6Len + int(binary.BigEndian.Uint16(h[4:]))
	ip.HeaderLen = IPv6Len
	// Such an address would be taken for an IPv4 one from here on.
	if ip.Src.Is4() || ip.Dst.Is4() {
		return ErrMapped
	}
	return skipExtensions(b, ip)
}

// skipExtensions moves HeaderLen and Proto behind the extension headers. What
// it does not know it leaves for whoever looks at Proto.
func skipExtensions(b []byte, ip *IP) error {
	for {
		n, err := 0, error(nil)
		rest := b[ip.HeaderLen:]
		switch ip.Proto {
		case extHopByHop, extDestination:
			n, err = optionsLen(rest)
		case extRouting:
			n, err = routingLen(rest)
		case extFragment:
			n, err = parseFragment(rest, ip)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		if ip.HeaderLen+n > ip.TotalLen {
			return ErrTotalLen
		}
		ip.Proto = rest[0]
		ip.HeaderLen += n
		if ip.FragOffset != 0 {
			return nil // what follows is the middle of a datagram
		}
	}
}

// optionsLen returns the length of an extension header in octets once it is
// known to lie wholly in b.
func optionsLen(b []byte) (int, error) {
	if len(b) < 8 {
		return 0, ErrShort
	}
	n := 8 + int(b[1])*8
	if n > len(b) {
		return 0, ErrShort
	}
	return n, nil
}

// routingLen is optionsLen for a routing header.
//
// "If Segments Left is zero, the node must ignore the Routing header and
// proceed to process the next header in the packet" (RFC 8200 section 4.4);
// otherwise the packet is not for this end system.
func routingLen(b []byte) (int, error) {
	n, err := optionsLen(b)
	if err == nil && b[3] != 0 {
		return 0, ErrExtension
	}
	return n, err
}

func parseFragment(b []byte, ip *IP) (int, error) {
	if len(b) < fragmentLen {
		return 0, ErrShort
	}
	v := binary.BigEndian.Uint16(b[2:])
	ip.FragOffset = v &^ 7
	ip.MoreFragments = v&1 != 0
	return fragmentLen, nil
}

func (ip *IP) emitIPv6(b []byte, payloadLen int) int {
	if payloadLen < 0 || payloadLen > 0xffff {
		panic("BUG: IPv6 payload does not fit its length field")
	}
	h := (*[IPv6Len]byte)(b)
	binary.BigEndian.PutUint32(h[0:], 6<<28|uint32(ip.TOS)<<20|ip.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(h[4:], uint16(payloadLen))
	h[6] = ip.Proto
	h[7] = ip.TTL
	*(*Addr)(h[8:]) = ip.Src
	*(*Addr)(h[24:]) = ip.Dst
	return IPv6Len
}
