package shm

import (
	"sync/atomic"
	"unsafe"
)

// Bell is how a pool tells its peers whom to wake. Its owner writes it, peers
// map it read-only and look at it after they have put something where the owner
// will look.
//
//	owner                          peer
//	state = sleeping (new epoch)   publish
//	look once more                 look at state
//	sleep until the doorbell rings ring the doorbell if it says sleeping
//
// Both sides write first and look then, with sequentially consistent
// operations, so at least one of them sees the other: no wake-up is lost. Each
// sleep has its own epoch, so that a peer rings once for a sleep. The doorbell
// keeps a ring that comes before the sleeper has gone to sleep; a sleeper whose
// doorbell does not calls Renew from when on it does, and looks after that.
//
//	bit  31 … 2   1 0
//	     epoch    who sleeps: nobody, the top half, the bottom half
type Bell struct {
	state atomic.Uint32
	_     [60]byte
}

var _ [64]byte = [unsafe.Sizeof(Bell{})]byte{}

const (
	whoMask   = 3
	epochStep = 4
)

// Sleep announces that p is about to sleep and wants to be woken. Its caller
// looks for work once more before it sleeps. Only a holder of the segment's lock
// calls it.
func (b *Bell) Sleep(p Party) {
	yield()
	next := (b.state.Load() &^ whoMask) + epochStep
	b.state.Store(next | uint32(p))
}

// Renew begins another epoch of p's sleep, so that peers who have rung for it ring
// again: for a sleeper who has forgotten the rings that came before. It reports
// false if p's sleep has been ended meanwhile. It needs no lock.
func (b *Bell) Renew(p Party) bool {
	yield()
	s := b.state.Load()
	yield()
	return Party(s&whoMask) == p && b.state.CompareAndSwap(s, s+epochStep)
}

// Awake announces that somebody looks for work: no ring is needed.
func (b *Bell) Awake() {
	if s := b.state.Load(); s&whoMask != 0 {
		yield()
		b.state.Store(s &^ whoMask)
	}
}

// Sleeper returns who has announced that it sleeps, or Nobody.
func (b *Bell) Sleeper() Party { return Party(b.state.Load() & whoMask) }

// Ring says whose doorbell a peer that has just published something must ring:
// Nobody's, if the owner is awake or if this peer has rung for this sleep. last
// is the peer's memory of its last ring.
func (b *Bell) Ring(last *uint32) Party {
	yield()
	s := b.state.Load()
	who := Party(s & whoMask)
	if who == Nobody || s == *last {
		return Nobody
	}
	*last = s
	return who
}
