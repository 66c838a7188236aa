package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// FrameType says what a frame is for.
type FrameType uint8

// The types of frames.
const (
	// FramePDU carries an IP packet and its AAL-5 trailer, whose RxVCI is Src:
	// to the well-known VCI of Dst's host what has no circuit yet (paper section
	// 4.4.7), to another VCI what has.
	FramePDU FrameType = 1 + iota
	// FrameAttach offers Src's half of the circuit between Src and Dst: Files
	// are its link memory, its bell page and its eventfds, N is the layout's version.
	FrameAttach
	// FrameDetach says that Src has closed its half of the circuit to Dst: the pool has
	// ended or wants none. N=LostHalf: it goes on, and would have another one.
	FrameDetach
	// FrameUnreachable comes back to the Src of a PDU that could not be
	// delivered: Errno says why, PDU is the beginning of what was sent.
	FrameUnreachable
	// FrameHello is the first frame each way between two servers: Src is the
	// server's well-known VCI, N its version, PDU its addresses, 16 octets each.
	FrameHello
	// FrameLease says which ports Src has leased: PDU is two addresses of its host,
	// 16 octets each, zero for none, and the first ports of the blocks, 2 octets each.
	FrameLease
	// FrameLeased answers: Src knows of N blocks of Dst's.
	FrameLeased
	// FrameCensus says which streams of the host there are, after its server has
	// started: Src is the server's well-known VCI, PDU a bit for each stream. Whoever
	// has a circuit to another one may forget it. N=1 asks for the same in return.
	FrameCensus
	// FrameMoved says that the pool with VCI N, of the same host, has a connection that
	// Src has had: PDU is its local and its remote end, 18 octets each. Dst has the
	// other end.
	FrameMoved
	// FrameMovedKnown answers: Src sends nothing more to Dst for that connection. N and
	// PDU are those of the FrameMoved.
	FrameMovedKnown

	numFrameTypes = iota
)

var frameNames = [numFrameTypes + 1]string{"unknown", "PDU", "Attach", "Detach", "Unreachable", "Hello", "Lease", "Leased", "Census", "Moved", "MovedKnown"}

func (t FrameType) String() string {
	if int(t) >= len(frameNames) {
		t = 0
	}
	return frameNames[t]
}

// Limits of frames.
const (
	MaxFramePDU   = message.MaxPDU + wire.AAL5Len // octets: a whole packet and its trailer
	MaxAttach     = 5                             // descriptors
	MaxUnreach    = 128                           // octets of the PDU that come back
	MaxAddrs      = 16                            // addresses of a host
	MaxFrame      = frameHeader + MaxFramePDU     // octets of a frame as sent
	minPDU        = 20 + wire.AAL5Len             // an IPv4 header and the trailer
	helloAddr     = 16
	MaxLeases     = 64  // blocks of ports of one pool
	LeasePorts    = 256 // in a block; its first port is a multiple
	leaseAddrs    = 2
	movedLen      = 36                       // octets
	CensusLen     = (wire.MaxStream + 1) / 8 // octets
	frameMagic    = "utfr"
	frameHeader   = 24
	FrameVersion  = 1 // of frames
	frameReserved = 7
)

// LostHalf is N of a FrameDetach from a pool whose half of the circuit is lost: the child
// that made it has died before anybody else knew of it.
const LostHalf = 1

// Frame is what travels between hosts outside circuits: between servers over
// the sockets in the ring's directory, and between a child and its server.
type Frame struct {
	Type  FrameType
	Src   wire.VCI
	Dst   wire.VCI
	N     uint32 // version, of the layout or the frames
	Errno uint32 // of Linux
	PDU   []byte // aliases the receive buffer
	Files []int  // descriptors; the receiver owns them
}

// What is wrong with a frame. A frame of another version is a *VersionError.
var (
	ErrFrameShort    = errors.New("ring: frame is too short")
	ErrFrameMagic    = errors.New("ring: not a frame")
	ErrFrameType     = errors.New("ring: unknown type of frame")
	ErrFrameReserved = errors.New("ring: reserved octets of a frame are not zero")
	ErrFrameVCI      = errors.New("ring: frame with a VCI that nobody has")
	ErrFramePDU      = errors.New("ring: PDU of a frame does not fit")
	ErrFrameTrailer  = errors.New("ring: AAL-5 trailer does not fit the frame")
	ErrFrameFiles    = errors.New("ring: number of descriptors does not fit")
	ErrFrameErrno    = errors.New("ring: errno does not fit the frame")
)

// VersionError says that a host of the ring speaks another version.
type VersionError struct {
	Host   int // ring id, -1 if not known
	Theirs uint32
}

func (e *VersionError) Error() string {
	who := "a peer"
	if e.Host >= 0 {
		who = fmt.Sprintf("ring host %d", e.Host)
	}
	return fmt.Sprintf("%s speaks version %d, this server version %d", who, e.Theirs, FrameVersion)
}

