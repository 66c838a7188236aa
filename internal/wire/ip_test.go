package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// edited returns a copy of the captured packet with v at offset at; the IPv4
// header checksum is put right if fix is set.
func edited(name string, fix bool, at int, v ...byte) []byte {
	b := bytes.Clone(packets[name])
	copy(b[at:], v)
	if fix {
		fixIPv4(b)
	}
	return b
}

func fixIPv4(b []byte) {
	n := min(int(b[0]&0xf)*4, len(b))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^Fold(Sum(0, b[:n])))
}

func TestBadIPHeaders(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:10.1.0.1").As16()
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"version 5", edited("ack4", false, 0, 0x55), ErrVersion},
		{"version 0", make([]byte, 60), ErrVersion},
		{"IPv4 of one octet", packets["ack4"][:1], ErrShort},
		{"IPv4 of 19 octets", packets["ack4"][:19], ErrShort},
		{"IPv4 header length 16", edited("ack4", true, 0, 0x44), ErrHeaderLen},
		{"IPv4 options beyond the packet", edited("ack4", true, 0, 0x4f)[:56], ErrShort},
		{"IPv4 total length below the header", edited("ack4", true, 2, 0, 19), ErrTotalLen},
		{"IPv4 total length zero", edited("ack4", true, 2, 0, 0), ErrTotalLen},
		{"IPv4 with another TTL than was summed", edited("ack4", false, 8, 63), ErrHeaderChecksum},
		{"IPv6 of one octet", packets["ack6"][:1], ErrShort},
		{"IPv6 of 39 octets", packets["ack6"][:39], ErrShort},
		{"IPv6 from a mapped address", edited("ack6", false, 8, mapped[:]...), ErrMapped},
		{"IPv6 to a mapped address", edited("ack6", false, 24, mapped[:]...), ErrMapped},
	}
	for _, test := range tests {
		var ip IP
		if err := ParseIP(test.b, &ip); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestIPv4FieldsOfACapturedHeader(t *testing.T) {
	got, _ := mustParseIP(t, edited("ack4", true, 1, 0xb9))
	want := IP{
		Src: AddrFrom(netip.MustParseAddr("10.1.0.1")), Dst: AddrFrom(netip.MustParseAddr("10.2.0.2")),
		Proto: ProtoTCP, TTL: 64, TOS: 0xb9, ID: 0xaba9, DontFragment: true, TotalLen: 52, HeaderLen: 20,
	}
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	if !got.Is4() || got.IsFragment() || got.PayloadLen() != 32 {
		t.Errorf("Is4 %v, IsFragment %v, PayloadLen %d", got.Is4(), got.IsFragment(), got.PayloadLen())
	}
}

func TestIPv4OptionsArePassedOver(t *testing.T) {
	b := packets["ack4"]
	b = slices.Concat(b[:20], []byte{0x94, 4, 0, 0, 1, 1, 1, 0}, b[20:]) // router alert
	b[0], b[3] = 0x47, byte(len(b))
	fixIPv4(b)
	ip, rest := mustParseIP(t, b)
	if ip.HeaderLen != 28 || !bytes.Equal(rest, packets["ack4"][20:]) {
		t.Errorf("header of %d octets, want 28", ip.HeaderLen)
	}
	b[24]++ // an option counts in the checksum
	if err := ParseIP(b, &ip); !errors.Is(err, ErrHeaderChecksum) {
		t.Errorf("changed option: %v, want %v", err, ErrHeaderChecksum)
	}
}

func TestIPv4Fragments(t *testing.T) {
	tests := []struct {
		hi, lo byte
		offset uint16
		more   bool
	}{{0x20, 0, 0, true}, {0x20, 1, 8, true}, {0x1f, 0xff, 65528, false}, {0x40, 0, 0, false}, {0x80, 0, 0, false}}
	for _, test := range tests {
		ip, _ := mustParseIP(t, edited("ack4", true, 6, test.hi, test.lo))
		if ip.FragOffset != test.offset || ip.MoreFragments != test.more || ip.IsFragment() != (test.more || test.offset > 0) {
			t.Errorf("flags %02x%02x: offset %d, more %v", test.hi, test.lo, ip.FragOffset, ip.MoreFragments)
		}
	}
}

// The payload may lie elsewhere: only the header must be there.
func TestHeaderAloneIsEnough(t *testing.T) {
	for name, n := range map[string]int{"full4": 20, "full6": 40} {
		var ip IP
		if err := ParseIP(packets[name][:n], &ip); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ip.TotalLen != len(packets[name]) {
			t.Errorf("%s: total length %d, want %d", name, ip.TotalLen, len(packets[name]))
		}
	}
}

func TestEmitIsTheInverseOfParseIP(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := drawIP(r)
		n := rapid.IntRange(0, 0xffff-IPv4Len).Draw(r, "payload")
		b := slices.Repeat([]byte{0xee}, IPv6Len+1)
		want.HeaderLen = want.Emit(b, n)
		want.TotalLen = want.HeaderLen + n
		var got IP
		if err := ParseIP(b, &got); err != nil {
			r.Fatalf("%v from %x", err, b)
		}
		if got != want {
			r.Fatalf("\n got %+v\nwant %+v", got, want)
		}
		if b[want.HeaderLen] != 0xee {
			r.Fatal("Emit wrote beyond the header")
		}
	})
}

func TestEmitRefusesWhatNoLengthFieldHolds(t *testing.T) {
	v4, v6 := IP{Src: Addr{10: 0xff, 11: 0xff}}, IP{Src: Addr{0: 0xfd}}
	for _, test := range []struct {
		ip *IP
		n  int
	}{{&v4, -1}, {&v4, 0x10000 - IPv4Len}, {&v6, -1}, {&v6, 0x10000}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a payload of %d octets was taken", test.n)
				}
			}()
			test.ip.Emit(make([]byte, 40), test.n)
		}()
	}
}
