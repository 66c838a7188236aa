package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// A process that dies in the middle of a step leaves a segment in which one
// connection is half changed, and lists and counts that don't fit. Repair puts
// the connection back to what it was before the step (commit, then emit: nothing
// of the step has left this host yet), makes anew what can be derived from the
// connections (which chunks and buffers are in use, the hash chains, the timer
// wheel, the lists, the accept queues), and ends what was begun outside a step:
// see resolve. It can itself be cut short anywhere and done again.
//
// It does not trust what it finds: an index that leads outside, a chunk in two
// places or a connection that cannot be is a panic, which the bottom half catches
// (door.go).

// Users counts how often each buffer and each packet held is referred to by
// chunks; a driver rebuilds its state from it.
type users struct {
	chunk    []bool            // in use
	annex    []bool            // in use
	rx       []uint32          // references of our own buffers
	tx       map[uint64]uint32 // region and buffer
	holds    map[uint64]uint32 // region and packet
	circuits map[uint16]uint32 // connections that use one
}

// refer counts what a chunk refers to.
func (u *users) refer(x *tcp.Chunk) {
	switch {
	case x.Region == pool.OwnRegion:
		u.rx[x.Buf]++
	case pool.IsTx(x.Region):
		u.tx[userKey(x.Region, x.Buf)]++
	default:
		u.holds[userKey(x.Region, x.Buf)]++
	}
}

func userKey(region uint16, id uint32) uint64 { return uint64(region)<<32 | uint64(id) }

// What becomes of what the program's calls have reserved, and copy to without the lock.
type reservations bool

const (
	keepReserved reservations = true  // the program lives: it stays theirs
	dropReserved reservations = false // nobody is in a call
)

// repair is called by whoever has taken the lock from a dead holder.
func (h *Half) repair(r reservations) {
	h.ctl.Counters.Repairs++
	h.sweep(r)
}

// sweep is called by whoever has the lock when the other party is dead. If that
// had not got the lock there is no step to undo, but it may have reserved chunks
// and buffers that nobody knows of.
func (h *Half) sweep(r reservations) {
	h.initScripts() // what was asked for and not done is counted anew
	if j := h.journal; j.active != 0 {
		h.conns[j.index] = j.before
		j.active = 0
	}
	h.now = h.clock()
	u := &users{
		chunk:    make([]bool, min(h.ctl.chunks.Fresh, maxChunks)),
		annex:    make([]bool, min(h.ctl.annexes.Fresh, maxAnnexes)),
		rx:       make([]uint32, min(h.ctl.rx.Free.Fresh, rxBuffers)),
		tx:       map[uint64]uint32{},
		holds:    map[uint64]uint32{},
		circuits: map[uint16]uint32{},
	}
	used := make([]bool, min(h.ctl.conns.Fresh, MaxConns))
	live := uint32(0)
	h.ctl.limits.orphans = 0
	for i := range used {
		h.aux[i].counted = 0
		if used[i] = h.aux[i].use != useFree; used[i] {
			live++
			h.countOrphan(uint32(i))
			h.count(&h.conns[i], u)
			u.circuits[h.aux[i].circuit]++
			for _, c := range h.aux[i].former {
				u.circuits[c-1]++ // of none: NoCircuit
			}
		}
	}
	if r == keepReserved {
		h.countReserved(u)
	}
	h.ctl.live = live
	h.ctl.conns.Limit = MaxConns
	h.ctl.conns.Rebuild(h.connLinks, func(i uint32) bool { return used[i] })
	h.rebuildMemory(u)
	h.requeue(used)
	h.relist(used)
	h.resolve(used)
	h.run()
}

// count notes what connection c refers to. The last chunk of the send queue may
// have grown before its step was undone: it gets its length back.
func (h *Half) count(c *tcp.Conn, u *users) {
	c.Freed = [len(c.Freed)]tcp.Queue{}
	c.Spent = 0
	if c.Annex != 0 {
		if u.annex[c.Annex-1] {
			panic("BUG: an annex of two connections")
		}
		u.annex[c.Annex-1] = true
	}
	var queues [32]tcp.Queue
	for k, q := range c.Queues(&h.mem, queues[:0]) {
		at, left := q.Head, q.Bytes
		for n := q.Count; n > 0; n-- {
			x := &h.chunks[at]
			if u.chunk[at] {
				panic("BUG: a chunk is in two queues")
			}
			if k == 0 && n == 1 {
				x.Len = min(x.Len, left)
			}
			left -= x.Len
			u.chunk[at] = true
			u.refer(x)
			at = x.Next
		}
	}
	if err := c.CheckInvariants(&h.mem); err != nil {
		panic("BUG: a connection that cannot be: " + err.Error())
	}
}

