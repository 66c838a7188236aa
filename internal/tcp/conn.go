package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// ConnSize is the size of a Conn in octets: a multiple of the cache line.
const ConnSize = 1728

// The queues of Conn.Freed, by where their chunks come from.
const (
	freedSent = iota // the front of SndQ
	freedRead        // the front of RcvQ
	freedRest        // queues given up as a whole: out-of-order ranges, refused data
	freedQueues
)

// Conn is one connection: the transmission control block of RFC 9293 section
// 3.3.1. A zeroed Conn is a closed one. Its layout is fixed, has no implicit
// padding and no pointers.
type Conn struct {
	State  State
	Error  Error
	Events Event // gathered; the half reads and clears
	flags  flags

	Flow    wire.Flow
	pending pending // segments that are owed
	Soft    Error   // what ICMP last said, while the connection lives
	_       uint8

	Opt ConnOptions

	// SndQ holds what the program wrote, from the chunk that holds sndUna on. The
	// first snd.head octets of it have been acknowledged.
	SndQ Queue

	// RcvQ holds what is in order and not yet read. The first RcvHead octets of it
	// have been read.
	RcvQ    Queue
	RcvHead uint32

	// Annex is what the connection has beside its Conn: index+1 in Memory.Annexes, 0
	// for nothing.
	Annex uint32

	// Freed are the chunks that left the connection in this step. The half frees
	// them after the commit and zeroes the queues: a step begins with them empty.
	Freed [freedQueues]Queue

	// Spent is the annex that the connection gave back in this step, as in Annex. The
	// half frees it after the commit and sets Spent to 0.
	Spent uint32
	_     uint32

	// What nearly every segment needs lies together, up to the head of ooo and again
	// from the end of rate to the head of Stats: with many connections the lines of
	// memory that a segment touches are most of what it costs.
	snd      sender
	rcv      receiver
	rtt      rtt
	loss     loss
	timers   timers
	rack     rack
	dup      repeated
	probeEnd seq.Number // sndNxt when the tail loss probe was sent, if probing
	probing  probing
	_        [3]uint8
	late     uint32 // octets that a segment came behind its successors, at most
	urgent   urgent
	held     deferral
	trains   trains
	usage    usage
	path     path
	tuning   tuning
	ecn      ecn
	ooo      reassembly

	undo undoing
	prr  prr
	bbr  bbrNarrow

	rate  delivery
	cc    congestion
	board scoreboard

	limited limited
	Stats   Stats

	fast fastOpen
	_    [reserve]uint8
}

// reserve is room for what later versions remember, so that the segment's
// layout need not change with each of them.
const reserve = 64 - 24

// flags are facts about a connection that are true or false.
type flags uint32

const (
	flagPassive      flags = 1 << iota // opened by OpenPassive
	flagTimestamps                     // both sides agreed on timestamps
	flagSACK                           // both sides agreed on SACK
	flagScaling                        // both sides agreed on window scaling
	flagFinQueued                      // the program has closed: FIN at snd.end
	flagOrphan                         // the program has closed the whole socket
	flagReadClosed                     // the program reads no more: what comes is acknowledged and dropped
	flagFinKnown                       // the peer's FIN has been seen, at rcv.fin
	flagFinReceived                    // the peer's FIN has been reached in order
	flagSynResent                      // our SYN was sent more than once
	flagTiming                         // rtt.seq is being timed
	flagOverride                       // the persist timer lets one small segment go
	flagPartialAcked                   // the first partial acknowledgement of a recovery has come
	flagFull                           // cwnd was full in this round trip: see usage
	flagReorderTimer                   // timerLoss waits for what may only be late, and not for a tail loss probe
	flagMore                           // what fills no segment waits for what the program will send next
	flagUnpushed                       // the program has said that more comes after what is queued: no PSH
	flagPush                           // what is queued leaves, full-sized or not
	flagStarved                        // the program wanted to write and found no room
	flagFollows                        // rcv.tsRecent is what the connection before had last: see Follow
	flagRefused                        // the device has refused what was to be sent, and taken nothing since
	flagPeerProbes                     // the peer's keep-alive has come, and ours has not been needed since
	flagCalled                         // in TIME-WAIT: a SYN has come, and was no younger than what was
)

func (c *Conn) has(f flags) bool { return c.flags&f != 0 }
func (c *Conn) set(f flags)      { c.flags |= f }
func (c *Conn) clear(f flags)    { c.flags &^= f }

// pending names segments that are owed, for NextSegment to send.
type pending uint16

const (
	pendSyn    pending = 1 << iota // SYN or SYN-ACK
	pendAck                        // an acknowledgement, now
	pendReset                      // RST with sequence number snd.reset, and an acknowledgement
	pendRefuse                     // RST with sequence number snd.reset alone
	pendProbe                      // a segment the peer must answer: zero window, keep-alive
	pendResend                     // one segment from sndUna, or of the first that is lost
	pendTail                       // a tail loss probe
)

