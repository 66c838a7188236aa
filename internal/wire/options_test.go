package wire

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// octets returns the octets of hexadecimal digits with spaces and bars in them.
func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func options(present OptionSet, blocks int) Options {
	return Options{
		Present: present, MSS: 1460, WindowScale: 7, TSVal: 0x01020304, TSEcr: 0x0a0b0c0d,
		SACKBlocks: uint8(blocks), SACK: [4]Block{{1, 2}, {3, 4}, {5, 6}, {7, 8}}, UserTimeout: 0x803c,
	}
}

const (
	allSYN = HasMSS | HasSACKPermitted | HasTimestamps | HasWindowScale
	ts     = "080a 01020304 0a0b0c0d"
)

// The layouts are those that Linux's tcp_options_write makes; octet by octet.
func TestLayout(t *testing.T) {
	cookie := options(allSYN, 0)
	cookie.Present |= HasFastOpen
	cookie.CookieLen, cookie.Cookie = 8, [16]byte{1, 2, 3, 4, 5, 6, 7, 8}
	oddCookie := cookie
	oddCookie.Present, oddCookie.CookieLen = HasMSS|HasFastOpen, 6
	request := cookie
	request.CookieLen = 0
	accECN := Options{Present: HasAccECN, AccECNCount: 3, AccECNOrder: 1, AccECN: [3]uint32{1, 0x020304, 0xffffff}}
	short := accECN
	short.AccECNCount, short.AccECNOrder = 1, 0
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"nothing", options(0, 0), ""},
		{"SYN", options(allSYN, 0), "020405b4 | 0402" + ts + "| 01030307"},
		{"SYN without timestamps", options(allSYN&^HasTimestamps, 0), "020405b4 | 01010402 | 01030307"},
		{"SYN without SACK", options(allSYN&^HasSACKPermitted, 0), "020405b4 | 0101" + ts + "| 01030307"},
		{"SYN with MSS alone", options(HasMSS, 0), "020405b4"},
		{"segment", options(HasTimestamps, 0), "0101" + ts},
		{"segment with SACK", options(HasTimestamps, 1), "0101" + ts + "| 0101050a 00000001 00000002"},
		{"three blocks with timestamps", options(HasTimestamps, 3),
			"0101" + ts + "| 0101051a 00000001 00000002 00000003 00000004 00000005 00000006"},
		{"four blocks without", options(0, 4),
			"01010522 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008"},
		{"SYN with cookie", cookie, "020405b4 | 0402" + ts + "| 01030307 | 220a 0102030405060708 0101"},
		{"cookie that fills its words", oddCookie, "020405b4 | 2208 010203040506"},
		{"SYN with cookie request", request, "020405b4 | 0402" + ts + "| 01030307 | 2202 0101"},
		{"user timeout", options(HasUserTimeout, 0), "1c04803c"},
		{"AccECN counters", accECN, "ae0b 000001 020304 ffffff 01"},
		{"one AccECN counter", short, "ac05 000001 010101"},
	}
	for _, test := range tests {
		b := make([]byte, MaxOptionsLen)
		n := test.o.emit(b)
		if want := octets(t, test.want); !slices.Equal(b[:n], want) || test.o.Len() != n {
			t.Errorf("%s: Len is %d,\n got %x\nwant %x", test.name, test.o.Len(), b[:n], want)
		}
	}
}

// What does not fit is left out, and Len knows.
func TestLayoutOfTooMuch(t *testing.T) {
	full := options(allSYN|HasUserTimeout|HasFastOpen, 4)
	full.CookieLen = 16
	exact := options(allSYN|HasFastOpen, 0)
	exact.CookieLen = 16
	tests := []struct {
		name   string
		o      Options
		set    OptionSet
		blocks int
		n      int
	}{
		{"four blocks with timestamps", options(HasTimestamps, 4), HasTimestamps, 3, 40},
		{"blocks in a SYN", options(allSYN, 4), allSYN, 2, 40},
		{"cookie of 16 behind all else", full, allSYN, 2, 40},
		{"cookie of 16 behind a SYN's", exact, allSYN | HasFastOpen, 0, 40},
		{"more blocks than there can be", Options{SACKBlocks: 200}, 0, 4, 36},
		{"cookie longer than there can be", Options{Present: HasFastOpen, CookieLen: 255}, HasFastOpen, 0, 20},
		{"more counters than there can be", Options{Present: HasAccECN, AccECNCount: 255}, HasAccECN, 0, 12},
		{"bits of no option", Options{Present: 0xff80}, 0, 0, 0},
	}
	for _, test := range tests {
		set, blocks, n := test.o.layout()
		if set != test.set || blocks != test.blocks || n != test.n {
			t.Errorf("%s: options %b, %d blocks, %d octets, want %b, %d, %d",
				test.name, set, blocks, n, test.set, test.blocks, test.n)
		}
		if got := test.o.emit(make([]byte, MaxOptionsLen)); got != n {
			t.Errorf("%s: wrote %d octets, want %d", test.name, got, n)
		}
	}
}

func TestEmitIsTheInverseOfParse(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := drawOptions(r)
		b := slices.Repeat([]byte{0xee}, MaxOptionsLen+1)
		n := o.emit(b)
		if n != o.Len() || n%4 != 0 || n > MaxOptionsLen || b[n] != 0xee {
			r.Fatalf("Len is %d, %d octets written, octet behind is %02x", o.Len(), n, b[n])
		}
		var got Options
		if err := got.parse(b[:n]); err != nil {
			r.Fatalf("%v from %x", err, b[:n])
		}
		if want := fitting(o); got != want {
			r.Fatalf("\n got %+v\nwant %+v", got, want)
		}
	})
}

