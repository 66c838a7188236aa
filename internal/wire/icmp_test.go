package wire

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"usertcp/internal/seq"

	"pgregory.net/rapid"
)

func TestCapturedICMP(t *testing.T) {
	tests := []struct {
		name       string
		typ, code  uint8
		mtu        uint32
		about      string // the captured segment that is quoted, if there is one
		port, peer uint16
	}{
		{"toobig4", ICMPUnreachable, ICMPCodeFragNeeded, 1300, "full4", 4242, 80},
		{"noroute4", ICMPUnreachable, ICMPCodeHost, 0, "", 4244, 80},
		{"exceeded4", ICMPTimeExceeded, 0, 0, "", 4245, 80},
		{"toobig6", ICMP6PacketTooBig, 0, 1300, "full6", 4242, 80},
		{"noroute6", ICMP6Unreachable, ICMP6CodeNoRoute, 0, "", 4244, 80},
		{"exceeded6", ICMP6TimeExceeded, 0, 0, "", 4245, 80},
	}
	for _, test := range tests {
		ip, b := mustParseIP(t, packets[test.name])
		if !ICMPChecksumOK(&ip.Src, &ip.Dst, b) {
			t.Errorf("%s: checksum is said to be wrong", test.name)
		}
		var m ICMP
		if err := ParseICMP(b, &m); err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		want := ICMP{
			V6: !ip.Is4(), Type: test.typ, Code: test.code, MTU: test.mtu,
			Quoted: m.Quoted, SrcPort: test.port, DstPort: test.peer, Seq: m.Seq,
		}
		if m != want || m.Quoted.Src != ip.Dst {
			t.Errorf("%s:\n got %+v\nwant %+v", test.name, m, want)
		}
		if mtu, ok := m.TooBig(); ok != (test.mtu != 0) || mtu != int(test.mtu) {
			t.Errorf("%s: TooBig says %d, %v", test.name, mtu, ok)
		}
		if test.about != "" {
			wantQuote(t, &m, packets[test.about])
		}
	}
}

// wantQuote checks that m is about the segment.
func wantQuote(t *testing.T, m *ICMP, segment []byte) {
	t.Helper()
	ip, rest := mustParseIP(t, segment)
	h, _ := mustParseTCP(t, rest)
	if m.Quoted != ip || m.Seq != h.Seq {
		t.Errorf("quoted %+v seq %d\nsent %+v seq %d", m.Quoted, m.Seq, ip, h.Seq)
	}
}

func TestChecksumOfICMPSeesChanges(t *testing.T) {
	for _, name := range icmpPackets {
		ip, b := mustParseIP(t, packets[name])
		b = bytes.Clone(b)
		b[len(b)-1]++
		if ICMPChecksumOK(&ip.Src, &ip.Dst, b) {
			t.Errorf("%s: a changed octet was not seen", name)
		}
	}
	// The pseudo-header belongs to ICMPv6 only.
	other := Addr{0: 0xfd, 15: 9}
	ip, b := mustParseIP(t, packets["toobig6"])
	if ICMPChecksumOK(&ip.Src, &other, b) {
		t.Error("an ICMPv6 message passes with another destination")
	}
}

