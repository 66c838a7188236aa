package message

import (
	"encoding/binary"
	"errors"
	"fmt"

	"usertcp/internal/wire"
)

// A message on the wire, little-endian. The first 16 octets stay as they are in
// every version, so that processes of different versions can tell each other so.
//
//	 0  magic "utcm"          20  Socket
//	 4  version               24  N
//	 5  Type                  28  length of the PDU, octets
//	 6  Op                    32  Local: 16 octets of address, 2 of port
//	 7  number of descriptors 50  Remote: the same
//	 8  ID                    68  Ports
//	12  VCI                   76  PDU
//	14  0, reserved
//	16  Errno
const (
	magic     = "utcm"
	headerLen = 76
)

// MaxLen is the length of the longest message, in octets.
const MaxLen = headerLen + MaxPDU

// What is wrong with a message; all but a VersionError mean that the peer is
// broken or hostile, and that its channel is best closed.
var (
	ErrShort     = errors.New("message: too short")
	ErrMagic     = errors.New("message: not a message of usertcp")
	ErrType      = errors.New("message: unknown type")
	ErrDirection = errors.New("message: not for this party")
	ErrOp        = errors.New("message: operation does not fit the type")
	ErrVCI       = errors.New("message: VCI of more than 15 bits")
	ErrReserved  = errors.New("message: reserved octets are not zero")
	ErrPDU       = errors.New("message: PDU length does not fit")
	ErrFiles     = errors.New("message: number of descriptors does not fit")
	ErrPorts     = errors.New("message: ports of a block where there is none")
)

// VersionError says that the peer speaks another version. Decode has then set
// the Type and ID of the message, and nothing else, so that it can be answered.
type VersionError struct {
	Theirs uint8
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("message: the peer speaks version %d, this program version %d", e.Theirs, Version)
}

// ops says which operations go with a type; a type without a row takes OpNone only.
var ops = [numTypes + 1]uint8{
	Listen:    1<<OpBind | 1<<OpListen | 1<<OpClose | 1<<OpLease | 1<<OpUnlease,
	Forward:   1<<OpOpen | 1<<OpClose,
	NewSocket: 1<<OpNone | 1<<OpLink,
	Keep:      1<<OpNone | 1<<OpListen,
	Move:      1<<OpNone | 1<<OpListen | 1<<OpOpen,
}

func (t Type) takes(op Op) bool {
	if op > OpUnlease {
		return false
	}
	if ops[t] == 0 {
		return op == OpNone
	}
	return ops[t]&(1<<op) != 0
}

// Goes reports whether messages of this type go from one party to the other.
func (t Type) Goes(from, to Party) bool {
	if t == 0 || int(t) >= len(table) {
		return false
	}
	return table[t].from&from != 0 && table[t].to&to != 0
}

// Append appends the message's octets to b. The descriptors travel beside them.
func (m *Message) Append(b []byte) []byte {
	if len(m.PDU) > MaxPDU || len(m.Files) > MaxFiles {
		panic("BUG: message with a PDU or a number of descriptors beyond the limits")
	}
	le := binary.LittleEndian
	b = append(b, magic...)
	b = append(b, Version, byte(m.Type), byte(m.Op), byte(len(m.Files)))
	b = le.AppendUint32(b, m.ID)
	b = le.AppendUint16(b, uint16(m.VCI))
	b = append(b, 0, 0)
	b = le.AppendUint32(b, m.Errno)
	b = le.AppendUint32(b, m.Socket)
	b = le.AppendUint32(b, m.N)
	b = le.AppendUint32(b, uint32(len(m.PDU)))
	b = appendEndpoint(b, &m.Local)
	b = appendEndpoint(b, &m.Remote)
	b = le.AppendUint64(b, m.Ports)
	return append(b, m.PDU...)
}

func appendEndpoint(b []byte, e *wire.Endpoint) []byte {
	b = append(b, e.Addr[:]...)
	return binary.LittleEndian.AppendUint16(b, e.Port)
}

func endpoint(b []byte) (e wire.Endpoint) {
	copy(e.Addr[:], b)
	e.Port = binary.LittleEndian.Uint16(b[16:])
	return e
}

// Decode reads the message in b that came with files, and checks all that can
// be checked without knowing what goes on: that it is whole, that its type is
// one that goes from one party to the other, and that it carries what its row
// of the table allows. m.PDU aliases b, and m.Files is files. After an error
// the files are still the caller's to close.
func Decode(b []byte, files []int, from, to Party, m *Message) error {
	*m = Message{}
	if err := decodePrefix(b, m); err != nil {
		return err
	}
	if len(b) < headerLen {
		return ErrShort
	}
	le := binary.LittleEndian
	m.Op = Op(b[6])
	m.VCI = wire.VCI(le.Uint16(b[12:]))
	m.Errno = le.Uint32(b[16:])
	m.Socket = le.Uint32(b[20:])
	m.N = le.Uint32(b[24:])
	m.Local = endpoint(b[32:])
	m.Remote = endpoint(b[50:])
	m.Ports = le.Uint64(b[68:])
	if err := check(b, len(files), m, from, to); err != nil {
		return err
	}
	if len(b) > headerLen {
		m.PDU = b[headerLen:]
	}
	m.Files = files
	return nil
}

// decodePrefix reads what is the same in all versions.
func decodePrefix(b []byte, m *Message) error {
	if len(b) < 16 {
		return ErrShort
	}
	if string(b[:4]) != magic {
		return ErrMagic
	}
	m.Type = Type(b[5])
	m.ID = binary.LittleEndian.Uint32(b[8:])
	if b[4] != Version {
		return &VersionError{Theirs: b[4]}
	}
	return nil
}

func check(b []byte, files int, m *Message, from, to Party) error {
	if m.Type == 0 || int(m.Type) >= len(table) {
		return ErrType
	}
	f := &table[m.Type]
	pdu := binary.LittleEndian.Uint32(b[28:])
	switch {
	case !m.Type.Goes(from, to):
		return ErrDirection
	case !m.Type.takes(m.Op):
		return ErrOp
	case m.VCI >= 1<<15:
		return ErrVCI
	case b[14] != 0 || b[15] != 0:
		return ErrReserved
	case pdu > MaxPDU || int(pdu) != len(b)-headerLen || f.pdu != (pdu > 0):
		return ErrPDU
	case files > f.files || int(b[7]) != files:
		return ErrFiles
	case m.Ports != 0 && m.Type != GeneralReply && m.Type != Keep:
		return ErrPorts
	}
	return nil
}

// String returns the party's name, as error messages use it.
func (p Party) String() string {
	switch p {
	case User:
		return "application"
	case Child:
		return "child"
	case Server:
		return "connection server"
	}
	return "unknown party"
}