// "TCP implementations MUST be prepared to handle an illegal option length"
// (RFC 9293 MUST-7). What came before it counts.
func TestIllegalOptionLengths(t *testing.T) {
	tests := map[string]string{
		"length 0":                        "020405b4 0300 0000",
		"length 1":                        "020405b4 0301 0000",
		"length beyond the end by one":    "020405b4 0305 0700",
		"length 255":                      "020405b4 08ff 0000",
		"unknown option of length 0":      "020405b4 fd00 0000",
		"no length at the end":            "020405b4 010101 03",
		"no length for an unknown option": "020405b4 010101 fd",
	}
	for name, s := range tests {
		var o Options
		if err := o.parse(octets(t, s)); !errors.Is(err, ErrOptionLen) {
			t.Errorf("%s: %v, want %v", name, err, ErrOptionLen)
		}
		if want := (Options{Present: HasMSS, MSS: 1460}); o != want {
			t.Errorf("%s: %+v, want the MSS before it", name, o)
		}
	}
}

// Options of a length that their kind does not have count as unknown, as do
// kinds that are: nothing of them is kept, and what follows them is.
func TestOptionsThatAreSkipped(t *testing.T) {
	tests := map[string]string{
		"MSS of length 3":              "020305",
		"MSS of length 5":              "020505b400",
		"window scale of length 2":     "0302",
		"window scale of length 4":     "03040700",
		"SACK permitted of length 3":   "040300",
		"timestamps of length 9":       "0809 01020304 0a0b0c",
		"timestamps of length 11":      "080b 01020304 0a0b0c0d 00",
		"SACK without blocks":          "0502",
		"SACK of half a block":         "0506 00000001",
		"SACK of a block and an octet": "050b 00000001 00000002 00",
		"user timeout of length 3":     "1c0300",
		"cookie of 2":                  "22040102",
		"cookie of 5":                  "22070102030405",
		"cookie of 18":                 "2214 0102030405060708090a0b0c0d0e0f101112",
		"unknown kind":                 "fd04beef",
		"unknown kind without data":    "fd02",
		"no-operations":                "010101",
	}
	for name, s := range tests {
		b := append(octets(t, s), 2, 4, 0x05, 0xb4)
		var o Options
		if err := o.parse(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := (Options{Present: HasMSS, MSS: 1460}); o != want {
			t.Errorf("%s: %+v, want only the MSS behind it", name, o)
		}
	}
}

func TestOptionsBehindTheEndAreNotThere(t *testing.T) {
	var o Options
	if err := o.parse(octets(t, "00 020405b4 0300")); err != nil || o.Present != 0 {
		t.Errorf("%v, options %b, want none", err, o.Present)
	}
}

func TestLastOfTwoCounts(t *testing.T) {
	tests := []struct {
		name, s string
		want    Options
	}{
		{"MSS", "02040001 020405b4", Options{Present: HasMSS, MSS: 1460}},
		{"shorter cookie", "220a 0102030405060708 2206 0a0b0c0d",
			Options{Present: HasFastOpen, CookieLen: 4, Cookie: [16]byte{10, 11, 12, 13}}},
		{"fewer blocks", "0512 00000001 00000002 00000003 00000004 050a 00000005 00000006",
			Options{SACKBlocks: 1, SACK: [4]Block{{5, 6}}}},
		{"other order again", "ae05 000003 ac05 000001",
			Options{Present: HasAccECN, AccECNCount: 1, AccECN: [3]uint32{1}}},
		{"other order", "ac08 000001 000002 ae05 000003",
			Options{Present: HasAccECN, AccECNOrder: 1, AccECNCount: 1, AccECN: [3]uint32{3}}},
		{"a bad one does not count", "020405b4 020300", Options{Present: HasMSS, MSS: 1460}},
	}
	for _, test := range tests {
		var o Options
		if err := o.parse(octets(t, test.s)); err != nil || o != test.want {
			t.Errorf("%s: %v\n got %+v\nwant %+v", test.name, err, o, test.want)
		}
	}
}

// RFC 9768 section 3.2.3: whole counters are used, the rest is padding.
func TestAccECNOfOtherLengths(t *testing.T) {
	for s, count := range map[string]uint8{"ac02": 0, "ac040000": 0, "ac07 0000010000": 1, "ae0e 000001000002000003000004": 3} {
		var o Options
		if err := o.parse(octets(t, s)); err != nil || !o.Has(HasAccECN) || o.AccECNCount != count {
			t.Errorf("%s: %v, %d counters, want %d", s, err, o.AccECNCount, count)
		}
	}
}

// The short way through the parser finds what the long one finds.
func TestTimestampsInAnyPlace(t *testing.T) {
	want := Options{Present: HasTimestamps, TSVal: 0x01020304, TSEcr: 0x0a0b0c0d}
	for _, s := range []string{"0101" + ts, ts + "0101", ts + "0000", "01" + ts + "01", ts, "01010101" + ts + "0101"} {
		var o Options
		if err := o.parse(octets(t, s)); err != nil || o != want {
			t.Errorf("%s: %v, %+v", s, err, o)
		}
	}
}
