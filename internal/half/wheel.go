package half

import (
	"math/bits"
	"unsafe"

	"usertcp/internal/tcp"
)

// The timer wheel: hierarchical, 6 levels of 64 slots. A slot of level 0 is one
// tick of 16 µs, a slot of level n is 64^n ticks. A timer lies in the level of
// the highest bit in which its tick differs from now's, so that lower levels are
// always earlier; when its slot's time comes it moves down or is due.
//
// A connection's place in the wheel may be earlier than its deadline, never
// later: deadlines mostly move away (each acknowledgement puts the
// retransmission off), and a timer that comes too early just looks again.
const (
	wheelLevels = 6
	wheelBits   = 6
	wheelWidth  = 1 << wheelBits
	tickShift   = 14 // 16.4 µs
	wheelSpan   = 1 << (wheelBits * wheelLevels)
)

type wheel struct {
	elapsed  uint64 // ticks up to which everything was taken out
	occupied [wheelLevels]uint64
	heads    [wheelSlots]uint32 // connection index+1
	_        [8]byte
}

var (
	_ [8 + 8*wheelLevels + 4*wheelSlots + 8]byte = [unsafe.Sizeof(wheel{})]byte{}
	_ [8]byte                                    = [unsafe.Offsetof(wheel{}.occupied)]byte{}
	_ [8 + 8*wheelLevels]byte                    = [unsafe.Offsetof(wheel{}.heads)]byte{}
)

// ticks returns the first tick at or after t.
func ticks(t tcp.Time) uint64 {
	return (uint64(t) + 1<<tickShift - 1) >> tickShift
}

// arm sees to it that the wheel comes back to i at t or before.
func (w *wheel) arm(as []aux, i uint32, t tcp.Time) {
	a := &as[i]
	if a.timerSlot != none {
		if t >= a.timerAt {
			return
		}
		w.remove(as, i)
	}
	a.timerAt = t
	tick := min(max(ticks(t), w.elapsed), w.elapsed+wheelSpan-wheelSpan/wheelWidth)
	level := (63 - bits.LeadingZeros64((w.elapsed^tick)|(wheelWidth-1))) / wheelBits
	level = min(level, wheelLevels-1)
	slot := int(tick>>(level*wheelBits)) & (wheelWidth - 1)
	at := uint32(level*wheelWidth + slot)
	a.timerSlot, a.timerPrev, a.timerNext = at, 0, w.heads[at]
	if a.timerNext != 0 {
		as[a.timerNext-1].timerPrev = i + 1
	}
	w.heads[at] = i + 1
	w.occupied[level] |= 1 << slot
}

// remove takes i out of the wheel.
func (w *wheel) remove(as []aux, i uint32) {
	a := &as[i]
	if a.timerSlot == none {
		return
	}
	if a.timerPrev != 0 {
		as[a.timerPrev-1].timerNext = a.timerNext
	} else if w.heads[a.timerSlot] = a.timerNext; a.timerNext == 0 {
		w.occupied[a.timerSlot/wheelWidth] &^= 1 << (a.timerSlot % wheelWidth)
	}
	if a.timerNext != 0 {
		as[a.timerNext-1].timerPrev = a.timerPrev
	}
	a.timerSlot = none
}

// next returns the slot whose time comes first, and that tick; ok is false if
// the wheel is empty.
func (w *wheel) next() (slot int, tick uint64, ok bool) {
	for level := range wheelLevels {
		occupied := w.occupied[level]
		if occupied == 0 {
			continue
		}
		shift := level * wheelBits
		now := int(w.elapsed>>shift) & (wheelWidth - 1)
		ahead := bits.TrailingZeros64(bits.RotateLeft64(occupied, -now))
		s := (now + ahead) & (wheelWidth - 1)
		start := w.elapsed &^ (1<<(shift+wheelBits) - 1)
		tick = start + uint64(s)<<shift
		if s < now { // the top level goes round
			tick += 1 << (shift + wheelBits)
		}
		return level*wheelWidth + s, tick, true
	}
	return 0, 0, false
}

// due takes a connection out of the wheel whose time has come by now; it
// returns none if there is none.
func (w *wheel) due(as []aux, now tcp.Time) uint32 {
	limit := uint64(now) >> tickShift
	for range maxCascades {
		slot, tick, ok := w.next()
		if !ok || tick > limit {
			w.elapsed = max(w.elapsed, limit)
			return none
		}
		if slot < wheelWidth {
			return w.takeFirst(as, slot)
		}
		w.elapsed = max(w.elapsed, tick)
		w.cascade(as, slot)
	}
	panic("BUG: the timer wheel goes round and round")
}

// maxCascades is how often the timers of some slot can move down before one is due.
const maxCascades = wheelSlots * wheelLevels

// takeFirst takes the first connection out of a slot, which is not empty.
func (w *wheel) takeFirst(as []aux, slot int) uint32 {
	i := w.heads[slot] - 1
	if as[i].timerSlot != uint32(slot) {
		panic("BUG: a timer is in a slot and does not know of it")
	}
	w.remove(as, i)
	return i
}

// cascade moves the timers of a slot of a higher level, whose time has come, to
// where they belong now. It moves all of them: lower levels come first, and who
// stayed behind would be passed over.
func (w *wheel) cascade(as []aux, slot int) {
	for n := 0; w.heads[slot] != 0; n++ {
		i := w.takeFirst(as, slot)
		w.arm(as, i, as[i].timerAt)
		if n > len(as) || as[i].timerSlot == uint32(slot) {
			panic("BUG: a timer does not leave its slot")
		}
	}
	w.occupied[slot/wheelWidth] &^= 1 << (slot % wheelWidth)
}

// deadline returns when due should be called next: never too late.
func (w *wheel) deadline() tcp.Time {
	_, tick, ok := w.next()
	if !ok {
		return tcp.Never
	}
	return tcp.Time(tick << tickShift)
}
