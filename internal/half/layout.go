package half

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// Version is the version of the segment's layout: whatever changes a shared
// struct changes it.
var Version = shm.Fingerprint(control{}, journal{}, aux{}, wheel{}, fastState{}, tcp.Chunk{}, tcp.Annex{}, shm.LockWord{}, ports{}, circuitPorts{}, [MaxConns]struct{}{}, [maxChunks]struct{}{}, [maxAnnexes]struct{}{}, [chunkReserved]struct{}{})

// Limits of a segment. They cost address space, not memory.
const (
	MaxConns   = 1 << 17
	hashSize   = 1 << 17
	maxChunks  = 1 << 17
	maxAnnexes = 1 << 12 // connections that know of many gaps at once
	rxBuffers  = 8192
	rxSize     = 4096 // octets of a buffer of our own
	wheelSlots = wheelLevels * wheelWidth
)

// Sections of the segment.
const (
	secControl = 1 + iota
	secLock
	secJournal
	secConns
	secAux
	secConnLinks
	secHash
	secChunks
	secRxOctets
	secRxRefs
	secRxLinks
	secWheel
	secAnnexes
	secAnnexLinks
	secPorts
	secCircuitPorts
	secFastOpen
)

// control is what the two halves tell each other, and what belongs to the
// segment as a whole. All but the first line is guarded by the lock.
type control struct {
	// The first line is written without the lock.
	drives atomic.Uint32 // calls of the top half that drove the segment
	leader atomic.Uint32 // 1: a goroutine of the top half leads
	hold   hold
	_      [40]byte

	secret     [16]byte // of RFC 6528
	conns      shm.FreeList
	chunks     shm.FreeList
	rx         pool.List
	live       uint32 // connections that are not free
	mtu        uint32 // octets of an IP packet that the network takes
	lists      [numLists]list
	packing    uint32 // buffer that short payloads are packed into, or None
	packed     uint32 // octets of it in use
	programEnd uint32 // 1: the application has gone
	annexes    shm.FreeList
	childTakes uint32 // 1: the bottom half alone takes packets, and looks after timers
	buffered   uint32 // 1: buffers come from caches
	copiesMore uint32 // 1: payloads are copied into buffers of the pool's own on both sides
	unplaced   uint32 // 1: payloads are not placed in the memory of who waits for them
	_          [13]uint32
	limits     limits
	Counters   Counters
}

// Counters count what a pool's halves do and pass over.
type Counters struct {
	PacketsIn, PacketsOut   uint64
	TopDrives, BottomDrives uint64 // steps of the loop that found something to do
	BadIP, BadTCP, BadSum   uint64
	NoConn                  uint64 // packets for no connection
	WrongCircuit            uint64 // packets of a connection by another circuit
	RxFull                  uint64 // packets dropped: the pool's Rx buffers are in use
	ChunksFull              uint64 // packets dropped: no chunk left
	ListenFull              uint64 // SYNs dropped: the backlog is full
	ConnsFull               uint64 // SYNs dropped: no connection left
	NoRoute                 uint64 // packets for a peer without a circuit
	Copied                  uint64 // payload octets copied once more: out of a peer's memory early, or into a circuit's
	Repairs                 uint64
	CookiesSent             uint64 // SYNs answered with a SYN cookie
	CookiesTaken            uint64 // connections made of an acknowledgement of one
	FastTaken               uint64 // connections that data in a SYN has opened
	FastFull                uint64 // SYNs whose data was not taken: too many such connections
	OrphansKilled           uint64 // ended by name
	OrphansFull             uint64 // reset when the program closed them: there were as many as there may be
	MemoryFull              uint64 // packets dropped: the host's memory for buffers is in use
	Refused                 uint64 // segments that a device could not take, and that wait for another try
	Scripts                 uint64 // that the driver has executed
	Moved                   uint64 // packets of connections that have gone to another pool
	Placed                  uint64 // payload octets that have come to lie in their reader's memory at once
	PlaceMissed             uint64 // packets that were not what was foreseen, and were copied back
	Held                    uint64 // how often data was held back for a moment, to share a packet: see hold.go
	MovedUnasked            uint64 // confirmations of connections that have not gone to another pool, or are not the sender's
	_                       [2]uint64
	Operations              [8]uint64 // of the scripts, by pool.Kind
}

