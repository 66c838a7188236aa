package half

import (
	"encoding/binary"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// With many connections most of what a packet touches is in no cache: some thirty
// lines of its connection, each a hundred nanoseconds away. So the half looks at the
// packets behind the one at work, and asks for what they will touch: for the hash
// table's entry when a turn begins, for the connection a few packets before its turn.
// All of it is a guess, from headers that nobody has checked yet: nothing follows from
// it.

const (
	aheadConns = 4096 // live connections from which looking ahead pays: about 8 MiB of them
	aheadFind  = 8    // packets between asking for the first of a hash chain and looking at it
	aheadBy    = 4    // packets between asking for a connection and needing it
)

// ahead is what a turn knows of the packets to come.
type ahead struct {
	n    int // packets
	hash [turnPackets]uint32
	flow [turnPackets]wire.Flow
}

// lookAhead begins a turn with the packets that have arrived.
func (h *Half) lookAhead(arrived []pool.Packet) {
	a := &h.coming
	if a.n = 0; h.ctl.live < aheadConns {
		return
	}
	for n := range arrived {
		p := &arrived[n]
		a.hash[n] = none
		if readFlow(p.Data[:p.Header], &a.flow[n]) {
			a.hash[n] = h.hashFlow(&a.flow[n])
			shm.Prefetch(h.hash, a.hash[n])
		}
	}
	a.n = len(arrived)
	for n := range min(aheadFind, a.n) {
		h.fetchFirst(n)
	}
	for n := range min(aheadBy, a.n) {
		h.fetchWhole(n)
	}
}

// fetchFor asks for what the packets behind packet n of the turn will need.
func (h *Half) fetchFor(n int) {
	if n+aheadFind < h.coming.n {
		h.fetchFirst(n + aheadFind)
	}
	if n+aheadBy < h.coming.n {
		h.fetchWhole(n + aheadBy)
	}
}

// fetchFirst asks for as much of the first connection in packet n's hash chain as says
// whether it is the packet's.
func (h *Half) fetchFirst(n int) {
	if i := h.firstOf(n); i != 0 {
		shm.PrefetchFirst(h.conns, i-1)
		shm.Prefetch(h.aux, i-1)
	}
}

// fetchWhole asks for the connection of packet n: the first in its hash chain, or most
// likely the second.
func (h *Half) fetchWhole(n int) {
	i := h.firstOf(n)
	if i == 0 {
		return
	}
	if h.conns[i-1].Flow != h.coming.flow[n] {
		if i = h.aux[i-1].hashNext; i == 0 {
			return
		}
		shm.Prefetch(h.aux, i-1)
	}
	shm.Prefetch(h.conns, i-1)
}

// firstOf returns the first connection in packet n's hash chain, and one more, 0 if
// there is none.
func (h *Half) firstOf(n int) uint32 {
	hash := h.coming.hash[n]
	if hash == none || h.hash[hash] > uint32(len(h.conns)) {
		return 0
	}
	return h.hash[hash]
}

// readFlow reads the flow from the headers of a TCP packet, as this end sees it. It
// reports false if they are no such headers; it need not notice.
func readFlow(b []byte, f *wire.Flow) bool {
	at := 20
	switch {
	case len(b) >= 40 && b[0] == 0x45 && b[9] == protoTCP:
		f.Remote.Addr, f.Local.Addr = mapped(b[12:16]), mapped(b[16:20])
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == protoTCP:
		f.Remote.Addr, f.Local.Addr = wire.Addr(b[8:24]), wire.Addr(b[24:40])
		at = 40
	default:
		return false
	}
	f.Remote.Port, f.Local.Port = binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	return true
}

// mapped returns an IPv4 address as wire.Addr holds it.
func mapped(b []byte) wire.Addr {
	return wire.Addr{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
}
