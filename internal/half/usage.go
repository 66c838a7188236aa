package half

import "usertcp/internal/pool"

// Usage is what of a segment is in use at one moment.
type Usage struct {
	Live      int // connections and listeners that are not free yet, TIME-WAIT included
	Chunks    int // runs of octets in send and receive queues
	Annexes   int // connections that know of many gaps
	RxBuffers int // the pool's own buffers that hold payloads
	TxBuffers int // buffers for sending on all circuits
	Held      int // pieces of the peers' packets that have not been released
	Counters  Counters
}

// Idle reports whether no octet of a payload is in the segment any more.
func (u *Usage) Idle() bool {
	return u.Chunks == 0 && u.Annexes == 0 && u.RxBuffers == 0 && u.TxBuffers == 0 && u.Held == 0
}

// Usage returns the segment's present usage.
func (t *Top) Usage() Usage {
	t.enter()
	defer t.leave()
	u := Usage{
		Live:      int(t.ctl.live),
		Chunks:    int(t.ctl.chunks.Limit - t.ctl.chunks.Free),
		Annexes:   int(t.ctl.annexes.Limit - t.ctl.annexes.Free),
		RxBuffers: t.rx.Used(),
		Counters:  t.ctl.Counters,
	}
	if p := t.ctl.packing; p != pool.None && t.rx.Refs(p) == 1 {
		u.RxBuffers-- // only kept for the next short payloads
	}
	if d, ok := t.drv.(interface{ InUse() (tx, held int) }); ok {
		u.TxBuffers, u.Held = d.InUse()
	}
	return u
}

// Work is what a pool's halves have done.
type Work struct {
	Scripts    uint64
	Operations [pool.Kinds]uint64
	Crossings  uint64 // system calls that the operations have cost
	Copied     uint64 // octets copied once more
	Placed     uint64 // octets that came to lie in their reader's memory at once
	Missed     uint64 // packets whose payload was placed in vain, and copied back
	Cache      pool.CacheStats
}

// Work returns what this pool's halves have done so far.
func (b *Bottom) Work() (w Work) {
	b.Change(func() { w = b.done() })
	return w
}

func (h *Half) done() Work {
	c := &h.ctl.Counters
	w := Work{Scripts: c.Scripts, Crossings: h.drv.Crossings(), Copied: c.Copied, Placed: c.Placed, Missed: c.PlaceMissed, Cache: h.rx.CacheStats()}
	copy(w.Operations[:], c.Operations[:])
	if d, ok := h.drv.(pool.Cacher); ok {
		w.Cache = w.Cache.Plus(d.CacheStats())
	}
	return w
}
