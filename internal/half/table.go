package half

import (
	"encoding/binary"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// none is the index of no connection.
const none = ^uint32(0)

// allocConn takes a free connection slot, or none.
func (h *Half) allocConn(use uint8) uint32 {
	i := none
	if h.ctl.live < h.ctl.limits.sockets {
		i = h.ctl.conns.Alloc(h.connLinks)
	}
	if i == none {
		h.ctl.Counters.ConnsFull++
		return none
	}
	a := &h.aux[i]
	*a = aux{circuit: pool.NoCircuit, parent: none, timerSlot: none, gen: a.gen + 1, born: uint32(h.now / tcp.Second)}
	h.conns[i] = tcp.Conn{}
	h.conns[i].Opt = tcp.DefaultOptions()
	h.limitBuffers(&h.conns[i].Opt)
	a.use = use // last: until then the slot is free to whoever repairs
	h.ctl.live++
	return i
}

// freeConn gives a slot back. The connection is CLOSED and its queues are empty.
func (h *Half) freeConn(i uint32) {
	a := &h.aux[i]
	h.unhash(i)
	h.wheel.remove(h.aux, i)
	for l := range numLists {
		h.unlist(l, i)
	}
	h.setCircuit(i, pool.NoCircuit)
	h.forgetFormer(i)
	a.use = useFree
	a.gen++
	h.ctl.live--
	h.ctl.conns.Release(h.connLinks, i)
}

// setCircuit makes i's packets go by circuit c.
func (h *Half) setCircuit(i uint32, c uint16) {
	a := &h.aux[i]
	if a.circuit == c {
		return
	}
	if a.circuit != pool.NoCircuit {
		h.drv.Use(a.circuit, -1)
	}
	if c != pool.NoCircuit {
		h.drv.Use(c, 1)
	}
	a.circuit = c
}

// hashFlow spreads flows over the hash table; the secret keeps peers from
// choosing flows that meet.
func (h *Half) hashFlow(f *wire.Flow) uint32 {
	const mix = 0x9e3779b97f4a7c15
	s := &h.ctl.secret
	x := binary.LittleEndian.Uint64(s[:8]) ^ uint64(f.Local.Port)<<16 ^ uint64(f.Remote.Port)
	for _, e := range [2]*wire.Addr{&f.Local.Addr, &f.Remote.Addr} {
		x = (x ^ binary.LittleEndian.Uint64(e[:8])) * mix
		x = (x ^ x>>29 ^ binary.LittleEndian.Uint64(e[8:])) * mix
	}
	x ^= binary.LittleEndian.Uint64(s[8:])
	x ^= x >> 32
	return uint32(x*mix>>40) % hashSize
}

// insert makes i findable by its flow.
func (h *Half) insert(i uint32) {
	a := &h.aux[i]
	if a.hashed != 0 {
		panic("BUG: connection hashed twice")
	}
	b := &h.hash[h.hashFlow(&h.conns[i].Flow)]
	a.hashNext, *b = *b, i+1
	a.hashed = 1
}

func (h *Half) unhash(i uint32) {
	if h.aux[i].hashed == 0 {
		return
	}
	p := &h.hash[h.hashFlow(&h.conns[i].Flow)]
	for n := 0; *p != 0 && n < MaxConns; n++ {
		if *p == i+1 {
			*p = h.aux[i].hashNext
			h.aux[i].hashed = 0
			return
		}
		p = &h.aux[*p-1].hashNext
	}
	panic("BUG: connection not in its hash chain")
}

// lookup returns the connection with the given flow, or none.
func (h *Half) lookup(f *wire.Flow) uint32 {
	at := h.hash[h.hashFlow(f)]
	for n := 0; at != 0 && n < MaxConns; n++ {
		if h.conns[at-1].Flow == *f {
			return at - 1
		}
		at = h.aux[at-1].hashNext
	}
	return none
}

// listener returns the connection in LISTEN for a local endpoint: the exact
// address first, then any address; none if nobody listens.
func (h *Half) listener(e wire.Endpoint) uint32 {
	f := wire.Flow{Local: e}
	if i := h.lookup(&f); i != none {
		return i
	}
	f.Local.Addr = wire.Any6
	if e.Addr.Is4() {
		f.Local.Addr = wire.Any4
	}
	if i := h.lookup(&f); i != none {
		return i
	}
	f.Local.Addr = wire.Any
	return h.lookup(&f)
}

// enlist puts i at the end of list l, if it is not in it.
func (h *Half) enlist(l int, i uint32) {
	a := &h.aux[i]
	if a.inLists&(1<<l) != 0 {
		return
	}
	a.inLists |= 1 << l
	a.listNext[l] = 0
	q := &h.ctl.lists[l]
	if q.head == 0 {
		q.head = i + 1
	} else {
		h.aux[q.tail-1].listNext[l] = i + 1
	}
	q.tail = i + 1
}

// delist takes the first connection out of list l, or returns none.
func (h *Half) delist(l int) uint32 {
	q := &h.ctl.lists[l]
	if q.head == 0 {
		return none
	}
	i := q.head - 1
	if h.aux[i].inLists&(1<<l) == 0 {
		panic("BUG: a connection is in a list and does not know of it")
	}
	q.head = h.aux[i].listNext[l]
	h.aux[i].inLists &^= 1 << l
	return i
}

// unlist takes i out of list l, wherever it is in it.
func (h *Half) unlist(l int, i uint32) {
	a := &h.aux[i]
	if a.inLists&(1<<l) == 0 {
		return
	}
	q := &h.ctl.lists[l]
	prev := uint32(0)
	for at, n := q.head, 0; at != 0; prev, at = at, h.aux[at-1].listNext[l] {
		if n++; n > MaxConns {
			panic("BUG: a list has no end")
		}
		if at != i+1 {
			continue
		}
		if prev == 0 {
			q.head = a.listNext[l]
		} else {
			h.aux[prev-1].listNext[l] = a.listNext[l]
		}
		if q.tail == at {
			q.tail = prev
		}
		break
	}
	a.inLists &^= 1 << l
}
