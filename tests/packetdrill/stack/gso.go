package stack

import (
	"encoding/binary"

	"usertcp/internal/wire"
)

// Offsets in a TCP header.
const (
	offSeq   = 4
	offFlags = 13
	offSum   = 16
)

// cut makes of a train, an IP packet with so many octets of headers, the packets
// of size octets of payload that a kernel makes of it for a device which can't:
// FIN and PSH are the last one's, CWR is the first one's.
func cut(b []byte, header, size int) [][]byte {
	payload := b[header:]
	if size == 0 || len(payload) <= size {
		checksum(b, header)
		return [][]byte{b}
	}
	var ip wire.IP
	if wire.ParseIP(b, &ip) != nil {
		panic("BUG: packet of our own is damaged")
	}
	first := binary.BigEndian.Uint32(b[ip.HeaderLen+offSeq:])
	var out [][]byte
	for at := 0; at < len(payload); at += size {
		n := min(size, len(payload)-at)
		p := append(append(make([]byte, 0, header+n), b[:header]...), payload[at:at+n]...)
		ip.Emit(p, header-ip.HeaderLen+n)
		t := p[ip.HeaderLen:]
		binary.BigEndian.PutUint32(t[offSeq:], first+uint32(at))
		if at+n < len(payload) {
			t[offFlags] &^= byte(wire.FIN | wire.PSH)
		}
		if at > 0 {
			t[offFlags] &^= byte(wire.CWR)
		}
		checksum(p, header)
		out = append(out, p)
	}
	return out
}

// checksum fills in the TCP checksum of a packet of our own with so many octets
// of headers.
func checksum(b []byte, header int) {
	var ip wire.IP
	if wire.ParseIP(b, &ip) != nil {
		panic("BUG: packet of our own is damaged")
	}
	seg := b[ip.HeaderLen:]
	n := header - ip.HeaderLen
	seg[offSum], seg[offSum+1] = 0, 0
	sum := wire.TCPChecksum(&ip.Src, &ip.Dst, seg[:n], [][]byte{seg[n:]})
	binary.BigEndian.PutUint16(seg[offSum:], sum)
}
