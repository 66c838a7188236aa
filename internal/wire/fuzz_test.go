package wire

import (
	"bytes"
	"testing"
)

// Every fuzz target asks the same: nothing panics, and what was parsed, emitted
// and parsed again is what it was. Seeds are the captured packets and what the
// other tests build.

func FuzzParseIP(f *testing.F) {
	for _, name := range append(tcpPackets, icmpPackets...) {
		f.Add(packets[name])
	}
	f.Add(extended(extHopByHop, padding(extRouting), routing(extFragment, 0), fragment(ProtoTCP, 9)))
	f.Add(edited("ack4", true, 0, 0x46))
	f.Fuzz(func(t *testing.T, b []byte) {
		var ip IP
		if ParseIP(b, &ip) != nil {
			return
		}
		if ip.HeaderLen > len(b) || ip.HeaderLen > ip.TotalLen || ip.Src.Is4() != ip.Dst.Is4() {
			t.Fatalf("%+v from %d octets", ip, len(b))
		}
		out := make([]byte, IPv6Len)
		out = out[:ip.Emit(out, ip.PayloadLen())]
		var again IP
		err := ParseIP(out, &again)
		if !ip.Is4() && isExtension(ip.Proto) {
			// So it is in a later fragment, whose fragment header is not
			// emitted: now the protocol promises an extension header.
			if ip.FragOffset == 0 || err == nil {
				t.Fatalf("%v, %+v from %+v", err, again, ip)
			}
			return
		}
		if err != nil {
			t.Fatalf("%v from our own %x", err, out)
		}
		if ip.Is4() {
			ip.TotalLen -= ip.HeaderLen - IPv4Len
			ip.HeaderLen = IPv4Len
		} else {
			ip.TotalLen -= ip.HeaderLen - IPv6Len
			ip.HeaderLen, ip.FragOffset, ip.MoreFragments = IPv6Len, 0, false
		}
		if again != ip {
			t.Fatalf("\n got %+v\nwant %+v", again, ip)
		}
	})
}

func isExtension(proto uint8) bool {
	return proto == extHopByHop || proto == extRouting || proto == extFragment || proto == extDestination
}

func FuzzParseTCP(f *testing.F) {
	for _, name := range tcpPackets {
		b := packets[name]
		f.Add(b[len(b)-len(payloadOf(b)):])
	}
	for _, set := range []OptionSet{allSYN | HasFastOpen, HasTimestamps | HasAccECN, HasUserTimeout} {
		h := TCP{Flags: SYN, Options: options(set, 3)}
		b := make([]byte, MaxTCPLen)
		f.Add(b[:h.Emit(b)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h TCP
		n, err := ParseTCP(b, &h)
		if err != nil && err != ErrOptionLen {
			return
		}
		if n < TCPLen || n > len(b) || n > MaxTCPLen {
			t.Fatalf("header of %d octets in %d", n, len(b))
		}
		_ = h.String()
		h.Options = fitting(h.Options)
		out := bytes.Repeat([]byte{0xee}, MaxTCPLen+1)
		m := h.Emit(out)
		if m != h.Len() || out[m] != 0xee {
			t.Fatalf("Len is %d, %d octets written, octet behind is %02x", h.Len(), m, out[m])
		}
		var again TCP
		if k, err := ParseTCP(out[:m], &again); err != nil || k != m || again != h {
			t.Fatalf("%d octets of %d, %v\n got %+v\nwant %+v", k, m, err, again, h)
		}
	})
}

// payloadOf returns what follows the packet's IP header.
func payloadOf(b []byte) []byte {
	if b[0]>>4 == 4 {
		return b[IPv4Len:]
	}
	return b[IPv6Len:]
}

func FuzzParseICMP(f *testing.F) {
	for _, name := range icmpPackets {
		f.Add(payloadOf(packets[name]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again ICMP
		if ParseICMP(b, &m) != nil {
			return
		}
		_ = m.String()
		out := make([]byte, MaxICMPLen)
		n := m.Emit(out, &m.Quoted.Dst, &m.Quoted.Src)
		if err := ParseICMP(out[:n], &again); err != nil {
			t.Fatalf("%v from our own %x", err, out[:n])
		}
		// Options and extension headers of the quoted packet are not emitted.
		header := again.Quoted.HeaderLen
		m.Quoted.TotalLen -= m.Quoted.HeaderLen - header
		m.Quoted.HeaderLen = header
		if m.V6 {
			m.Quoted.MoreFragments = false
		}
		if again != m {
			t.Fatalf("\n got %+v\nwant %+v", again, m)
		}
	})
}

func FuzzParseAAL5(f *testing.F) {
	f.Add([]byte{0x0c, 0x11, 0, 40, 1, 2, 3, 4})
	f.Add([]byte{0x80, 0, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var a AAL5
		if ParseAAL5(b, &a) != nil {
			return
		}
		_ = a.String()
		out := make([]byte, AAL5Len)
		if n := a.Emit(out); !bytes.Equal(out[:n], b[:AAL5Len]) {
			t.Fatalf("%x became %x", b[:AAL5Len], out[:n])
		}
	})
}
