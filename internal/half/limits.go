package half

import (
	"math"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// What a pool may have depends on what the other pools of its host have: the
// connection server knows that. The child tells it what its pool has in use, and
// writes what it answers into the segment, where both halves look when they tune a
// buffer, take one, make a socket or lose one. Nobody asks on the way of an octet;
// while there is no server the last word holds.

// Level says how much of the memory for buffers is in use, on the whole host or by
// the pool's user.
type Level uint32

// The levels, those of the kernel's tcp_mem.
const (
	Plenty   Level = iota
	Pressure       // no buffer grows by itself any more
	Full           // a connection gets leastBuffer octets each way, and no more
)

// leastBuffer is what a connection may have each way however full memory is, octets,
// so that everything comes to its end: the kernel's tcp_wmem[0] and tcp_rmem[0].
const leastBuffer = 4096

// Allowance is what the connection server lets a pool have.
type Allowance struct {
	Level       Level
	Orphans     uint32        // most that there may be; who closes one more resets it
	Sockets     uint32        // most connections and listeners; one more is not made
	FinWait     time.Duration // that an orphan may spend in FIN-WAIT-2
	OrphanTries uint32        // timeouts in a row that end an orphan
}

// Unlimited is what a pool may have of whom no server has said anything.
var Unlimited = Allowance{Orphans: math.MaxUint32, Sockets: MaxConns, FinWait: time.Minute, OrphanTries: 8}

// Load is what a pool has in use, of what is limited.
type Load struct {
	Buffers uint64 // octets of all its buffers that hold something
	Sockets uint32
	Orphans uint32 // those in TIME-WAIT not counted
	Reset   uint32 // orphans that were one too many, so far
}

// limits is an Allowance in the segment, and what it takes to heed it.
type limits struct {
	level       Level
	maxOrphans  uint32
	sockets     uint32
	finWait     uint32 // ms
	orphanTries uint32
	orphans     uint32 // connections with aux.counted
	_           [10]uint32
}

func (l *limits) heed(a *Allowance) {
	l.level, l.maxOrphans, l.sockets = a.Level, a.Orphans, a.Sockets
	l.finWait = uint32(min(a.FinWait.Milliseconds(), math.MaxUint32))
	l.orphanTries = a.OrphanTries
}

// orphanTime returns what the engine has to know: see tcp.Memory.
func (l *limits) orphanTime() (finWait tcp.Time, tries uint8) {
	return tcp.Time(l.finWait) * tcp.Millisecond, uint8(min(l.orphanTries, math.MaxUint8))
}

// allowed returns how many octets more a writer on i may have, before what its own
// buffer allows.
func (h *Half) allowed(i uint32) int {
	if h.ctl.limits.level != Full {
		return math.MaxInt
	}
	// What a peer on the ring has acknowledged and not read lies in our buffers still.
	if d, ok := h.drv.(interface{ Spare(circuit uint16) bool }); ok && !d.Spare(h.aux[i].circuit) {
		return 0
	}
	return max(0, leastBuffer-int(h.conns[i].Unacknowledged()))
}

// mayTake reports whether connection i may have the payload of packet p, and counts it
// if not. What lies in the memory of a peer on the ring costs nothing here: it is the
// peer's server that counts it.
func (h *Half) mayTake(i uint32, p *pool.Packet) bool {
	if h.ctl.limits.level != Full || p.Payload == 0 || h.conns[i].RcvQ.Bytes < leastBuffer {
		return true
	}
	if p.Circuit != pool.NIC && p.Payload >= byReference && p.NPieces > 0 && !h.drv.Crowded(p.Circuit) {
		return true
	}
	h.ctl.Counters.MemoryFull++
	return false
}

// isOrphan reports whether connection i counts as one: the program has closed it, and
// it is not over; or it has gone to another pool, and not all know that. Who is in
// TIME-WAIT costs next to nothing; the kernel has it apart, too.
func (h *Half) isOrphan(i uint32) bool {
	s := h.conns[i].State
	if h.aux[i].use == useMoved {
		return !h.allHeard(i)
	}
	return h.aux[i].use == useOrphan && s != tcp.Closed && s != tcp.TimeWait
}

// countOrphan counts i if it is an orphan and not counted yet.
func (h *Half) countOrphan(i uint32) {
	if h.aux[i].counted == 0 && h.isOrphan(i) {
		h.aux[i].counted = 1
		h.ctl.limits.orphans++
	}
}

func (h *Half) uncountOrphan(i uint32) {
	if h.aux[i].counted != 0 {
		h.aux[i].counted = 0
		h.ctl.limits.orphans--
	}
}

// tooManyOrphans reports whether connection i, which the program closes, would be one
// more orphan than there may be. The kernel resets it then, too (tcp_max_orphans).
func (h *Half) tooManyOrphans(i uint32) bool {
	c := &h.conns[i]
	l := &h.ctl.limits
	return h.aux[i].counted == 0 && l.orphans >= l.maxOrphans && c.State != tcp.TimeWait && c.State >= tcp.SynReceived
}

// Allow writes what the connection server allows into the segment. The bottom half
// keeps a copy of its own, since the program may write there too.
func (b *Bottom) Allow(a Allowance) {
	b.mu.Lock()
	b.allowance = a
	b.mu.Unlock()
	if b.enter() { // else at the next tick
		b.heed()
		b.leave()
	}
}

// heed sees to it that the allowance is in the segment.
func (b *Bottom) heed() {
	l := &b.ctl.limits
	was := l.level
	if l.heed(&b.allowance); was == Full && l.level != Full {
		b.feed() // who waits for memory
	}
}

// Load returns what the pool had in use at the last tick.
func (b *Bottom) Load() Load {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.load
}

// weigh finds out what the pool has in use. The numbers are the program's, who can
// harm others by them only as far as its own segment goes.
func (b *Bottom) weigh() {
	l := Load{Sockets: min(b.ctl.live, MaxConns), Orphans: min(b.ctl.limits.orphans, MaxConns), Reset: uint32(b.ctl.Counters.OrphansFull)}
	used := uint64(min(max(b.rx.Used(), 0), rxBuffers))
	if p := b.ctl.packing; used > 0 && p < rxBuffers && b.rx.Refs(p) == 1 {
		used-- // only kept for the next short payloads
	}
	l.Buffers = used * rxSize
	if d, ok := b.drv.(interface{ Memory() uint64 }); ok {
		l.Buffers += d.Memory()
	}
	b.load = l
}
