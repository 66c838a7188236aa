package wire

import (
	"encoding/binary"

	"usertcp/internal/seq"
)

// Types of the ICMP messages that report an error and quote the packet that
// caused it (RFC 792).
const (
	ICMPUnreachable  = 3
	ICMPTimeExceeded = 11
	ICMPParameter    = 12
)

// Codes of ICMPUnreachable (RFC 792, RFC 1812 section 5.2.7.1).
const (
	ICMPCodeNet           = 0
	ICMPCodeHost          = 1
	ICMPCodeProtocol      = 2
	ICMPCodePort          = 3
	ICMPCodeFragNeeded    = 4
	ICMPCodeNetUnknown    = 6
	ICMPCodeNetProhibited = 9
	ICMPCodeNetTOS        = 11
	ICMPCodeProhibited    = 13
)

// Types of the ICMPv6 messages that report an error (RFC 4443 section 2.1).
const (
	ICMP6Unreachable  = 1
	ICMP6PacketTooBig = 2
	ICMP6TimeExceeded = 3
	ICMP6Parameter    = 4
)

// Codes of ICMP6Unreachable (RFC 4443 section 3.1).
const (
	ICMP6CodeNoRoute    = 0
	ICMP6CodeProhibited = 1
	ICMP6CodeAddress    = 3
	ICMP6CodePort       = 4
	ICMP6CodePolicy     = 5
	ICMP6CodeReject     = 6
)

const (
	icmpLen    = 8 // octets before the quoted packet
	icmpTCPLen = 8 // octets of TCP header that are always quoted (RFC 792)
)

// MaxICMPLen is the length of the longest message that ICMP.Emit writes.
const MaxICMPLen = icmpLen + IPv6Len + icmpTCPLen

// ICMP is an ICMP or ICMPv6 error message about a TCP segment.
type ICMP struct {
	V6         bool
	Type, Code uint8
	MTU        uint32 // of the next hop, octets; 0 from routers older than RFC 1191 and where it has no meaning
	Pointer    uint32 // octet of the quoted packet that ICMPParameter complains of

	// What the message quotes: the header of the packet, and of the segment in
	// it as much as is always there. The quoted packet is one that this host
	// has sent, if the message is honest: whoever acts on it compares flow and
	// sequence number with what is in flight (RFC 5927 section 4).
	Quoted           IP
	SrcPort, DstPort uint16
	Seq              seq.Number
}

// ParseICMP reads the ICMP or ICMPv6 message b, which begins with its type, into
// m. The version of the quoted packet tells which of them it is. Messages that
// are not errors, or quote no TCP, give ErrICMPType and ErrQuote. The checksum
// is not checked: ICMPChecksumOK does that, since it needs addresses. After an
// error m's content is undefined.
func ParseICMP(b []byte, m *ICMP) error {
	if len(b) <= icmpLen {
		return ErrShort
	}
	word := binary.BigEndian.Uint32(b[4:])
	*m = ICMP{V6: b[icmpLen]>>4 == 6, Type: b[0], Code: b[1]}
	if !m.setWord(word) {
		return ErrICMPType
	}
	return m.parseQuote(b[icmpLen:])
}

// setWord takes in the second word of the message, whose meaning the type
// decides. It reports whether the type is one of an error.
func (m *ICMP) setWord(word uint32) bool {
	if m.V6 {
		switch m.Type {
		case ICMP6Unreachable, ICMP6TimeExceeded:
		case ICMP6PacketTooBig:
			m.MTU = word
		case ICMP6Parameter:
			m.Pointer = word
		default:
			return false
		}
		return true
	}
	switch m.Type {
	case ICMPUnreachable:
		if m.Code == ICMPCodeFragNeeded {
			m.MTU = word & 0xffff
		}
	case ICMPTimeExceeded:
	case ICMPParameter:
		m.Pointer = word >> 24
	default:
		return false
	}
	return true
}

