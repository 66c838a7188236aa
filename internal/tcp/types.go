package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// Time is a moment or a span in nanoseconds. Moments count from an epoch that
// only the caller knows (the halves use CLOCK_MONOTONIC, the simulator its own).
type Time int64

// Spans of time.
const (
	Microsecond Time = 1000
	Millisecond      = 1000 * Microsecond
	Second           = 1000 * Millisecond

	// Never is the deadline of a connection that waits for nothing.
	Never = Time(1<<63 - 1)
)

// None is the chunk index that names no chunk.
const None = ^uint32(0)

// Chunk describes a run of payload octets in one buffer. Chunks lie in a table
// that both halves share; the engine links them into queues, and never looks at
// the octets themselves.
type Chunk struct {
	Next   uint32     // the chunk behind this one; means something only inside a queue's Count
	Off    uint32     // of the first octet, in octets from the start of the region
	Len    uint32     // octets
	Seq    seq.Number // of the first octet
	Buf    uint32     // the buffer (own memory) or the hold (a peer's), for whoever frees it
	Region uint16     // the memory that Off counts in
	Flags  uint16     // for whoever made the chunk
	Aux    uint64     // for whoever made the chunk
}

// Queue is a list of chunks. What lies behind Tail or beyond Count is not part
// of it: so a queue header that is put back to what it was is the queue that
// was, as long as steps only take from the front and add at the back.
type Queue struct {
	Head, Tail uint32 // chunk indices, None if Count is 0
	Count      uint32 // chunks
	Bytes      uint32 // octets
}

// Memory is what a step needs of the segment besides the connection.
type Memory struct {
	Chunks  []Chunk
	Annexes []Annex
	Tight   bool   // the pool's memory runs short: no buffer may grow
	Unread  uint32 // most octets that a connection may have to be read, its window included, whatever its buffer; 0: no limit

	FinWait     Time  // that an orphan may spend in FIN-WAIT-2; 0: orphanWait
	OrphanTries uint8 // timeouts in a row that end an orphan; 0: orphanTries
}

// Segment is a TCP segment without its addresses and ports: what arrives, and
// what is to be sent.
type Segment struct {
	Seq, Ack seq.Number
	Flags    wire.Flags
	Window   uint16 // as on the wire: not scaled
	Urgent   uint16
	ECN      uint8 // the ECN field of the IP header: NotECT, ECT0, ECT1 or CE
	More     bool  // arriving: the caller thinks that the next one is there already, and calls AckOwed if it is not
	Options  wire.Options

	// Len is the number of payload octets.
	Len uint32

	// SegSize of a departing segment is not 0 if it is a train: the driver cuts it
	// into segments of SegSize octets of payload, the last of which may be shorter,
	// has FIN and PSH, and only the first of which has CWR. Of an arriving segment it
	// is not 0 if the device has put it together of segments of that size.
	SegSize uint32

	// Payload of an arriving segment: a queue of fresh chunks (Bytes == Len).
	// Input takes from it what it keeps; what is left in it afterwards is the
	// caller's to free.
	Payload Queue

	// First and Skip say where the payload of a departing segment begins: Skip
	// octets into chunk First of the send queue.
	First, Skip uint32
}

// State is a state of RFC 9293 section 3.3.2.
type State uint8

// The states. CLOSED is zero: a zeroed Conn is a closed one.
const (
	Closed State = iota
	Listen
	SynSent
	SynReceived
	Established
	FinWait1
	FinWait2
	CloseWait
	Closing
	LastAck
	TimeWait
)

// Event is what a step has to tell the program that owns the connection. Events
// gather in Conn.Events until the half takes them.
type Event uint16

// The events.
const (
	EventReadable    Event = 1 << iota // data, FIN or an error is there to be read
	EventWritable                      // there is room to send again, or an error
	EventEstablished                   // the handshake is complete
	EventClosed                        // the connection has reached CLOSED: its slot may be freed when the program is done with it
	EventError                         // Conn.Error has been set
	EventTimeWait                      // the connection has entered TIME-WAIT
	EventUrgent                        // the peer has told of an urgent octet
	EventFastOpen                      // the handshake has told something of Fast Open: see FastOutcome
)

// Error says why a connection ended. Zero means that it did not, or in order.
type Error uint8

// The errors.
const (
	ErrNone           Error = iota
	ErrRefused              // RST in answer to our SYN: ECONNREFUSED
	ErrReset                // RST from the peer: ECONNRESET
	ErrTimeout              // retries or a timeout exhausted: ETIMEDOUT
	ErrAborted              // our own Abort: ECONNABORTED
	ErrUnreachable          // no way to the peer: EHOSTUNREACH
	ErrCorrupt              // the segment was found damaged: EIO
	ErrNetUnreachable       // no way to the peer's network: ENETUNREACH
	ErrProhibited           // a router forbids the way: EACCES
)
