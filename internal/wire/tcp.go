package wire

import (
	"encoding/binary"

	"usertcp/internal/seq"
)

// Lengths of TCP headers, in octets.
const (
	TCPLen        = 20 // without options
	MaxOptionsLen = 40
	MaxTCPLen     = TCPLen + MaxOptionsLen
)

// flagsMask is all bits between the data offset and the window: the nine flags
// and three that are reserved. The reserved ones are kept so that a trace shows
// them; who makes a segment leaves them zero.
const flagsMask = 0x0fff

// ParseTCP reads the TCP header at the start of b into t and returns its length
// with options. b holds at least the whole header. The checksum is not checked:
// TCPChecksumOK does that, since it needs addresses and payload.
//
// After ErrOptionLen headerLen, the fields, and the options before the bad one
// are good all the same, so that a receiver may go on with them as Linux does.
// After other errors t's content is undefined.
func ParseTCP(b []byte, t *TCP) (headerLen int, err error) {
	if len(b) < TCPLen {
		return 0, ErrShort
	}
	h := (*[TCPLen]byte)(b)
	n := int(h[12]>>4) * 4
	if n < TCPLen {
		return 0, ErrHeaderLen
	}
	if n > len(b) {
		return 0, ErrShort
	}
	*t = TCP{} // and field by field: a literal would be put together elsewhere and copied
	t.SrcPort = binary.BigEndian.Uint16(h[0:])
	t.DstPort = binary.BigEndian.Uint16(h[2:])
	t.Seq = seq.Number(binary.BigEndian.Uint32(h[4:]))
	t.Ack = seq.Number(binary.BigEndian.Uint32(h[8:]))
	t.Flags = Flags(binary.BigEndian.Uint16(h[12:]) & flagsMask)
	t.Window = binary.BigEndian.Uint16(h[14:])
	t.Checksum = binary.BigEndian.Uint16(h[16:])
	t.Urgent = binary.BigEndian.Uint16(h[18:])
	if n == TCPLen {
		return n, nil
	}
	return n, t.Options.parse(b[TCPLen:n])
}

// Len returns how many octets Emit will write, a multiple of 4.
func (t *TCP) Len() int { return TCPLen + t.Options.Len() }

// Emit writes the header with its options and returns its length. Checksum is
// written as it stands. b must have the room: MaxTCPLen is always enough.
func (t *TCP) Emit(b []byte) int {
	n := TCPLen + t.Options.emit(b[TCPLen:])
	h := (*[TCPLen]byte)(b)
	binary.BigEndian.PutUint16(h[0:], t.SrcPort)
	binary.BigEndian.PutUint16(h[2:], t.DstPort)
	binary.BigEndian.PutUint32(h[4:], uint32(t.Seq))
	binary.BigEndian.PutUint32(h[8:], uint32(t.Ack))
	binary.BigEndian.PutUint16(h[12:], uint16(n/4)<<12|uint16(t.Flags&flagsMask))
	binary.BigEndian.PutUint16(h[14:], t.Window)
	binary.BigEndian.PutUint16(h[16:], t.Checksum)
	binary.BigEndian.PutUint16(h[18:], t.Urgent)
	return n
}
