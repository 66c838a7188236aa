package wire

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

func TestVCI(t *testing.T) {
	tests := []struct {
		v         VCI
		bits      uint16
		ring      int
		stream    int
		multicast bool
		known     bool
		s         string
	}{
		{NewVCI(0, 0), 0, 0, 0, false, true, "0/well-known"},
		{NewVCI(3, 17), 3<<10 | 17, 3, 17, false, false, "3/17"},
		{NewVCI(15, 1023), 0x3fff, 15, 1023, false, false, "15/1023"},
		{WellKnownVCI(3), 3 << 10, 3, 0, false, true, "3/well-known"},
		{MulticastVCI(3, 17), 1<<14 | 3<<10 | 17, 3, 17, true, false, "multicast 3/17"},
		{MulticastVCI(3, 0), 1<<14 | 3<<10, 3, 0, true, false, "multicast 3/0"},
	}
	for _, test := range tests {
		v := test.v
		if uint16(v) != test.bits || v.Ring() != test.ring || v.Stream() != test.stream ||
			v.IsMulticast() != test.multicast || v.IsWellKnown() != test.known || v.String() != test.s || !v.Valid() {
			t.Errorf("VCI %04x: ring %d, stream %d, multicast %v, well-known %v, valid %v, %q, want %+v",
				uint16(v), v.Ring(), v.Stream(), v.IsMulticast(), v.IsWellKnown(), v.Valid(), v, test)
		}
	}
	if v := VCI(0x8001); v.Valid() || v.String() != "invalid VCI 0x8001" {
		t.Errorf("%v is valid: %v", v, v.Valid())
	}
}

func TestVCIsThatCannotBe(t *testing.T) {
	for _, part := range [][2]int{{-1, 0}, {16, 0}, {0, -1}, {0, 1024}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a VCI was made of ring %d and stream %d", part[0], part[1])
				}
			}()
			NewVCI(part[0], part[1])
		}()
	}
}

func TestVCIPartsComeBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ring := rapid.IntRange(0, MaxRing).Draw(r, "ring")
		stream := rapid.IntRange(0, MaxStream).Draw(r, "stream")
		v, m := NewVCI(ring, stream), MulticastVCI(ring, stream)
		if v.Ring() != ring || v.Stream() != stream || m.Ring() != ring || m.Stream() != stream || v == m {
			r.Fatalf("%v and %v", v, m)
		}
	})
}

// slowCRC is the CRC bit by bit, most significant first.
func slowCRC(b []byte) uint32 {
	r := ^uint32(0)
	for _, x := range b {
		for bit := 7; bit >= 0; bit-- {
			top := r>>31 ^ uint32(x>>bit)&1
			r <<= 1
			if top != 0 {
				r ^= 0x04c11db7
			}
		}
	}
	return ^r
}

// The check value of this CRC in the catalogues, where it is called
// CRC-32/BZIP2 and AAL5.
func TestCRCCheckValue(t *testing.T) {
	if got := CRC(0, []byte("123456789")); got != 0xfc891918 {
		t.Errorf("CRC %08x, want fc891918", got)
	}
	if got := CRC(0, nil); got != 0 {
		t.Errorf("CRC of nothing %08x, want 0", got)
	}
}

func TestCRCAgainstTwoOthers(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(r, "octets")
		got := CRC(0, b)
		if want := slowCRC(b); got != want {
			r.Fatalf("CRC %08x, bit by bit %08x", got, want)
		}
		// Ethernet's is the same with each octet, and the result, turned round.
		turned := make([]byte, len(b))
		for i, x := range b {
			turned[i] = bits.Reverse8(x)
		}
		if want := bits.Reverse32(crc32.ChecksumIEEE(turned)); got != want {
			r.Fatalf("CRC %08x, by hash/crc32 %08x", got, want)
		}
		cut := rapid.IntRange(0, len(b)).Draw(r, "cut")
		if parts := CRC(CRC(0, b[:cut]), b[cut:]); parts != got {
			r.Fatalf("CRC %08x, in two parts %08x", got, parts)
		}
	})
}

func TestTrailerOnTheWire(t *testing.T) {
	a := AAL5{RxVCI: NewVCI(3, 17), Length: 0x1234, CRC: 0xdeadbeef}
	b := make([]byte, AAL5Len)
	if n := a.Emit(b); n != AAL5Len || fmt.Sprintf("%x", b) != "0c111234deadbeef" {
		t.Errorf("%d octets, %x", n, b)
	}
	if s := a.String(); s != "aal5 rx 3/17 length 4660 crc 0xdeadbeef" {
		t.Errorf("prints %q", s)
	}
}

// A receiver's CRC over payload and whole trailer is a constant if all is right:
// the CRC-32 of any message followed by its CRC.
func TestCRCOverCoversPayloadAndTrailer(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(r, "payload")
		a := AAL5{RxVCI: VCI(rapid.Uint16Range(0, 0x7fff).Draw(r, "vci")), Length: uint16(len(payload))}
		a.CRC = a.CRCOver(CRC(0, payload))
		if again := a.CRCOver(CRC(0, payload)); again != a.CRC {
			r.Fatalf("the CRC field counts in itself: %08x, then %08x", a.CRC, again)
		}
		pdu := append(payload, make([]byte, AAL5Len)...)
		a.Emit(pdu[len(payload):])
		const residue = 0xc704dd7b
		if got := ^slowCRC(pdu); got != residue {
			r.Fatalf("residue %08x, want %08x", got, residue)
		}
	})
}

func TestParseAAL5(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want AAL5
		err  error
	}{
		{"good", []byte{0x0c, 0x11, 0, 40, 1, 2, 3, 4}, AAL5{NewVCI(3, 17), 40, 0x01020304}, nil},
		{"good, with more behind", []byte{0x0c, 0x11, 0, 40, 1, 2, 3, 4, 5}, AAL5{NewVCI(3, 17), 40, 0x01020304}, nil},
		{"nothing", nil, AAL5{}, ErrShort},
		{"7 octets", make([]byte, 7), AAL5{}, ErrShort},
		{"VCI of 16 bits", []byte{0x80, 0x11, 0, 40, 1, 2, 3, 4}, AAL5{}, ErrVCI},
		{"length zero", []byte{0x0c, 0x11, 0, 0, 1, 2, 3, 4}, AAL5{}, ErrPDULen},
	}
	for _, test := range tests {
		var a AAL5
		err := ParseAAL5(test.b, &a)
		if !errors.Is(err, test.err) || err == nil && a != test.want {
			t.Errorf("%s: %v, %+v, want %v, %+v", test.name, err, a, test.err, test.want)
		}
	}
}

func BenchmarkCRC(b *testing.B) {
	p := make([]byte, 65536)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		CRC(0, p)
	}
}
