package wire

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestFieldsOfACapturedSYN(t *testing.T) {
	_, rest := mustParseIP(t, packets["syn4"])
	got, _ := mustParseTCP(t, rest)
	want := TCP{
		SrcPort: 4242, DstPort: 80, Seq: 0x8750a0ff, Flags: SYN, Window: 64240, Checksum: 0xdb9f,
		Options: Options{
			Present: HasMSS | HasSACKPermitted | HasTimestamps | HasWindowScale,
			MSS:     1460, WindowScale: 10, TSVal: 0x98068c2e,
		},
	}
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestBadTCPHeaders(t *testing.T) {
	_, syn := mustParseIP(t, packets["syn4"])
	offset := func(words byte) []byte {
		b := slices.Clone(syn)
		b[12] = words << 4
		return b
	}
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"19 octets", syn[:19], ErrShort},
		{"options cut off", syn[:39], ErrShort},
		{"data offset 0", offset(0), ErrHeaderLen},
		{"data offset 4", offset(4), ErrHeaderLen},
		{"data offset beyond the segment", offset(15), ErrShort},
	}
	for _, test := range tests {
		var h TCP
		if n, err := ParseTCP(test.b, &h); !errors.Is(err, test.want) || n != 0 {
			t.Errorf("%s: %d octets, %v, want %v", test.name, n, err, test.want)
		}
	}
}

// A receiver may go on after an illegal option length, as Linux does: the rest
// of the header is there.
func TestHeaderWithAnIllegalOptionLength(t *testing.T) {
	b := make([]byte, MaxTCPLen)
	h := TCP{SrcPort: 80, Seq: 7, Flags: SYN, Options: Options{Present: HasMSS | HasWindowScale, MSS: 1460}}
	b = b[:h.Emit(b)]
	b[26] = 0 // length of the window scale
	var got TCP
	n, err := ParseTCP(b, &got)
	h.Options = Options{Present: HasMSS, MSS: 1460}
	if n != len(b) || !errors.Is(err, ErrOptionLen) || got != h {
		t.Errorf("%d octets, %v, %+v", n, err, got)
	}
}

// Each flag has its bit in octets 12 and 13, RFC 9293 figure 1 and RFC 9768
// figure 2.
func TestFlagsOnTheWire(t *testing.T) {
	want := map[Flags][2]byte{
		FIN: {0x50, 0x01}, SYN: {0x50, 0x02}, RST: {0x50, 0x04}, PSH: {0x50, 0x08}, ACK: {0x50, 0x10},
		URG: {0x50, 0x20}, ECE: {0x50, 0x40}, CWR: {0x50, 0x80}, AE: {0x51, 0x00}, 0x0e00: {0x5e, 0x00}, 0xf000: {0x50, 0x00},
	}
	for f, w := range want {
		h := TCP{Flags: f}
		b := make([]byte, TCPLen)
		h.Emit(b)
		if [2]byte(b[12:14]) != w {
			t.Errorf("%v: octets %x, want %x", f, b[12:14], w)
		}
		var got TCP
		if _, err := ParseTCP(b, &got); err != nil || got.Flags != f&flagsMask {
			t.Errorf("%v came back as %v (%v)", f, got.Flags, err)
		}
	}
}

func TestEmitIsTheInverseOfParseTCP(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := drawTCP(r)
		b := slices.Repeat([]byte{0xee}, MaxTCPLen+1)
		n := want.Emit(b)
		if n != want.Len() || b[n] != 0xee {
			r.Fatalf("Len is %d, %d octets written, octet behind is %02x", want.Len(), n, b[n])
		}
		var got TCP
		if m, err := ParseTCP(b, &got); err != nil || m != n {
			r.Fatalf("%d octets of %d, %v", m, n, err)
		}
		if got != want {
			r.Fatalf("\n got %+v\nwant %+v", got, want)
		}
	})
}