// word is the inverse of setWord.
func (m *ICMP) word() uint32 {
	switch {
	case m.V6 && m.Type == ICMP6PacketTooBig:
		return m.MTU
	case m.V6 && m.Type == ICMP6Parameter:
		return m.Pointer
	case !m.V6 && m.Type == ICMPUnreachable && m.Code == ICMPCodeFragNeeded:
		return m.MTU & 0xffff
	case !m.V6 && m.Type == ICMPParameter:
		return m.Pointer << 24
	}
	return 0
}

// parseQuote reads the quoted packet. Its IPv4 checksum does not count: routers
// on the way have changed the TTL, and not all of them have put it right.
func (m *ICMP) parseQuote(b []byte) error {
	err := ErrVersion
	switch b[0] >> 4 {
	case 4:
		err = parseIPv4(b, &m.Quoted, false)
	case 6:
		err = parseIPv6(b, &m.Quoted)
	}
	if err != nil {
		return err
	}
	// The middle of a datagram says nothing about ports.
	if m.Quoted.Proto != ProtoTCP || m.Quoted.FragOffset != 0 || m.Quoted.PayloadLen() < TCPLen {
		return ErrQuote
	}
	t := b[m.Quoted.HeaderLen:]
	if len(t) < icmpTCPLen {
		return ErrShort
	}
	m.SrcPort = binary.BigEndian.Uint16(t[0:])
	m.DstPort = binary.BigEndian.Uint16(t[2:])
	m.Seq = seq.Number(binary.BigEndian.Uint32(t[4:]))
	return nil
}

// TooBigFor makes the message that the packet which b begins with, one TCP segment, was
// too big for a link with an MTU of mtu octets. b holds the headers of the packet.
func (m *ICMP) TooBigFor(b []byte, mtu uint16) error {
	if len(b) == 0 {
		return ErrShort
	}
	*m = ICMP{Type: ICMPUnreachable, Code: ICMPCodeFragNeeded, MTU: uint32(mtu)}
	if b[0]>>4 == 6 {
		m.V6, m.Type, m.Code = true, ICMP6PacketTooBig, 0
	}
	return m.parseQuote(b)
}

// TooBig reports whether the message says that the quoted packet was too big for
// a link, and that link's MTU in octets, 0 if the router did not tell it.
func (m *ICMP) TooBig() (mtu int, ok bool) {
	if m.V6 {
		return int(m.MTU), m.Type == ICMP6PacketTooBig
	}
	return int(m.MTU), m.Type == ICMPUnreachable && m.Code == ICMPCodeFragNeeded
}

// Emit writes the message, its checksum included, for a packet from src to dst
// and returns its length. The quoted packet comes without options or extension
// headers and with the first 8 octets of its segment. b must have the room:
// MaxICMPLen is always enough.
func (m *ICMP) Emit(b []byte, src, dst *Addr) int {
	b[0], b[1], b[2], b[3] = m.Type, m.Code, 0, 0
	binary.BigEndian.PutUint32(b[4:], m.word())
	n := icmpLen
	n += m.Quoted.Emit(b[n:], m.Quoted.PayloadLen())
	binary.BigEndian.PutUint16(b[n:], m.SrcPort)
	binary.BigEndian.PutUint16(b[n+2:], m.DstPort)
	binary.BigEndian.PutUint32(b[n+4:], uint32(m.Seq))
	n += icmpTCPLen
	binary.BigEndian.PutUint16(b[icmpChecksumAt:], ^Fold(icmpSum(src, dst, b[:n])))
	return n
}

// ICMPChecksumOK reports whether the checksum of the ICMP or ICMPv6 message b,
// received in a packet from src to dst, is right.
func ICMPChecksumOK(src, dst *Addr, b []byte) bool {
	return Fold(icmpSum(src, dst, b)) == 0xffff
}

// icmpSum covers a pseudo-header in IPv6 only (RFC 4443 section 2.3).
func icmpSum(src, dst *Addr, b []byte) uint32 {
	if src.Is4() {
		return Sum(0, b)
	}
	return Sum(PseudoSum(src, dst, ProtoICMPv6, len(b)), b)
}
