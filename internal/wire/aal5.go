package wire

import (
	"encoding/binary"
	"strconv"
)

// VCI is a virtual circuit identifier as on Jetstream (paper section 2), 15
// bits: it names a stream of a host on the ring.
//
//	 15   14   13        10 9                   0
//	+---+----+------------+----------------------+
//	| 0 | mc |   ring id  |        stream        |
//	+---+----+------------+----------------------+
type VCI uint16

// Limits of a VCI's parts.
const (
	MaxRing   = 15
	MaxStream = 1023
)

// WellKnownStream is the stream of each host's connection server: there go
// segments that ask for a connection (paper section 4.4.7).
const WellKnownStream = 0

const (
	vciMulticast = 1 << 14
	vciRingShift = 10
)

// NewVCI returns the VCI of a stream (0 to MaxStream) of the host with a ring
// id (0 to MaxRing).
func NewVCI(ring, stream int) VCI {
	if ring < 0 || ring > MaxRing || stream < 0 || stream > MaxStream {
		panic("BUG: part of a VCI out of range")
	}
	return VCI(ring<<vciRingShift | stream)
}

// WellKnownVCI returns the VCI of the connection server of the host with a ring
// id.
func WellKnownVCI(ring int) VCI { return NewVCI(ring, WellKnownStream) }

// MulticastVCI returns the VCI of a multicast stream.
func MulticastVCI(ring, stream int) VCI { return NewVCI(ring, stream) | vciMulticast }

// Ring returns the ring id of the host, 0 to MaxRing.
func (v VCI) Ring() int { return int(v>>vciRingShift) & MaxRing }

// Stream returns the stream on that host, 0 to MaxStream.
func (v VCI) Stream() int { return int(v) & MaxStream }

// IsMulticast reports whether the multicast bit is set.
func (v VCI) IsMulticast() bool { return v&vciMulticast != 0 }

// IsWellKnown reports whether v is a connection server's.
func (v VCI) IsWellKnown() bool { return v.Stream() == WellKnownStream && !v.IsMulticast() }

// Valid reports whether v has no bit beyond the 15.
func (v VCI) Valid() bool { return v>>15 == 0 }

// String returns v as ring id and stream: "3/17", "3/well-known", "multicast 3/17".
func (v VCI) String() string {
	switch {
	case !v.Valid():
		return "invalid VCI 0x" + strconv.FormatUint(uint64(v), 16)
	case v.IsWellKnown():
		return strconv.Itoa(v.Ring()) + "/well-known"
	case v.IsMulticast():
		return "multicast " + strconv.Itoa(v.Ring()) + "/" + strconv.Itoa(v.Stream())
	}
	return strconv.Itoa(v.Ring()) + "/" + strconv.Itoa(v.Stream())
}

// AAL5Len is the length of an AAL-5 trailer in octets.
const AAL5Len = 8

// AAL5 is the trailer of a PDU on the ring (ITU-T I.363.5, paper section 2).
// There are no cells here and so no padding: the trailer follows the payload at
// once.
//
//	+---------+---------+-------------------+---------------------------------------+
//	|   UU    |   CPI   |      Length       |                CRC-32                 |
//	+---------+---------+-------------------+---------------------------------------+
//	|      RxVCI        |
type AAL5 struct {
	// RxVCI is where the sender wants to be sent to. It takes the place of the
	// user-to-user and common-part-indicator octets, "an unused AAL-5 trailer
	// field" (paper section 4.4.7).
	RxVCI  VCI
	Length uint16 // payload octets, at least 1
	CRC    uint32 // CRC over payload and the trailer's first four octets; 0 if the ring does without
}

// ParseAAL5 reads the trailer at the start of b into t. The CRC is not checked:
// CRCOver says what it should be.
func ParseAAL5(b []byte, t *AAL5) error {
	if len(b) < AAL5Len {
		return ErrShort
	}
	h := (*[AAL5Len]byte)(b)
	*t = AAL5{
		RxVCI:  VCI(binary.BigEndian.Uint16(h[0:])),
		Length: binary.BigEndian.Uint16(h[2:]),
		CRC:    binary.BigEndian.Uint32(h[4:]),
	}
	if !t.RxVCI.Valid() {
		return ErrVCI
	}
	// Length zero is how AAL-5 aborts a PDU; nobody on the ring does.
	if t.Length == 0 {
		return ErrPDULen
	}
	return nil
}

// Emit writes the trailer and returns its length. b must have the room.
func (t *AAL5) Emit(b []byte) int {
	h := (*[AAL5Len]byte)(b)
	binary.BigEndian.PutUint16(h[0:], uint16(t.RxVCI))
	binary.BigEndian.PutUint16(h[2:], t.Length)
	binary.BigEndian.PutUint32(h[4:], t.CRC)
	return AAL5Len
}

// CRCOver returns what belongs in the CRC field, given the CRC of the payload.
func (t *AAL5) CRCOver(payload uint32) uint32 {
	var h [AAL5Len]byte
	t.Emit(h[:])
	return CRC(payload, h[:4])
}

func (t *AAL5) String() string {
	return "aal5 rx " + t.RxVCI.String() + " length " + strconv.Itoa(int(t.Length)) +
		" crc 0x" + strconv.FormatUint(uint64(t.CRC), 16)
}