// Append appends the frame's octets to b, little-endian. The descriptors travel
// beside them.
//
//	0  magic "utfr"           8  Src    12  N       20  length of PDU, octets
//	4  version, Type         10  Dst    16  Errno   24  PDU
//	6  number of descriptors, 0
func (f *Frame) Append(b []byte) []byte {
	if len(f.PDU) > MaxFramePDU || len(f.Files) > message.MaxFiles {
		panic("BUG: frame with a PDU or a number of descriptors beyond the limits")
	}
	le := binary.LittleEndian
	b = append(b, frameMagic...)
	b = append(b, FrameVersion, byte(f.Type), byte(len(f.Files)), 0)
	b = le.AppendUint16(b, uint16(f.Src))
	b = le.AppendUint16(b, uint16(f.Dst))
	b = le.AppendUint32(b, f.N)
	b = le.AppendUint32(b, f.Errno)
	b = le.AppendUint32(b, uint32(len(f.PDU)))
	return append(b, f.PDU...)
}

// DecodeFrame reads the frame in b that came with files and checks it. f.PDU
// aliases b, f.Files is files. After an error the files are still the caller's to close.
func DecodeFrame(b []byte, files []int, f *Frame) error {
	*f = Frame{}
	le := binary.LittleEndian
	switch {
	case len(b) < frameHeader:
		return ErrFrameShort
	case string(b[:4]) != frameMagic:
		return ErrFrameMagic
	case b[4] != FrameVersion:
		return &VersionError{Host: -1, Theirs: uint32(b[4])}
	case b[frameReserved] != 0:
		return ErrFrameReserved
	case int(b[6]) != len(files):
		return ErrFrameFiles
	case uint64(le.Uint32(b[20:])) != uint64(len(b)-frameHeader):
		return ErrFramePDU
	}
	*f = Frame{
		Type: FrameType(b[5]),
		Src:  wire.VCI(le.Uint16(b[8:])), Dst: wire.VCI(le.Uint16(b[10:])),
		N: le.Uint32(b[12:]), Errno: le.Uint32(b[16:]),
		Files: files,
	}
	if len(b) > frameHeader {
		f.PDU = b[frameHeader:]
	}
	return f.check()
}

// check is what must hold of every frame that comes in.
func (f *Frame) check() error {
	for _, v := range [2]wire.VCI{f.Src, f.Dst} {
		if !v.Valid() || v.IsMulticast() {
			return ErrFrameVCI
		}
	}
	if len(f.Files) > 0 && f.Type != FrameAttach {
		return ErrFrameFiles
	}
	if f.Errno != 0 && f.Type != FrameUnreachable {
		return ErrFrameErrno
	}
	switch f.Type {
	case FramePDU:
		return f.checkPDU()
	case FrameAttach:
		return f.checkAttach()
	case FrameDetach:
		return f.want(len(f.PDU) == 0 && f.N <= LostHalf, ErrFramePDU)
	case FrameUnreachable:
		if f.Errno == 0 {
			return ErrFrameErrno
		}
		return f.want(len(f.PDU) <= MaxUnreach, ErrFramePDU)
	case FrameHello:
		return f.checkHello()
	case FrameLease:
		return f.checkLease()
	case FrameCensus:
		if !f.Src.IsWellKnown() || !f.Dst.IsWellKnown() {
			return ErrFrameVCI
		}
		return f.want(len(f.PDU) == CensusLen && f.N <= 1, ErrFramePDU)
	case FrameLeased:
		return f.want(len(f.PDU) == 0 && f.N <= MaxLeases, ErrFramePDU)
	case FrameMoved:
		return f.checkMoved(f.Src)
	case FrameMovedKnown:
		return f.checkMoved(f.Dst)
	}
	return ErrFrameType
}

