package wire

import (
	"encoding/binary"

	"usertcp/internal/seq"
)

// Kinds of TCP options.
const (
	kindEnd           = 0
	kindNop           = 1
	kindMSS           = 2
	kindWindowScale   = 3
	kindSACKPermitted = 4
	kindSACK          = 5
	kindTimestamps    = 8
	kindUserTimeout   = 28
	kindFastOpen      = 34
	kindAccECN0       = 172
	kindAccECN1       = 174
)

// Lengths of TCP options, kind and length octets included.
const (
	lenMSS           = 4
	lenWindowScale   = 3
	lenSACKPermitted = 2
	lenSACKBlock     = 8
	lenTimestamps    = 10
	lenUserTimeout   = 4
	lenAccECNCounter = 3

	minCookie = 4 // octets, RFC 7413 section 4.1.1
	maxCookie = 16
)

// nopNopTS is how nearly every segment's options begin, and mostly all that
// they are (RFC 7323 appendix A).
const nopNopTS = kindNop<<24 | kindNop<<16 | kindTimestamps<<8 | lenTimestamps

// parse fills o, which is empty, with the options in b.
func (o *Options) parse(b []byte) error {
	if len(b) == 12 && binary.BigEndian.Uint32(b) == nopNopTS {
		o.Present = HasTimestamps
		o.TSVal = binary.BigEndian.Uint32(b[4:])
		o.TSEcr = binary.BigEndian.Uint32(b[8:])
		return nil
	}
	for len(b) > 0 {
		switch b[0] {
		case kindEnd:
			return nil
		case kindNop:
			b = b[1:]
			continue
		}
		// "TCP implementations MUST be prepared to handle an illegal option
		// length (e.g., zero)" (RFC 9293 MUST-7).
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return ErrOptionLen
		}
		n := int(b[1])
		o.parseOne(b[0], b[2:n])
		b = b[n:]
	}
	return nil
}

// parseOne takes in one option. One of a known kind but with another length
// than that kind has is passed over like an unknown one, as in Linux; of two of
// one kind the last counts.
func (o *Options) parseOne(kind uint8, v []byte) {
	switch kind {
	case kindMSS:
		if len(v) == lenMSS-2 {
			o.Present |= HasMSS
			o.MSS = binary.BigEndian.Uint16(v)
		}
	case kindWindowScale:
		if len(v) == lenWindowScale-2 {
			o.Present |= HasWindowScale
			o.WindowScale = v[0]
		}
	case kindSACKPermitted:
		if len(v) == lenSACKPermitted-2 {
			o.Present |= HasSACKPermitted
		}
	case kindSACK:
		o.parseSACK(v)
	case kindTimestamps:
		if len(v) == lenTimestamps-2 {
			o.Present |= HasTimestamps
			o.TSVal = binary.BigEndian.Uint32(v)
			o.TSEcr = binary.BigEndian.Uint32(v[4:])
		}
	case kindUserTimeout:
		if len(v) == lenUserTimeout-2 {
			o.Present |= HasUserTimeout
			o.UserTimeout = binary.BigEndian.Uint16(v)
		}
	case kindFastOpen:
		o.parseFastOpen(v)
	case kindAccECN0, kindAccECN1:
		o.parseAccECN(kind, v)
	}
}

// parseSACK reads 1 to 4 blocks; more than 4 do not fit in a header.
func (o *Options) parseSACK(v []byte) {
	if len(v) == 0 || len(v)%lenSACKBlock != 0 {
		return
	}
	o.SACK = [4]Block{}
	o.SACKBlocks = uint8(len(v) / lenSACKBlock)
	for i := range o.SACK[:o.SACKBlocks] {
		at := v[i*lenSACKBlock:]
		o.SACK[i].Start = seq.Number(binary.BigEndian.Uint32(at))
		o.SACK[i].End = seq.Number(binary.BigEndian.Uint32(at[4:]))
	}
}

// parseFastOpen reads a cookie, or the request for one if there is none.
//
// "The number MUST be even" (RFC 7413 section 4.1.1).
func (o *Options) parseFastOpen(v []byte) {
	if len(v) != 0 && (len(v) < minCookie || len(v) > maxCookie || len(v)%2 != 0) {
		return
	}
	o.Present |= HasFastOpen
	o.CookieLen = uint8(len(v))
	o.Cookie = [16]byte{}
	copy(o.Cookie[:], v)
}

// parseAccECN reads up to three counters of 24 bits; octets that make up no
// whole counter are padding (RFC 9768 section 3.2.3).
func (o *Options) parseAccECN(kind uint8, v []byte) {
	o.Present |= HasAccECN
	o.AccECNOrder = 0
	if kind == kindAccECN1 {
		o.AccECNOrder = 1
	}
	o.AccECN = [3]uint32{}
	o.AccECNCount = uint8(min(len(v)/lenAccECNCounter, len(o.AccECN)))
	for i := range o.AccECN[:o.AccECNCount] {
		at := v[i*lenAccECNCounter:]
		o.AccECN[i] = uint32(at[0])<<16 | uint32(at[1])<<8 | uint32(at[2])
	}
}
