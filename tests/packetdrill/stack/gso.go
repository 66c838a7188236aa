package stack

import (
	"bytes"
	"encoding/binary"

	"usertcp/internal/wire"
)

// train is what a device with segmentation offload is given: segments of one
// connection that follow each other, in one packet. Scripts for Linux expect it.
type train struct {
	ip   []byte // the packet so far; empty if there is none
	head int    // octets of headers
	size int    // octets of payload in each segment but the last
	n    int    // segments
}

// Offsets in a TCP header.
const (
	offSeq   = 4
	offFlags = 13
	offSum   = 16
)

// add puts a packet behind the others, and reports whether it could.
func (t *train) add(b []byte, ipLen, head int) bool {
	payload := len(b) - head
	if t.n == 0 {
		*t = train{ip: b, head: head, size: payload, n: 1}
		return true
	}
	last := (len(t.ip)-t.head)%t.size != 0 || t.size == 0
	if last || payload == 0 || payload > t.size || len(t.ip)+payload > 65535 || head != t.head || !t.follows(b, ipLen) {
		return false
	}
	t.ip[ipLen+offFlags] |= b[ipLen+offFlags] // FIN and PSH are the last one's
	t.ip = append(t.ip, b[head:]...)
	t.n++
	return true
}

// follows reports whether the headers of b are those of the train but for what
// differs from segment to segment.
func (t *train) follows(b []byte, ipLen int) bool {
	x, y := t.ip[ipLen:t.head], b[ipLen:t.head]
	next := binary.BigEndian.Uint32(x[offSeq:]) + uint32(len(t.ip)-t.head)
	const fin, psh = 0x01, 0x08
	return binary.BigEndian.Uint32(y[offSeq:]) == next && x[offFlags]&fin == 0 &&
		x[offFlags]|psh|fin == y[offFlags]|psh|fin &&
		bytes.Equal(x[:offSeq], y[:offSeq]) && bytes.Equal(x[offSeq+4:offFlags], y[offSeq+4:offFlags]) &&
		bytes.Equal(x[offFlags+1:offSum], y[offFlags+1:offSum]) && bytes.Equal(x[offSum+2:], y[offSum+2:]) &&
		bytes.Equal(t.ip[ipLen-8:ipLen], b[ipLen-8:ipLen])
}

// take returns the packet, with its length and checksums, and empties the train.
// Linux sets PSH on each packet that will be segmented.
func (t *train) take() []byte {
	b := t.ip
	var ip wire.IP
	if wire.ParseIP(b, &ip) != nil {
		panic("BUG: packet of our own is damaged")
	}
	seg := b[ip.HeaderLen:]
	if t.n > 1 {
		seg[offFlags] |= byte(wire.PSH)
		ip.Emit(b, len(seg))
	}
	n := t.head - ip.HeaderLen
	seg[offSum], seg[offSum+1] = 0, 0
	sum := wire.TCPChecksum(&ip.Src, &ip.Dst, seg[:n], [][]byte{seg[n:]})
	binary.BigEndian.PutUint16(seg[offSum:], sum)
	*t = train{}
	return b
}