// cursor is a place in SndQ: off octets into chunk. With an empty queue chunk
// is None. At the end of the queue it stands behind the tail's last octet, so
// that it is still right when chunks are linked behind the tail.
type cursor struct {
	chunk, off uint32
}

// sender is the send sequence space (RFC 9293 figure 3) and what belongs to it.
//
//	     una             nxt           end
//	------|---------------|-------------|------
//	 acked  sent           written        FIN, once the program has closed
//
//	una <= nxt <= end, or end+1 if the FIN has been sent
type sender struct {
	una, nxt, end seq.Number
	iss           seq.Number

	wnd      uint32     // octets from una that the peer lets us send
	maxWnd   uint32     // largest wnd so far
	wl1, wl2 seq.Number // sequence and acknowledgement number of the last window update

	head  uint32     // octets of SndQ's head chunk that are acknowledged
	mss   uint32     // octets: largest payload of a segment without SACK blocks
	small seq.Number // end of the last segment that was less than full-sized (Minshall)
	reset seq.Number // sequence number of the RST that is owed

	next     cursor     // where nxt is
	again    cursor     // where againSeq is
	againSeq seq.Number // next to be sent again after a timeout
	tsOffset uint32     // added to the clock in timestamps

	since    Time // since when the oldest octet in flight waits for progress
	lastData Time // when data was last sent

	scale      uint8 // shift of the peer's window field
	retries    uint8 // timeouts in a row
	probes     uint8 // probes in a row without an answer
	probeShift uint8 // back-off of the persist timer
	keepProbes uint8 // keep-alive probes in a row without an answer
	_          [3]uint8
}

// receiver is the receive sequence space (RFC 9293 figure 4).
//
//	     nxt            edge
//	------|---------------|------
//	 in     window          not yet allowed
//	 RcvQ
type receiver struct {
	nxt, edge seq.Number
	irs       seq.Number
	fin       seq.Number // number of the peer's FIN, if flagFinKnown
	acked     seq.Number // nxt as the peer was last told: Last.ACK.sent of RFC 7323

	mss      uint32 // octets: estimate of the size of the peer's full-sized segments
	tsRecent uint32
	quick    uint8  // segments that are still acknowledged at once
	scale    uint8  // shift of our window field
	most     uint16 // Memory.Unread when it was last looked at, in units of mostUnit, or 0

	tsRecentAt Time // when tsRecent was taken
	lastSeg    Time // when the last segment arrived
	lastData   Time // when data last arrived
	lastOdd    Time // when an odd segment was last answered: see challenge
}

// rtt is the round-trip time as RFC 6298 smooths it.
type rtt struct {
	srtt, rttvar Time
	rto          Time       // without back-off
	at           Time       // when seq was sent
	seq          seq.Number // being timed, if flagTiming
	shift        uint8      // back-off: the timer is set to rto << shift
	_            [3]uint8
}

// loss is what is believed lost, and the way out of it (RFC 5681, RFC 6582).
type loss struct {
	recover seq.Number // sndNxt when the loss was found: recovery ends there
	dupAcks uint16
	phase   phase
	_       uint8
}

// phase is a phase of loss recovery.
type phase uint8

const (
	phaseOpen     phase = iota // nothing is believed lost
	phaseRecovery              // fast recovery
	phaseLoss                  // after a timeout: everything in flight is believed lost
)

// congestion is the congestion window and the private state of the controller.
type congestion struct {
	cwnd, ssthresh           uint32 // octets
	priorCwnd, priorSsthresh uint32 // before the last loss: see onUndo
	lost                     uint32 // octets marked lost so far, modulo 2^32
	running                  uint8  // the congestion control that has the private words
	_                        [3]uint8
	private                  [privateWords]uint64
}

// privateWords is how many words a congestion control has for itself.
const privateWords = 12

// timers are the moments at which something is due, zero for nothing.
type timers struct {
	next Time // the earliest of at
	at   [8]Time
}

// oooRange is a run of octets behind a gap.
type oooRange struct {
	start, end        seq.Number
	head, tail, count uint32 // as in Queue
}

// reassembly holds what came out of order: n ranges, in order, with a gap before each.
type reassembly struct {
	at     place
	n      uint32
	blocks uint32               // in use of recent
	near   [nearRanges]oooRange // the ranges, unless they lie in an annex
	recent [4]wire.Block        // the ranges that changed last, the last one first: for SACK
}

// urgent is the urgent data of both directions (RFC 6093).
type urgent struct {
	sndUp   seq.Number // SND.UP: behind our last urgent octet, if sending
	rcvUp   seq.Number // RCV.UP: behind the peer's last urgent octet, if mark
	sending uint8      // 1: sndUp is not acknowledged yet
	mark    urgentMark
	octet   uint8 // the urgent octet, when it was taken out of the stream
	_       [5]uint8
}

