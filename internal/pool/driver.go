package pool

import "usertcp/internal/shm"

// Regions number the memories in which octets of packets lie. Region 0 is the
// pool's own buffers. A circuit (a direct way to a peer's pool) adds two: the
// buffers that we write and the peer reads, and the ones it writes and we read.
const (
	OwnRegion  = 0
	NoCircuit  = ^uint16(0)
	MaxCircuit = 1023

	// NIC is the circuit that leads to the host's network devices, and to all
	// peers behind them.
	NIC = MaxCircuit
)

// TxRegion returns the region of our buffers on circuit c.
func TxRegion(c uint16) uint16 { return 2*c + 1 }

// RxRegion returns the region of the peer's buffers on circuit c.
func RxRegion(c uint16) uint16 { return 2*c + 2 }

// RegionCircuit returns the circuit of a region other than OwnRegion.
func RegionCircuit(r uint16) uint16 { return (r - 1) / 2 }

// IsTx reports whether r is a region that we write and a peer reads.
func IsTx(r uint16) bool { return r != OwnRegion && r%2 == 1 }

// Limits of a packet.
const (
	MaxPieces = 8   // runs of octets outside the packet itself
	MaxData   = 176 // octets of headers, inline payload and trailer
	MaxPDU    = 65535
)

// None is the buffer, hold or packet identifier that names nothing.
const None = ^uint32(0)

// Piece is a run of payload octets.
type Piece struct {
	Off, Len uint32 // octets, Off from the start of the region
}

// Packet is a packet on its way: headers and short payloads in Data, longer
// payloads as pieces of one region.
type Packet struct {
	Circuit uint16
	Region  uint16 // of Pieces
	Partial bool   // the TCP checksum is not there: the memory has no line noise
	NPieces uint8

	// SegSize of a packet that is sent is not 0 if the driver is to cut it into
	// segments of SegSize octets of payload: see Driver.Offload and
	// tcp.Segment.SegSize. The headers are those of the first one, but for FIN and
	// PSH, which are the last one's; the length is that of the whole. Of a packet that
	// has been received it is not 0 if the device has put it together of such segments.
	SegSize uint16

	// PathMTU of a received SYN is what a packet to its sender may have, in octets, 0 if
	// the driver does not know. Of an ICMP message that a packet was too big it is what the
	// host's own devices carry, if it is they who say so.
	PathMTU uint16

	Header  uint16 // octets of Data that are headers
	Inline  uint16 // octets of Data behind them that are payload
	Payload uint32 // octets of payload, inline or in pieces
	Placed  uint32 // received: of them, from the first on, what was placed elsewhere, and is not where the piece says (Placer)
	ID      uint32 // received: what Release takes when the pieces are not needed any more, or None
	Pieces  [MaxPieces]Piece
	Bufs    [MaxPieces]uint32 // sending: the buffer of each piece
	Data    [MaxData]byte
}

// Driver moves packets between a pool and its network. It is used by one
// goroutine at a time, who holds the lock of the pool's segment; methods that
// may be called without the lock say so.
type Driver interface {
	// Execute executes operations in their order: those of a Script, or a part of one.
	Execute(ops []Op)

	// Changed reports whether circuits came or went since the last call.
	Changed() bool

	// Mapped reports whether this process can reach circuit's memory, and so
	// release what came by it.
	Mapped(circuit uint16) bool

	// Usable reports whether, besides, circuit leads to a peer who is there.
	Usable(circuit uint16) bool

	// Crowded reports whether so many packets of circuit's peer are held that
	// payloads had better be copied out and released at once.
	Crowded(circuit uint16) bool

	// Use counts the connections that use circuit: it stays while there are any.
	Use(circuit uint16, n int)

	// Room returns how many packets circuit takes now.
	Room(circuit uint16) int

	// Offload returns how many octets a packet on circuit may have, headers
	// included, of which the driver makes segments as Packet.SegSize says; 0 if it
	// does not.
	Offload(circuit uint16) uint32

	// Backlog returns how many packets sent on circuit the peer has not looked
	// at yet.
	Backlog(circuit uint16) int

	// Flush makes everything visible to the peers that was sent, received and
	// released since the last time, and adds to r whom to wake. The caller wakes
	// them when he has given back the lock.
	Flush(r *shm.Rings)

	// Crossings returns how many system calls the operations on this pool have cost
	// so far: doorbells rung, or calls on a device.
	Crossings() uint64

	// Pending reports whether a reception would find something. It may be called
	// without the lock.
	Pending() bool

	// Glance is Pending for who will look again soon, or call Arm: of many circuits it
	// looks at those that were busy lately, and at a few others. A reception, or Notice, finds
	// what any of them has found, if Notice has been called before. It may be called without
	// the lock.
	Glance() bool

	// Arm prepares a sleep: what arrives from now on wakes the sleeper, even if
	// the peers know of no bell. It reports whether a reception would find something. It
	// may be called without the lock, by the one who is about to sleep.
	Arm() bool

	// Awake says that who has called Arm does not sleep any more. It may be called
	// without the lock.
	Awake()

	// Notify asks for a wake-up when all that was sent on circuit has been looked
	// at (sent), and when buffers are released (released). Pending reports true
	// when that has come about, until Notice has been called.
	Notify(circuit uint16, sent, released bool)

	// Notice takes note of what Notify has asked for and what has come about.
	Notice()

	// MayRefuse reports whether circuit leads to a device that may not take a packet
	// although there is room: see Operations.Send.
	MayRefuse(circuit uint16) bool

	// Ref adds a reference to a buffer for sending that is in use.
	Ref(region uint16, buf uint32)

	// Rebuild counts anew what is in use, after the death of the lock's holder: tx
	// says how often chunks refer to a buffer for sending, held how often to a
	// packet received.
	Rebuild(tx, held func(region uint16, id uint32) uint32)

	// BufferSize returns the octets in a buffer for sending.
	BufferSize() int

	// Octets returns the memory of a region, or nil if it isn't mapped here. It
	// may be called without the lock, while the region has pieces in use.
	Octets(region uint16) []byte
}
