package ring

import (
	"sync/atomic"
	"unsafe"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// Version is the version of the memory that the two ends of a circuit share.
var Version = shm.Fingerprint(end{}, slot{}, circuitState{}, pdu{}, control{}, shm.Bell{}, [Buffers]struct{}{}, [BufferSize]struct{}{})

// Limits of a circuit.
const (
	Slots       = 256         // packets on their way
	PDUs        = 1024        // packets with pieces that the peer has not released
	Buffers     = 512         // buffers for sending
	BufferSize  = 16 << 10    // octets
	MaxCircuits = 1023        // peers of one pool
	holdLimit   = Buffers / 2 // pieces of a peer held before payloads are better copied
	burst       = 32          // packets taken from one circuit before the next has its turn
)

// Sections of the memory that one end of a circuit writes and the other reads.
const (
	secEnd = 1 + iota
	secSlots
	secReleases
	secBuffers
)

// end is the head of that memory, a cache line for each purpose.
type end struct {
	local, remote uint32 // VCIs
	_             [56]byte

	counts counts
	_      [56]byte

	// released counts the identifiers that this end has put into releases.
	released atomic.Uint32
	_        [60]byte

	// notify asks the peer for a ring when it has seen so many packets
	// (notifySeen), or when it releases something.
	notifySeen     atomic.Uint64 // wanted<<32 | count
	notifyReleased atomic.Uint32
	_              [52]byte
}

var (
	_ [4 * 64]byte   = [unsafe.Sizeof(end{})]byte{}
	_ [1 * 64]byte   = [unsafe.Offsetof(end{}.counts)]byte{}
	_ [2 * 64]byte   = [unsafe.Offsetof(end{}.released)]byte{}
	_ [3 * 64]byte   = [unsafe.Offsetof(end{}.notifySeen)]byte{}
	_ [3*64 + 8]byte = [unsafe.Offsetof(end{}.notifyReleased)]byte{}
)

// counts says how many packets an end has put into its slots (sent) and how many of the
// peer's it has taken out (seen). Most often both change at once, a request and its
// response: a store that the peer sees is a cache line that has to come from it, and the
// fence waits for that.
//
//	bit  63 … 32   31 … 0
//	     seen      sent
type counts struct{ word atomic.Uint64 }

func bothCounts(sent, seen uint32) uint64 { return uint64(seen)<<32 | uint64(sent) }

func (c *counts) sent() uint32 { return uint32(c.word.Load()) }

func (c *counts) seen() uint32 { return uint32(c.word.Load() >> 32) }

const wanted = 1 << 32

// slot is one packet on its way. Data holds the headers (IP and TCP), a short
// payload, and the AAL-5 trailer.
type slot struct {
	total  uint32 // octets of the PDU, its trailer not counted
	id     uint32 // what the receiver puts into releases, or pool.None
	header uint8
	inline uint8
	pieces uint8
	flags  uint8
	_      uint32
	data   [pool.MaxData]byte
	piece  [pool.MaxPieces]pool.Piece
}

var (
	_ [256]byte = [unsafe.Sizeof(slot{})]byte{}
	_ [8]byte   = [unsafe.Offsetof(slot{}.header)]byte{}
	_ [16]byte  = [unsafe.Offsetof(slot{}.data)]byte{}
	_ [192]byte = [unsafe.Offsetof(slot{}.piece)]byte{}
)

const flagPartial = 1 // the TCP checksum was not computed

// maxHeader is the longest header that leaves room for the trailer.
const maxHeader = 120

func endSpecs() []shm.Spec {
	return []shm.Spec{
		shm.SpecOf[end](secEnd, 1),
		shm.SpecOf[slot](secSlots, Slots),
		shm.SpecOf[uint32](secReleases, PDUs),
		shm.SpecOf[byte](secBuffers, Buffers*BufferSize),
	}
}

// Sections of the segment that hold the driver's own state. Both halves of the
// application use it, under the segment's lock; no peer sees it.
const (
	secCircuits = 100 + iota
	secTxRefs
	secTxLinks
	secPDUs
	secPDULinks
	secHolds
	secCounters
	secControl
)

// Circuit states.
const (
	circuitFree    = iota
	circuitOffered // our memory was offered to the peer, its has not come yet
	circuitUp
	circuitDead // the peer has gone
)

// circuitState is what both halves know of a circuit.
type circuitState struct {
	State      atomic.Uint32
	Gen        uint32 // of this use of the slot
	Remote     uint32 // the peer's VCI
	Sent       uint32 // packets put into slots
	Seen       uint32 // packets taken from the peer's slots
	Released   uint32 // identifiers put into releases
	Reclaimed  uint32 // identifiers taken from the peer's releases
	LastRing   uint32 // for shm.Bell.Ring
	Held       uint32 // pieces of the peer's packets that are held
	Users      uint32 // connections that use the circuit
	Later      uint32 // packets released by a half that has not mapped the circuit
	_          uint32
	IDs        shm.FreeList
	Tx         pool.List
	PacketsIn  uint64
	PacketsOut uint64
	Shown      uint64 // the counts that the peer sees, or has seen: a process may have died in between
	_          [40]byte
}

var (
	_ [256]byte = [unsafe.Sizeof(circuitState{})]byte{}
	_ [12]byte  = [unsafe.Offsetof(circuitState{}.Sent)]byte{}
	_ [28]byte  = [unsafe.Offsetof(circuitState{}.LastRing)]byte{}
	_ [48]byte  = [unsafe.Offsetof(circuitState{}.IDs)]byte{}
	_ [64]byte  = [unsafe.Offsetof(circuitState{}.Tx)]byte{}
	_ [192]byte = [unsafe.Offsetof(circuitState{}.PacketsIn)]byte{}
)

// pdu is a packet with pieces that the peer has not released.
type pdu struct {
	n    uint32 // pieces; 0 if it is not on its way
	bufs [pool.MaxPieces]uint32
}

var (
	_ [36]byte = [unsafe.Sizeof(pdu{})]byte{}
	_ [4]byte  = [unsafe.Offsetof(pdu{}.bufs)]byte{}
)

// control is what both halves know of the driver as a whole.
type control struct {
	changes atomic.Uint32 // of circuits: they came or went
	crc     uint32        // 1: every PDU carries AAL-5's CRC-32
	txLimit uint32        // buffers for sending that a circuit may have in use
	_       [52]byte
}

var _ [64]byte = [unsafe.Sizeof(control{})]byte{}

// Counters count what the driver passes over, by reason.
type Counters struct {
	BadSlot    uint64 // a slot whose sizes don't fit
	BadPiece   uint64 // a piece that is empty, or lies outside the peer's buffers
	BadVCI     uint64 // a trailer that names another VCI
	BadCRC     uint64 // a trailer whose CRC is wrong
	BadRelease uint64 // a release of what was not on its way
	BadIndex   uint64 // counters of a peer that run away: its circuit was closed
	Rings      uint64 // doorbells rung
	Dropped    uint64 // sent without a circuit
}

var _ [64]byte = [unsafe.Sizeof(Counters{})]byte{}

// Specs are the sections that the driver needs in the segment.
func Specs() []shm.Spec {
	return []shm.Spec{
		shm.SpecOf[circuitState](secCircuits, MaxCircuits),
		shm.SpecOf[uint32](secTxRefs, MaxCircuits*Buffers),
		shm.SpecOf[uint32](secTxLinks, MaxCircuits*Buffers),
		shm.SpecOf[pdu](secPDUs, MaxCircuits*PDUs),
		shm.SpecOf[uint32](secPDULinks, MaxCircuits*PDUs),
		shm.SpecOf[uint32](secHolds, MaxCircuits*PDUs),
		shm.SpecOf[Counters](secCounters, 1),
		shm.SpecOf[control](secControl, 1),
	}
}