// ecn is explicit congestion notification (RFC 3168, RFC 9768).
type ecn struct {
	on      uint8      // what both sides agreed upon
	echo    uint8      // RFC 3168, 1: ECE goes with each acknowledgement until CWR comes
	reduced uint8      // RFC 3168, 1: CWR goes with the next new data
	asked   uint8      // what our SYNs asked for
	recover seq.Number // no second reduction before this is acknowledged

	recvCEP uint32            // r.cep: packets that came marked, and ecnFirstCEP
	recv    [ecnFields]uint32 // r.e0b, r.ceb, r.e1b: octets that came with each codepoint
	sentCEP uint32            // s.cep: packets of ours that the peer has told of
	sent    [ecnFields]uint32 // s.e0b, s.ceb, s.e1b

	fresh    uint8 // marks since the last acknowledgement
	last     uint8 // codepoint of the last segment
	lastData uint8 // … of the last that a counter of octets counted
	peerSyn  uint8 // … of the peer's latest SYN or SYN-ACK
	demand   uint8 // acknowledgements that take an option along
	seen     uint8 // fields that ever changed; from newsShift on those since the last option
	traits   uint8
	beacon   uint8 // acknowledgements since a counter grew that was not told
	acked    uint8 // packets acknowledged at once, on the average, in eighths
	third    uint8 // 1: the SYN-ACK is to be acknowledged
	_        [6]uint8
}

// tuning is what the sizes of the buffers are found from.
type tuning struct {
	at     Time       // when the measurement of the program's reading began
	rttAt  Time       // when rttSeq was set
	rtt    Time       // the receiver's estimate of the round-trip time
	read   uint64     // octets that the program has read
	begun  uint64     // read when the measurement began
	rttSeq seq.Number // when this has come, one window has come
	space  uint32     // octets that the program read in one round trip, at most
}

// path is what is known of the path's MTU (RFC 8899). Sizes are those of whole
// packets, in octets.
type path struct {
	max      uint16     // largest that the link and the peer's MSS allow
	mtu      uint16     // what segments are made for
	low      uint16     // largest that is known to get through
	high     uint16     // smallest that is known not to, or 0
	probe    uint16     // size of the probe in flight, or 0
	tries    uint8      // probes of this size that were lost
	hole     uint8      // 1: a black hole was found
	probeEnd seq.Number // behind the probe in flight
	again    Time       // when the next search may begin
	probeAt  seq.Number // first octet of the probe in flight
	peer     uint16     // the peer's MSS, or what stands for it
	wide     uint16     // what mtu was before the host itself could carry no more than mtu, or 0
}

// deferral is what is waited for before a connection counts as open, and the
// timeout that the peer has told of.
type deferral struct {
	peerTimeout uint32 // ms, what the peer's RFC 5482 option said; 0: nothing
	told        uint32 // ms, user timeout that the peer was told last
	acked       uint8  // 1: our SYN-ACK is acknowledged, data is waited for
	_           [7]uint8
}

// Stats counts what a connection did.
type Stats struct {
	SegsIn, SegsOut         uint64
	BytesIn, BytesAcked     uint64 // octets accepted in order; octets that the peer acknowledged
	BytesSent               uint64 // octets of payload sent, those sent again included
	DataSegsIn, DataSegsOut uint32 // segments with payload

	BytesResent     uint64 // octets of payload sent again
	Resent          uint32 // segments sent again
	FastRetransmits uint32 // recoveries begun by duplicate acknowledgements
	Timeouts        uint32 // retransmission timeouts
	Probes          uint32 // zero-window and keep-alive probes sent
	DupAcks         uint32 // duplicate acknowledgements received
	OutOfOrder      uint32 // segments put aside behind a gap
	Challenges      uint32 // challenge acknowledgements sent (RFC 5961)
	DropState       uint32 // segments dropped: the state has no use for them
	DropWindow      uint32 // … outside the window
	DropPAWS        uint32 // … timestamp old or missing
	DropAck         uint32 // … acknowledgement missing or of something impossible
	DropDuplicate   uint32 // … payload that was there already
	DropFull        uint32 // … no room for another out-of-order range
	Resets          uint32 // RST sent or accepted

	CE        uint32 // segments received that a router marked
	ECE       uint32 // reductions of cwnd since the peer echoed such a mark
	MTUProbes uint32 // probes of the path's MTU
	PathMTUs  uint32 // ICMP messages that changed the path's MTU

	SackedBytes, LostBytes uint64 // octets that were acknowledged selectively; octets believed lost
	Duplicates             uint32 // segments with octets that were here already
	DSACKs                 uint32 // D-SACK blocks for what was sent again
	TailProbes             uint32 // tail loss probes sent
	TailLosses             uint32 // losses that such a probe has repaired
	Undone                 uint32 // recoveries that were spurious
	Reneged                uint32 // times that the peer gave up what it had acknowledged selectively
}