var (
	_ [64]byte      = [unsafe.Offsetof(control{}.secret)]byte{}
	_ [6 * 64]byte  = [unsafe.Offsetof(control{}.limits)]byte{}
	_ [7 * 64]byte  = [unsafe.Offsetof(control{}.Counters)]byte{}
	_ [12 * 64]byte = [unsafe.Sizeof(control{})]byte{}
	_ [64]byte      = [unsafe.Sizeof(limits{})]byte{}
	_ [8]struct{}   = [max(pool.Kinds, 8)]struct{}{}
)

// journal holds the connections that the step in progress changes, as they were
// before it (design 5).
type journal struct {
	active uint32 // 0: no step is in progress
	index  uint32
	_      [56]byte
	before tcp.Conn
}

var (
	_ [64 + tcp.ConnSize]byte = [unsafe.Sizeof(journal{})]byte{}
	_ [64]byte                = [unsafe.Offsetof(journal{}.before)]byte{}
)

// aux is what the halves know of a connection beside the engine. All of it but
// owner, circuit, and parent can be derived from the connections.
type aux struct {
	hashNext uint32
	// The timer wheel's list that the connection is in.
	timerNext, timerPrev uint32
	timerSlot            uint32 // None if in no list
	timerAt              tcp.Time

	listNext   [numLists]uint32 // in control.lists
	inLists    uint8            // bit l: is in list l
	hashed     uint8
	use        uint8
	registered uint8  // the connection server knows of it
	circuit    uint16 // or pool.NoCircuit
	accepted   uint8  // 1: has been in its listener's queue
	counted    uint8  // 1: is one of limits.orphans

	parent      uint32 // the listener of a connection that was not accepted, or None
	acceptNext  uint32
	acceptHead  uint32 // of a listener: connections that wait for Accept
	acceptTail  uint32
	acceptCount uint32
	backlog     uint32
	embryos     uint32 // of a listener: connections in SYN-RECEIVED
	gen         uint32 // of this use of the slot
	cookieAt    uint32 // of a listener: when it last sent a SYN cookie, s
	mtu         uint32 // octets of a packet on the devices' way to the peer; 0: not known
	born        uint32 // when the slot was taken for this use, s

	// Of a connection that goes from pool to pool: see move.go.
	pool   uint16    // VCI+1 of where it has gone, or where it has come from and is not claimed yet; 0: of nowhere
	heard  uint8     // of one that has gone: who has heard of it, see graves.go
	epoch  uint8     // of a connection over a device: crowd.epoch when data last came
	origin uint32    // its index there
	quiet  uint32    // of a listener: until when it answers nothing that is for nobody, s
	former [6]uint16 // circuits+1 by which it went before, in whose memory some of its octets may lie
	keys   uint32    // of a listener: its place in fastState.keys+1; 0: it has none
	pace   pace      // of a connection over a device: see hold.go
}

var (
	_ [128]byte = [unsafe.Sizeof(aux{})]byte{}
	_ [16]byte  = [unsafe.Offsetof(aux{}.timerAt)]byte{}
	_ [24]byte  = [unsafe.Offsetof(aux{}.listNext)]byte{}
	_ [48]byte  = [unsafe.Offsetof(aux{}.circuit)]byte{}
	_ [52]byte  = [unsafe.Offsetof(aux{}.parent)]byte{}
	_ [80]byte  = [unsafe.Offsetof(aux{}.gen)]byte{}
)

// Lists of connections.
const (
	listTop     = iota // have events for the program, left by the bottom half
	listBottom         // have work for the bottom half, left by the top half
	listBlocked        // have something to send, but their circuit has no room
	listStarved        // have writers that found no buffer
	listTouched        // of the step in progress: to be looked at when it ends
	numLists
)

// list is a queue of connections, linked by aux.listNext.
type list struct {
	head, tail uint32 // index+1, 0 if empty
}

