package wire

import (
	"errors"
	"slices"
	"testing"
)

// extended returns the captured ACK with extension headers between its IPv6
// header, whose next header is first, and its TCP header.
func extended(first byte, headers ...[]byte) []byte {
	all := slices.Concat(headers...)
	b := slices.Concat(packets["ack6"][:40], all, packets["ack6"][40:])
	b[6] = first
	b[5] = byte(len(b) - 40)
	return b
}

// Extension headers for tests. Each is what it says, followed by next.
func padding(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
func longPadding(next byte) []byte {
	return append([]byte{next, 1, 1, 12}, make([]byte, 12)...)
}
func routing(next, left byte) []byte { return []byte{next, 0, 4, left, 0, 0, 0, 0} }
func fragment(next byte, field uint16) []byte {
	return []byte{next, 0, byte(field >> 8), byte(field), 1, 2, 3, 4}
}

func TestExtensionHeaders(t *testing.T) {
	const tcp = ProtoTCP
	tests := []struct {
		name   string
		b      []byte
		header int // expected length
		proto  uint8
		err    error
	}{
		{"none", extended(tcp), 40, tcp, nil},
		{"hop-by-hop options", extended(extHopByHop, padding(tcp)), 48, tcp, nil},
		{"long destination options", extended(extDestination, longPadding(tcp)), 56, tcp, nil},
		{"three in a row", extended(extHopByHop, padding(extDestination), padding(extRouting), routing(tcp, 0)), 64, tcp, nil},
		{"routing that is not done", extended(extRouting, routing(tcp, 1)), 0, 0, ErrExtension},
		{"a header that is not known", extended(51, padding(tcp)), 40, 51, nil},
		{"no next header", extended(59), 40, 59, nil},
		{"an atomic fragment", extended(extFragment, fragment(tcp, 0)), 48, tcp, nil},
		{"a first fragment with options behind", extended(extFragment, fragment(extDestination, 1), padding(tcp)), 56, tcp, nil},
		{"a later fragment that looks like options", extended(extFragment, fragment(extDestination, 8), padding(tcp)), 48, extDestination, nil},
		{"options cut off in their first octets", extended(extHopByHop, padding(tcp))[:47], 0, 0, ErrShort},
		{"options cut off later", extended(extHopByHop, longPadding(tcp))[:55], 0, 0, ErrShort},
		{"routing cut off", extended(extRouting, routing(tcp, 0))[:44], 0, 0, ErrShort},
		{"fragment header cut off", extended(extFragment, fragment(tcp, 0))[:46], 0, 0, ErrShort},
		{"nothing behind the header", extended(extFragment)[:40], 0, 0, ErrShort},
	}
	for _, test := range tests {
		var ip IP
		err := ParseIP(test.b, &ip)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", test.name, err, test.err)
		}
		if err == nil && (ip.HeaderLen != test.header || ip.Proto != test.proto) {
			t.Errorf("%s: header of %d octets before protocol %d, want %d before %d",
				test.name, ip.HeaderLen, ip.Proto, test.header, test.proto)
		}
	}
}

func TestExtensionHeadersBeyondTheLengthField(t *testing.T) {
	b := extended(extHopByHop, padding(ProtoTCP))
	b[4], b[5] = 0, 7
	var ip IP
	if err := ParseIP(b, &ip); !errors.Is(err, ErrTotalLen) {
		t.Errorf("%v, want %v", err, ErrTotalLen)
	}
}

func TestIPv6Fragments(t *testing.T) {
	tests := []struct {
		field  uint16
		offset uint16
		more   bool
	}{{0, 0, false}, {1, 0, true}, {8, 8, false}, {0xfff9, 0xfff8, true}, {6, 0, false}}
	for _, test := range tests {
		ip, _ := mustParseIP(t, extended(extFragment, fragment(ProtoTCP, test.field)))
		if ip.FragOffset != test.offset || ip.MoreFragments != test.more {
			t.Errorf("field %04x: offset %d, more %v", test.field, ip.FragOffset, ip.MoreFragments)
		}
	}
}

// A packet can be nothing but extension headers; it costs time in proportion to
// its octets and no more.
func TestOnlyExtensionHeaders(t *testing.T) {
	b := extended(extDestination, slices.Repeat(padding(extDestination), 20))[:200]
	b[5] = 160
	var ip IP
	if err := ParseIP(b, &ip); !errors.Is(err, ErrShort) {
		t.Errorf("%v, want %v", err, ErrShort)
	}
}
