package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// A process that dies in the middle of a step leaves a segment in which one
// connection is half changed, and lists and counts that don't fit. Repair puts
// the connection back to what it was before the step (commit, then emit: nothing
// of the step has left this host yet), and makes anew what can be derived from
// the connections: which chunks and buffers are in use, the hash chains, the
// timer wheel, the lists.

// Users counts how often each buffer and each packet held is referred to by
// chunks; a driver rebuilds its state from it.
type users struct {
	chunk []bool            // in use
	annex []bool            // in use
	rx    []uint32          // references of our own buffers
	tx    map[uint64]uint32 // region and buffer
	holds map[uint64]uint32 // region and packet
}

func userKey(region uint16, id uint32) uint64 { return uint64(region)<<32 | uint64(id) }

// repair is called by whoever has taken the lock from a dead holder.
func (h *Half) repair() {
	h.ctl.Counters.Repairs++
	if j := h.journal; j.active != 0 {
		h.conns[j.index] = j.before
		j.active = 0
	}
	u := &users{
		chunk: make([]bool, h.ctl.chunks.Fresh),
		annex: make([]bool, h.ctl.annexes.Fresh),
		rx:    make([]uint32, h.ctl.rx.Free.Fresh),
		tx:    map[uint64]uint32{},
		holds: map[uint64]uint32{},
	}
	used := make([]bool, h.ctl.conns.Fresh)
	live := uint32(0)
	for i := range used {
		if used[i] = h.aux[i].use != useFree; used[i] {
			live++
			h.count(&h.conns[i], u)
		}
	}
	h.ctl.live = live
	h.ctl.conns.Rebuild(h.connLinks, func(i uint32) bool { return used[i] })
	h.rebuildMemory(u)
	h.relist(used)
}

// count notes what connection c refers to. The last chunk of the send queue may
// have grown before its step was undone: it gets its length back.
func (h *Half) count(c *tcp.Conn, u *users) {
	c.Freed = [len(c.Freed)]tcp.Queue{}
	c.Spent = 0
	if c.Annex != 0 {
		u.annex[c.Annex-1] = true
	}
	var queues [32]tcp.Queue
	for k, q := range c.Queues(&h.mem, queues[:0]) {
		at, left := q.Head, q.Bytes
		for n := q.Count; n > 0; n-- {
			x := &h.chunks[at]
			if k == 0 && n == 1 {
				x.Len = min(x.Len, left)
			}
			left -= x.Len
			u.chunk[at] = true
			switch {
			case x.Region == pool.OwnRegion:
				u.rx[x.Buf]++
			case pool.IsTx(x.Region):
				u.tx[userKey(x.Region, x.Buf)]++
			default:
				u.holds[userKey(x.Region, x.Buf)]++
			}
			at = x.Next
		}
	}
}

func (h *Half) rebuildMemory(u *users) {
	h.ctl.annexes.Rebuild(h.annexLinks, func(i uint32) bool { return u.annex[i] })
	f := &h.ctl.chunks
	f.Head, f.Free = none, f.Limit-f.Fresh
	for i := f.Fresh; i > 0; i-- {
		if !u.chunk[i-1] {
			h.chunks[i-1].Next = f.Head
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
}

// relist makes hash chains, timer wheel and lists anew.
func (h *Half) relist(used []bool) {
	clear(h.hash)
	*h.wheel = wheel{elapsed: uint64(h.clock()) >> tickShift}
	h.ctl.lists = [numLists]list{}
	for i := range used {
		a := &h.aux[i]
		a.hashNext, a.timerSlot, a.inLists = 0, none, 0
		hashed := a.hashed != 0
		a.hashed = 0
		if !used[i] {
			continue
		}
		if hashed && h.conns[i].State != tcp.Closed {
			h.insert(uint32(i))
		}
		if a.use == useDone {
			h.enlist(listBottom, uint32(i))
		} else {
			h.enlist(listTouched, uint32(i))
		}
	}
}
