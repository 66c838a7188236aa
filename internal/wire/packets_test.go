package wire

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

//go:embed testdata/packets.txt
var packetsFile string

// packets holds the captured packets by name.
var packets = loadPackets(packetsFile)

func loadPackets(text string) map[string][]byte {
	all := make(map[string][]byte)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var name, digits string
		var n int
		if _, err := fmt.Sscan(line, &name, &n, &digits); err != nil {
			panic(fmt.Sprintf("BUG: line %q of the captured packets: %v", line, err))
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			panic("BUG: captured packet " + name + ": " + err.Error())
		}
		all[name] = append(b, bytes.Repeat([]byte{'z'}, n-len(b))...)
	}
	return all
}

// tcpPackets are the names of the captured TCP packets.
var tcpPackets = []string{
	"syn4", "synack4", "ack4", "hello4", "full4", "fin4", "rst4",
	"syn6", "synack6", "ack6", "hello6", "full6", "fin6", "rst6",
}

// icmpPackets are the names of the captured ICMP packets.
var icmpPackets = []string{"toobig4", "noroute4", "exceeded4", "toobig6", "noroute6", "exceeded6"}

// mustParseIP parses the packet's IP header and returns what follows it.
func mustParseIP(t testing.TB, b []byte) (IP, []byte) {
	t.Helper()
	var ip IP
	if err := ParseIP(b, &ip); err != nil {
		t.Fatalf("ParseIP(%x): %v", b, err)
	}
	return ip, b[ip.HeaderLen:]
}

// mustParseTCP parses the segment's header and returns what follows it.
func mustParseTCP(t testing.TB, b []byte) (TCP, []byte) {
	t.Helper()
	var h TCP
	n, err := ParseTCP(b, &h)
	if err != nil {
		t.Fatalf("ParseTCP(%x): %v", b, err)
	}
	return h, b[n:]
}

// What a Linux kernel has sent comes out of Emit as it was, octet for octet:
// our headers and options are laid out like its.
func TestCapturedSegmentsComeOutAsTheyWere(t *testing.T) {
	for _, name := range tcpPackets {
		b := packets[name]
		ip, rest := mustParseIP(t, b)
		h, payload := mustParseTCP(t, rest)
		if ip.TotalLen != len(b) {
			t.Errorf("%s: total length %d, want %d", name, ip.TotalLen, len(b))
		}
		if !TCPChecksumOK(&ip.Src, &ip.Dst, rest[:len(rest)-len(payload)], [][]byte{payload}) {
			t.Errorf("%s: checksum is said to be wrong", name)
		}
		if got := len(rest) - len(payload); h.Len() != got {
			t.Errorf("%s: Len is %d, header has %d octets", name, h.Len(), got)
		}
		out := make([]byte, IPv6Len+MaxTCPLen)
		n := ip.Emit(out, ip.PayloadLen())
		n += h.Emit(out[n:])
		if got := append(out[:n], payload...); !bytes.Equal(got, b) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, b)
		}
	}
}

func TestChecksumsOfCapturedSegments(t *testing.T) {
	for _, name := range tcpPackets {
		ip, rest := mustParseIP(t, packets[name])
		h, payload := mustParseTCP(t, rest)
		header := bytes.Clone(rest[:len(rest)-len(payload)])
		header[16], header[17] = 0xde, 0xad // must not count
		if got := TCPChecksum(&ip.Src, &ip.Dst, header, [][]byte{payload}); got != h.Checksum {
			t.Errorf("%s: checksum %04x, the kernel says %04x", name, got, h.Checksum)
		}
		if TCPChecksumOK(&ip.Src, &ip.Dst, header, [][]byte{payload}) {
			t.Errorf("%s: a wrong checksum is said to be right", name)
		}
	}
}

// decode decodes b with gopacket, which shares no code with this package.
func decode(t testing.TB, b []byte) gopacket.Packet {
	t.Helper()
	first := gopacket.Decoder(layers.LayerTypeIPv4)
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.Default)
	if p.ErrorLayer() != nil {
		t.Fatalf("gopacket cannot decode %x: %v", b, p.ErrorLayer().Error())
	}
	return p
}