// countReserved notes what the calls of a living program have reserved. If another call
// got one of these buffers now, both would copy their octets there.
func (h *Half) countReserved(u *users) {
	for at := range u.chunk {
		x := &h.chunks[at]
		if x.Flags&chunkReserved == 0 {
			continue
		}
		if u.chunk[at] {
			panic("BUG: a chunk in a queue is reserved")
		}
		if x.Region != pool.OwnRegion && !pool.IsTx(x.Region) {
			panic("BUG: a peer's octets are reserved")
		}
		u.chunk[at] = true
		u.refer(x)
	}
}

func (h *Half) rebuildMemory(u *users) {
	h.ctl.annexes.Rebuild(h.annexLinks, func(i uint32) bool { return u.annex[i] })
	f := &h.ctl.chunks
	f.Limit, f.Fresh = maxChunks, uint32(len(u.chunk))
	f.Head, f.Free = none, f.Limit-f.Fresh
	for i := f.Fresh; i > 0; i-- {
		if !u.chunk[i-1] {
			h.chunks[i-1].Next, h.chunks[i-1].Flags = f.Head, 0
			f.Head = i - 1
			f.Free++
		}
	}
	if p := h.ctl.packing; p != pool.None {
		u.rx[p]++
	}
	h.rx.Rebuild(func(i uint32) uint32 { return u.rx[i] })
	h.drv.Rebuild(
		func(region uint16, buf uint32) uint32 { return u.tx[userKey(region, buf)] },
		func(region uint16, id uint32) uint32 { return u.holds[userKey(region, id)] },
	)
	if d, ok := h.drv.(interface {
		Recount(users func(circuit uint16) uint32)
	}); ok {
		d.Recount(func(circuit uint16) uint32 { return u.circuits[circuit] })
	}
}

// requeue makes the accept queues of listeners anew: who was in one stays where
// he was, who was on his way in or out comes behind.
func (h *Half) requeue(used []bool) {
	queued := make([]bool, len(used))
	for l := range used {
		if !used[l] || !h.listens(uint32(l)) {
			continue
		}
		la := &h.aux[l]
		at := la.acceptHead
		la.acceptHead, la.acceptTail, la.acceptCount, la.embryos = 0, 0, 0, 0
		for at != 0 && h.waitsAt(at-1, uint32(l)) && !queued[at-1] {
			next := h.aux[at-1].acceptNext
			queued[at-1] = true
			h.queueAccept(at - 1)
			at = next
		}
	}
	for i := range used {
		a := &h.aux[i]
		if !used[i] || queued[i] || a.use != useEmbryo || a.parent >= uint32(len(used)) || !h.listens(a.parent) {
			continue
		}
		if a.accepted != 0 {
			h.queueAccept(uint32(i))
		} else {
			h.aux[a.parent].embryos++
		}
	}
}

// listens reports whether slot l is a listener of the program's.
func (h *Half) listens(l uint32) bool {
	return h.aux[l].use == useProgram && h.conns[l].State == tcp.Listen
}

// waitsAt reports whether connection i is to be accepted at listener l.
func (h *Half) waitsAt(i, l uint32) bool {
	a := &h.aux[i]
	return a.use == useEmbryo && a.accepted != 0 && a.parent == l
}

// relist makes hash chains, timer wheel and lists anew. Whoever may have had
// something to do is looked at again, and finds out whether he has.
func (h *Half) relist(used []bool) {
	clear(h.hash)
	*h.wheel = wheel{elapsed: uint64(h.clock()) >> tickShift}
	h.ctl.lists = [numLists]list{}
	for i := range used {
		a := &h.aux[i]
		a.hashNext, a.timerSlot, a.inLists, a.hashed = 0, none, 0, 0
		if !used[i] {
			continue
		}
		if h.conns[i].State != tcp.Closed || a.use == useMoved {
			h.insert(uint32(i))
		}
		if a.use == useDone || a.use == useMoved {
			h.enlist(listBottom, uint32(i))
		} else {
			h.enlist(listTouched, uint32(i))
		}
	}
}

// resolve ends what takes more than one step, where a death may have come between
// them: a connection that was taken for a SYN that did not make it, or out of an
// accept queue by a program that never saw it; a socket that was given up and
// whose connection had not been told.
func (h *Half) resolve(used []bool) {
	for k := range used {
		i, a := uint32(k), &h.aux[k]
		if !used[k] {
			continue
		}
		closed := h.conns[i].State == tcp.Closed
		switch {
		case a.use == useEmbryo && (a.parent >= uint32(len(used)) || !h.listens(a.parent)):
			a.parent = none
			h.abort(i)
		case a.use == useEmbryo && closed && a.accepted == 0:
			h.aux[a.parent].embryos--
			h.finish(i)
		case a.use == useMoved && !closed:
			h.depart(i)
		case a.use == useOrphan && closed:
			h.finish(i)
		case a.use == useOrphan && !h.conns[i].Orphaned():
			h.closeSocket(i)
		}
	}
}
