package wire

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// fataler is what a test and a property have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// wantIP compares ip with what gopacket reads.
func wantIP(t fataler, ip *IP, p gopacket.Packet) {
	t.Helper()
	var want IP
	switch n := p.NetworkLayer().(type) {
	case *layers.IPv4:
		want = IP{
			Proto: uint8(n.Protocol), TTL: n.TTL, TOS: n.TOS, ID: n.Id,
			DontFragment: n.Flags&layers.IPv4DontFragment != 0, MoreFragments: n.Flags&layers.IPv4MoreFragments != 0,
			FragOffset: n.FragOffset * 8, TotalLen: int(n.Length), HeaderLen: int(n.IHL) * 4,
		}
		copy(want.Src[:], n.SrcIP.To16())
		copy(want.Dst[:], n.DstIP.To16())
	case *layers.IPv6:
		want = IP{
			Proto: uint8(n.NextHeader), TTL: n.HopLimit, TOS: n.TrafficClass, FlowLabel: n.FlowLabel,
			TotalLen: int(n.Length) + 40, HeaderLen: 40,
		}
		copy(want.Src[:], n.SrcIP)
		copy(want.Dst[:], n.DstIP)
	}
	if *ip != want {
		t.Fatalf("IP header\n got %+v\nwant %+v", *ip, want)
	}
}

// wantTCP compares h with what gopacket reads.
func wantTCP(t fataler, h *TCP, p gopacket.Packet) {
	t.Helper()
	l, ok := p.TransportLayer().(*layers.TCP)
	if !ok {
		t.Fatalf("gopacket finds no TCP in %v", p)
	}
	var flags Flags
	for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR, l.NS} {
		if set {
			flags |= 1 << i
		}
	}
	got := [...]uint32{uint32(h.SrcPort), uint32(h.DstPort), uint32(h.Seq), uint32(h.Ack),
		uint32(h.Flags), uint32(h.Window), uint32(h.Checksum), uint32(h.Urgent)}
	want := [...]uint32{uint32(l.SrcPort), uint32(l.DstPort), l.Seq, l.Ack,
		uint32(flags), uint32(l.Window), uint32(l.Checksum), uint32(l.Urgent)}
	if got != want {
		t.Fatalf("TCP header (ports, seq, ack, flags, window, checksum, urgent)\n got %v\nwant %v", got, want)
	}
	wantOptions(t, &h.Options, l.Options)
}

// wantOptions checks that each option that gopacket finds is in o with the same
// value, and that o holds no other.
func wantOptions(t fataler, o *Options, options []layers.TCPOption) {
	t.Helper()
	seen := OptionSet(0)
	for _, l := range options {
		d := l.OptionData
		ok := true
		switch uint8(l.OptionType) {
		case kindMSS:
			seen |= HasMSS
			ok = o.MSS == binary.BigEndian.Uint16(d)
		case kindWindowScale:
			seen |= HasWindowScale
			ok = o.WindowScale == d[0]
		case kindSACKPermitted:
			seen |= HasSACKPermitted
		case kindTimestamps:
			seen |= HasTimestamps
			ok = o.TSVal == binary.BigEndian.Uint32(d) && o.TSEcr == binary.BigEndian.Uint32(d[4:])
		case kindSACK:
			ok = int(o.SACKBlocks)*8 == len(d)
			for i := 0; ok && i < len(d); i += 4 {
				b := o.SACK[i/8]
				edge := [2]uint32{uint32(b.Start), uint32(b.End)}[i/4%2]
				ok = edge == binary.BigEndian.Uint32(d[i:])
			}
		case kindUserTimeout:
			seen |= HasUserTimeout
			ok = o.UserTimeout == binary.BigEndian.Uint16(d)
		case kindFastOpen:
			seen |= HasFastOpen
			ok = bytes.Equal(o.Cookie[:o.CookieLen], d)
		case kindAccECN0, kindAccECN1:
			seen |= HasAccECN
			ok = int(o.AccECNCount) == len(d)/3
		}
		if !ok {
			t.Fatalf("option %v: %+v", l, *o)
		}
	}
	if seen != o.Present {
		t.Fatalf("options %b, gopacket finds %b", o.Present, seen)
	}
}

func TestCapturedPacketsReadLikeGopacket(t *testing.T) {
	for _, name := range append(tcpPackets, icmpPackets...) {
		ip, _ := mustParseIP(t, packets[name])
		wantIP(t, &ip, decode(t, packets[name]))
	}
	for _, name := range tcpPackets {
		_, rest := mustParseIP(t, packets[name])
		h, _ := mustParseTCP(t, rest)
		wantTCP(t, &h, decode(t, packets[name]))
	}
}

// Whatever we send, gopacket reads the same in it and finds our checksums right.
func TestEmittedPacketsReadLikeGopacket(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ip, h := drawIP(r), drawTCP(r)
		ip.Proto, ip.FragOffset, ip.MoreFragments = ProtoTCP, 0, false
		payload := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(r, "payload")
		b := make([]byte, IPv6Len+MaxTCPLen+len(payload))
		n := ip.Emit(b, h.Len()+len(payload))
		at := n
		n += h.Emit(b[n:])
		h.Checksum = TCPChecksum(&ip.Src, &ip.Dst, b[at:n], [][]byte{payload})
		h.Emit(b[at:])
		b = b[:n+copy(b[n:], payload)]

		p := decode(t, b)
		ip.HeaderLen, ip.TotalLen = at, len(b)
		wantIP(r, &ip, p)
		h.Flags &= 1<<9 - 1 // gopacket does not know the reserved bits
		wantTCP(r, &h, p)
		wantChecksums(r, p)
	})
}

// wantChecksums lets gopacket verify the packet's checksums.
func wantChecksums(t fataler, p gopacket.Packet) {
	t.Helper()
	if l, ok := p.TransportLayer().(*layers.TCP); ok {
		if err := l.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
			t.Fatalf("gopacket: %v", err)
		}
	}
	err, wrong := p.VerifyChecksums()
	if err != nil || len(wrong) > 0 {
		t.Fatalf("gopacket on checksums: %v %+v", err, wrong)
	}
}