// Uses of a connection slot.
const (
	useFree    = iota
	useProgram // the program has a socket for it
	useEmbryo  // made by a SYN, not accepted yet
	useOrphan  // the program has closed it
	useDone    // CLOSED and orphaned: the bottom half gives it back to the server, then it is free
	useMoved   // another pool has it now: what still comes for it is passed over
)

// Specs are the sections of a segment.
func Specs(driver []shm.Spec) []shm.Spec {
	return append([]shm.Spec{
		shm.SpecOf[control](secControl, 1),
		shm.SpecOf[shm.LockWord](secLock, 1),
		shm.SpecOf[journal](secJournal, 1),
		shm.SpecOf[tcp.Conn](secConns, MaxConns),
		shm.SpecOf[aux](secAux, MaxConns),
		shm.SpecOf[uint32](secConnLinks, MaxConns),
		shm.SpecOf[uint32](secHash, hashSize),
		shm.SpecOf[tcp.Chunk](secChunks, maxChunks),
		shm.SpecOf[byte](secRxOctets, rxBuffers*rxSize),
		shm.SpecOf[uint32](secRxRefs, rxBuffers),
		shm.SpecOf[uint32](secRxLinks, rxBuffers),
		shm.SpecOf[wheel](secWheel, 1),
		shm.SpecOf[tcp.Annex](secAnnexes, maxAnnexes),
		shm.SpecOf[uint32](secAnnexLinks, maxAnnexes),
		shm.SpecOf[ports](secPorts, 1),
		shm.SpecOf[circuitPorts](secCircuitPorts, pool.MaxCircuit),
		shm.SpecOf[fastState](secFastOpen, 1),
	}, driver...)
}

// views are the sections as one process has them mapped.
type views struct {
	ctl       *control
	lockWord  *shm.LockWord
	journal   *journal
	conns     []tcp.Conn
	aux       []aux
	connLinks []uint32
	hash      []uint32
	chunks    []tcp.Chunk
	rxOctets  []byte
	rxRefs    []uint32
	rxLinks   []uint32
	wheel     *wheel

	annexes    []tcp.Annex
	annexLinks []uint32

	ports     *ports
	onCircuit []circuitPorts
	fast      *fastState
}

func (v *views) attach(s *shm.Segment) error {
	var errs [17]error
	v.ctl, errs[0] = shm.One[control](s, secControl)
	v.lockWord, errs[1] = shm.One[shm.LockWord](s, secLock)
	v.journal, errs[2] = shm.One[journal](s, secJournal)
	v.conns, errs[3] = shm.Slice[tcp.Conn](s, secConns)
	v.aux, errs[4] = shm.Slice[aux](s, secAux)
	v.connLinks, errs[5] = shm.Slice[uint32](s, secConnLinks)
	v.hash, errs[6] = shm.Slice[uint32](s, secHash)
	v.chunks, errs[7] = shm.Slice[tcp.Chunk](s, secChunks)
	v.rxOctets, errs[8] = shm.Slice[byte](s, secRxOctets)
	v.rxRefs, errs[9] = shm.Slice[uint32](s, secRxRefs)
	v.rxLinks, errs[10] = shm.Slice[uint32](s, secRxLinks)
	v.wheel, errs[11] = shm.One[wheel](s, secWheel)
	v.annexes, errs[12] = shm.Slice[tcp.Annex](s, secAnnexes)
	v.annexLinks, errs[13] = shm.Slice[uint32](s, secAnnexLinks)
	v.ports, errs[14] = shm.One[ports](s, secPorts)
	v.onCircuit, errs[15] = shm.Slice[circuitPorts](s, secCircuitPorts)
	v.fast, errs[16] = shm.One[fastState](s, secFastOpen)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if len(v.conns) != MaxConns || len(v.aux) != MaxConns || len(v.hash) != hashSize || len(v.chunks) != maxChunks ||
		len(v.annexes) != maxAnnexes || len(v.annexLinks) != maxAnnexes {
		return fmt.Errorf("segment: %w", shm.ErrLayout)
	}
	return nil
}