func TestBadICMP(t *testing.T) {
	_, v4 := mustParseIP(t, packets["exceeded4"])
	_, v6 := mustParseIP(t, packets["exceeded6"])
	edit := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		return b
	}
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"no quote", v4[:8], ErrShort},
		{"quote of half an IPv4 header", v4[:18], ErrShort},
		{"quote of half an IPv6 header", v6[:40], ErrShort},
		{"quote that ends before the sequence number", v4[:8+20+7], ErrShort},
		{"quote that ends before the sequence number in IPv6", v6[:8+40+7], ErrShort},
		{"echo request", edit(v4, 0, 8), ErrICMPType},
		{"source quench", edit(v4, 0, 4), ErrICMPType},
		{"redirect", edit(v4, 0, 5), ErrICMPType},
		{"ICMPv6 echo request", edit(v6, 0, 128), ErrICMPType},
		{"ICMPv4 type with an IPv6 quote", edit(v6, 0, 11), ErrICMPType},
		{"quote of IP version 7", edit(v4, 8, 0x75), ErrVersion},
		{"quote of UDP", edit(v4, 8+9, 17), ErrQuote},
		{"quote of a later fragment", edit(v4, 8+6, 0, 1), ErrQuote},
		{"quote of a packet shorter than a TCP header", edit(v4, 8+2, 0, 39), ErrQuote},
		{"quote of UDP in IPv6", edit(v6, 8+6, 17), ErrQuote},
	}
	for _, test := range tests {
		var m ICMP
		if err := ParseICMP(test.b, &m); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// RFC 4884 puts a length where RFC 1191 has zeros, before the MTU.
func TestMTUIsSixteenBits(t *testing.T) {
	_, b := mustParseIP(t, packets["toobig4"])
	b = bytes.Clone(b)
	b[4], b[5] = 0xff, 17
	var m ICMP
	if err := ParseICMP(b, &m); err != nil || m.MTU != 1300 {
		t.Errorf("%v, MTU %d, want 1300", err, m.MTU)
	}
}

// A router has counted the TTL down and perhaps not summed anew: the message is
// good all the same.
func TestQuoteWithAWrongHeaderChecksum(t *testing.T) {
	_, b := mustParseIP(t, packets["exceeded4"])
	b = bytes.Clone(b)
	b[8+10] ^= 0xff
	var m ICMP
	if err := ParseICMP(b, &m); err != nil {
		t.Error(err)
	}
}

func TestQuoteIsFoundBehindOptions(t *testing.T) {
	_, v4 := mustParseIP(t, packets["exceeded4"])
	b := slices.Concat(v4[:28], []byte{1, 1, 1, 0}, v4[28:])
	b[8] = 0x46
	var plain, m ICMP
	if err := ParseICMP(v4, &plain); err != nil {
		t.Fatal(err)
	}
	if err := ParseICMP(b, &m); err != nil || m.Seq != plain.Seq || m.SrcPort != plain.SrcPort {
		t.Errorf("%v, %+v, want the ports and sequence number of %+v", err, m, plain)
	}
}

// drawICMP draws a message as Parse leaves it.
func drawICMP(r *rapid.T) ICMP {
	m := ICMP{
		Code:    rapid.Byte().Draw(r, "code"),
		Quoted:  drawIP(r),
		SrcPort: rapid.Uint16().Draw(r, "sport"),
		DstPort: rapid.Uint16().Draw(r, "dport"),
		Seq:     seq.Number(rapid.Uint32().Draw(r, "seq")),
	}
	m.V6 = !m.Quoted.Is4()
	m.Quoted.Proto, m.Quoted.FragOffset = ProtoTCP, 0
	m.Quoted.HeaderLen = IPv4Len
	types := []uint8{ICMPUnreachable, ICMPTimeExceeded, ICMPParameter}
	if m.V6 {
		m.Quoted.HeaderLen = IPv6Len
		types = []uint8{ICMP6Unreachable, ICMP6PacketTooBig, ICMP6TimeExceeded, ICMP6Parameter}
	}
	m.Quoted.TotalLen = m.Quoted.HeaderLen + rapid.IntRange(TCPLen, 65000).Draw(r, "payload")
	m.Type = rapid.SampledFrom(types).Draw(r, "type")
	m.setWord(rapid.Uint32().Draw(r, "word"))
	return m
}

func TestEmitIsTheInverseOfParseICMP(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := drawICMP(r)
		src, dst := drawAddr(r, !want.V6, "src"), want.Quoted.Src
		b := make([]byte, MaxICMPLen)
		b = b[:want.Emit(b, &src, &dst)]
		if !ICMPChecksumOK(&src, &dst, b) {
			r.Fatal("our own checksum is said to be wrong")
		}
		var got ICMP
		if err := ParseICMP(b, &got); err != nil || got != want {
			r.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
		}
		out := IP{Src: src, Dst: dst, Proto: ProtoICMP, TTL: 64}
		if want.V6 {
			out.Proto = ProtoICMPv6
		}
		packet := make([]byte, IPv6Len+len(b))
		n := out.Emit(packet, len(b))
		packet = packet[:n+copy(packet[n:], b)]
		if p := decode(t, packet); p.ErrorLayer() != nil {
			r.Fatalf("gopacket: %v", p.ErrorLayer().Error())
		}
	})
}

func TestTooBigForIsTheInverseOfTooBig(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v4 := rapid.Bool().Draw(r, "v4")
		h := TCP{SrcPort: 1, DstPort: 2, Seq: 3, Flags: ACK}
		ip := IP{Src: drawAddr(r, v4, "src"), Dst: drawAddr(r, v4, "dst"), Proto: ProtoTCP, TTL: 64}
		payload, mtu := rapid.IntRange(0, 60000).Draw(r, "payload"), rapid.Uint16Range(1, 65535).Draw(r, "mtu")
		var b [100]byte
		n := ip.Emit(b[:], h.Len()+payload)
		n += h.Emit(b[n:])
		var m ICMP
		if err := m.TooBigFor(b[:n], mtu); err != nil {
			r.Fatal(err)
		}
		if got, ok := m.TooBig(); !ok || got != int(mtu) || m.V6 == v4 {
			r.Fatalf("%+v", m)
		}
		if m.Quoted.Src != ip.Src || m.Quoted.Dst != ip.Dst || m.SrcPort != 1 || m.DstPort != 2 || m.Seq != 3 {
			r.Fatalf("quotes %+v", m)
		}
		for k := range m.Quoted.HeaderLen + 8 {
			if m.TooBigFor(b[:k], mtu) == nil {
				r.Fatalf("%d octets do", k)
			}
		}
	})
}