func (f *Frame) want(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

func (f *Frame) checkPDU() error {
	if len(f.PDU) < minPDU || len(f.PDU) > MaxFramePDU {
		return ErrFramePDU
	}
	var t wire.AAL5
	n := len(f.PDU) - wire.AAL5Len
	if err := wire.ParseAAL5(f.PDU[n:], &t); err != nil || int(t.Length) != n || t.RxVCI != f.Src {
		return ErrFrameTrailer
	}
	return nil
}

func (f *Frame) checkAttach() error {
	switch {
	case len(f.PDU) != 0:
		return ErrFramePDU
	case len(f.Files) == 0 || len(f.Files) > MaxAttach:
		return ErrFrameFiles
	case f.Src.IsWellKnown() || f.Dst.IsWellKnown():
		return ErrFrameVCI // servers have no circuits
	}
	return nil
}

func (f *Frame) checkHello() error {
	if !f.Src.IsWellKnown() {
		return ErrFrameVCI
	}
	n := len(f.PDU)
	return f.want(n%helloAddr == 0 && n <= MaxAddrs*helloAddr, ErrFramePDU)
}

func (f *Frame) checkLease() error {
	n := len(f.PDU) - leaseAddrs*helloAddr
	return f.want(n >= 0 && n%2 == 0 && n <= 2*MaxLeases && !f.Src.IsWellKnown() && !f.Dst.IsWellKnown(), ErrFramePDU)
}

// checkMoved checks what is said of a connection that the pool from had.
func (f *Frame) checkMoved(from wire.VCI) error {
	to := wire.VCI(f.N)
	if f.N >= 1<<15 || to.IsWellKnown() || to.IsMulticast() || to.Ring() != from.Ring() || to == from || f.Src.IsWellKnown() || f.Dst.IsWellKnown() {
		return ErrFrameVCI
	}
	return f.want(len(f.PDU) == movedLen, ErrFramePDU)
}

// NewMoved returns a FrameMoved.
func NewMoved(src, dst, to wire.VCI, flow wire.Flow) Frame {
	f := Frame{Type: FrameMoved, Src: src, Dst: dst, N: uint32(to)}
	for _, e := range [2]wire.Endpoint{flow.Local, flow.Remote} {
		f.PDU = append(f.PDU, e.Addr[:]...)
		f.PDU = binary.LittleEndian.AppendUint16(f.PDU, e.Port)
	}
	return f
}

// MovedKnown returns the answer to a FrameMoved that has been checked.
func (f *Frame) MovedKnown() Frame {
	return Frame{Type: FrameMovedKnown, Src: f.Dst, Dst: f.Src, N: f.N, PDU: f.PDU}
}

// Moved returns what a FrameMoved that has been checked says, as its receiver sees the
// connection. Of a FrameMovedKnown that is how its sender sees it.
func (f *Frame) Moved() (flow wire.Flow, to wire.VCI) {
	for i, e := range [2]*wire.Endpoint{&flow.Remote, &flow.Local} {
		copy(e.Addr[:], f.PDU[18*i:])
		e.Port = binary.LittleEndian.Uint16(f.PDU[18*i+16:])
	}
	return flow, wire.VCI(f.N)
}

// NewLease returns a FrameLease.
func NewLease(src, dst wire.VCI, addrs [leaseAddrs]wire.Addr, first []uint16) Frame {
	f := Frame{Type: FrameLease, Src: src, Dst: dst}
	for _, a := range addrs {
		f.PDU = append(f.PDU, a[:]...)
	}
	for _, p := range first {
		f.PDU = binary.LittleEndian.AppendUint16(f.PDU, p)
	}
	return f
}

// Lease returns what a FrameLease that has been checked says.
func (f *Frame) Lease() (addrs [leaseAddrs]wire.Addr, first []uint16) {
	b := f.PDU
	for i := range addrs {
		copy(addrs[i][:], b)
		b = b[helloAddr:]
	}
	for ; len(b) > 0; b = b[2:] {
		first = append(first, binary.LittleEndian.Uint16(b))
	}
	return addrs, first
}

// Packet returns the IP packet of a FramePDU that has been checked.
func (f *Frame) Packet() []byte { return f.PDU[:len(f.PDU)-wire.AAL5Len] }

// NewPDU returns a frame that carries packet (1 to 65535 octets) from src to
// dst. The trailer is appended to packet, in place if there is room.
func NewPDU(src, dst wire.VCI, packet []byte) Frame {
	t := wire.AAL5{RxVCI: src, Length: uint16(len(packet))}
	var b [wire.AAL5Len]byte
	t.Emit(b[:])
	return Frame{Type: FramePDU, Src: src, Dst: dst, PDU: append(packet, b[:]...)}
}

// Unreachable returns the answer to a PDU that could not be delivered.
func (f *Frame) Unreachable(errno unix.Errno) Frame {
	return Frame{
		Type: FrameUnreachable, Src: f.Dst, Dst: f.Src, Errno: uint32(errno),
		PDU: f.PDU[:min(len(f.PDU), MaxUnreach)],
	}
}

// hello returns a server's first frame to another.
func hello(src, dst wire.VCI, addrs []netip.Addr) Frame {
	f := Frame{Type: FrameHello, Src: src, Dst: dst, N: FrameVersion}
	for _, a := range addrs {
		b := wire.AddrFrom(a)
		f.PDU = append(f.PDU, b[:]...)
	}
	return f
}

// SendFrame sends f with copies of f.Files.
func SendFrame(ch *message.Channel, f *Frame) error {
	if err := ch.Send(f.Append(nil), f.Files...); err != nil {
		return fmt.Errorf("sending a %v frame: %w", f.Type, err)
	}
	return nil
}

// RecvFrame receives a frame into buf, which should have MaxFrame octets. f.PDU
// aliases buf; f.Files are the caller's. A bad frame is one of the errors above,
// and the channel still of use; other errors mean that it is not.
func RecvFrame(ch *message.Channel, buf []byte, f *Frame) error {
	n, files, err := ch.Recv(buf)
	if err != nil {
		return err
	}
	if err := DecodeFrame(buf[:n], files, f); err != nil {
		message.CloseFiles(files)
		f.Files = nil
		return err
	}
	return nil
}

// Valid reports whether a frame is one that its receiver takes: what it is made of
// may come from a program.
func (f *Frame) Valid() bool { return f.check() == nil }
