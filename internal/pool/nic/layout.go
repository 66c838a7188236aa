package nic

import (
	"unsafe"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// Version is the version of the driver's part of a segment.
var Version = shm.Fingerprint(control{}, Counters{}, [Buffers]struct{}{}, [BufferSize]struct{}{}, [Slots]struct{}{}, [SlotSize]struct{}{})

// Limits of the driver. They cost address space, not memory.
const (
	Buffers    = 8192     // buffers for sending
	BufferSize = 16 << 10 // octets
	Slots      = 512      // packets received of which the program has not read all
	SlotSize   = 68 << 10 // octets: the longest IP packet, and whole pages
	holdLimit  = Slots / 2
)

// Sections of the segment.
const (
	secControl = 120 + iota
	secTxOctets
	secTxRefs
	secTxLinks
	secRxOctets
	secRxHolds
	secRxLinks
)

// control is what both halves know of the driver.
type control struct {
	version  uint32 // Version of who made it
	held     uint32 // slots in use
	_        [56]byte
	tx       pool.List
	rx       shm.FreeList
	_        [48]byte
	counters Counters
}

var (
	_ [64]byte                 = [unsafe.Offsetof(control{}.tx)]byte{}
	_ [192]byte                = [unsafe.Offsetof(control{}.rx)]byte{}
	_ [256]byte                = [unsafe.Offsetof(control{}.counters)]byte{}
	_ [256 + counterBytes]byte = [unsafe.Sizeof(control{})]byte{}
)

// Counters count what the driver does and what it passes over. All of it is
// guarded by the segment's lock.
type Counters struct {
	FramesIn, FramesOut uint64
	OctetsIn, OctetsOut uint64 // of IP packets
	MergedIn, MergedOut uint64 // frames that are several segments: GRO and GSO
	Reads, Writes       uint64 // system calls on the device
	EmptyReads          uint64 // of the reads: nothing was there

	Short     uint64 // frames passed over: shorter than their headers say
	NotIP     uint64 // … neither IPv4 nor IPv6, or not the one that the Ethernet header says
	BadGSO    uint64 // … with a virtio header that does not fit
	BadHeader uint64 // … with IP or TCP headers that make no sense, or are too long
	RxFull    uint64 // … since no slot was free
	TxFull    uint64 // packets refused: the device takes no more now
	TxErrors  uint64 // packets lost: the device refused them
	RxErrors  uint64 // reads that failed
	_         [7]uint64
}

const counterBytes = 24 * 8

var _ [counterBytes]byte = [unsafe.Sizeof(Counters{})]byte{}

// Specs are the sections that the driver needs in the segment.
func Specs() []shm.Spec {
	return []shm.Spec{
		shm.SpecOf[control](secControl, 1),
		shm.SpecOf[byte](secTxOctets, Buffers*BufferSize),
		shm.SpecOf[uint32](secTxRefs, Buffers),
		shm.SpecOf[uint32](secTxLinks, Buffers),
		shm.SpecOf[byte](secRxOctets, Slots*SlotSize),
		shm.SpecOf[uint32](secRxHolds, Slots),
		shm.SpecOf[uint32](secRxLinks, Slots),
	}
}
