package wire

import "testing"

// Parsing and emitting happen for each segment: they must not allocate, nor may
// a flood of bad packets.
func TestNothingAllocates(t *testing.T) {
	var ip IP
	var h TCP
	var m ICMP
	var a AAL5
	var out [IPv6Len + MaxTCPLen]byte
	_, hello := mustParseIP(t, packets["hello4"])
	_, toobig := mustParseIP(t, packets["toobig6"])
	mustParse := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]func(){
		"ParseIP":      func() { mustParse(ParseIP(packets["hello4"], &ip)) },
		"ParseIP v6":   func() { mustParse(ParseIP(packets["hello6"], &ip)) },
		"ParseIP bad":  func() { _ = ParseIP(packets["hello4"][:19], &ip) },
		"ParseTCP":     func() { _, err := ParseTCP(hello, &h); mustParse(err) },
		"ParseTCP bad": func() { _, _ = ParseTCP(hello[:19], &h) },
		"ParseICMP":    func() { mustParse(ParseICMP(toobig, &m)) },
		"ParseAAL5":    func() { _ = ParseAAL5(hello, &a) },
		"Emit":         func() { n := ip.Emit(out[:], h.Len()); h.Emit(out[n:]) },
		"Emit ICMP":    func() { m.Emit(out[:], &m.Quoted.Dst, &m.Quoted.Src) },
		"Emit AAL5":    func() { a.Emit(out[:]) },
		"CRCOver":      func() { a.CRC = a.CRCOver(CRC(0, hello)) },
		"checksum": func() {
			payload := [2][]byte{hello[32:34], hello[34:]}
			if !TCPChecksumOK(&ip.Src, &ip.Dst, hello[:32], payload[:]) {
				h.Checksum = TCPChecksum(&ip.Src, &ip.Dst, hello[:32], payload[:])
			}
		},
	}
	for name, f := range tests {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"ack4", "ack6", "syn4"} {
		p := packets[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var ip IP
			var h TCP
			for b.Loop() {
				if err := ParseIP(p, &ip); err != nil {
					b.Fatal(err)
				}
				if _, err := ParseTCP(p[ip.HeaderLen:], &h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEmit(b *testing.B) {
	for _, name := range []string{"ack4", "ack6", "syn4"} {
		ip, rest := mustParseIP(b, packets[name])
		h, _ := mustParseTCP(b, rest)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var out [IPv6Len + MaxTCPLen]byte
			for b.Loop() {
				n := ip.Emit(out[:], h.Len()+1460)
				h.Emit(out[n:])
			}
		})
	}
}

func BenchmarkTCPChecksum(b *testing.B) {
	ip, rest := mustParseIP(b, packets["full4"])
	payload := [][]byte{rest[32:]}
	b.SetBytes(int64(len(rest)))
	for b.Loop() {
		if !TCPChecksumOK(&ip.Src, &ip.Dst, rest[:32], payload) {
			b.Fatal("wrong checksum")
		}
	}
}

func BenchmarkAppendSegment(b *testing.B) {
	ip, rest := mustParseIP(b, packets["syn4"])
	h, _ := mustParseTCP(b, rest)
	b.ReportAllocs()
	line := make([]byte, 0, 256)
	for b.Loop() {
		line = AppendSegment(line[:0], &ip, &h, 0)
	}
}
