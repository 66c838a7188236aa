package ring

import (
	"sync/atomic"

	"usertcp/internal/pool"
)

// A packet changes hands in steps that write two words: the one that says who has
// it, and a counter that goes on by one. A process that dies between the two
// writes must not leave the packet with both, nor with nobody. So who hands it
// over marks the first word with the counter's value before, moves the counter,
// and then writes what holds from then on. Whoever repairs compares: if the
// counter still has the value in the mark, nothing has happened yet.
//
//	step             word         mark        counter      behind it
//	sending          pdu.n        markPin     st.Sent      number of pieces
//	taking back      pdu.n        markUnpin   st.Reclaimed 0
//	receiving        holds[id]    markTake    st.Seen      number of pieces
//	releasing        holds[id]    markTell    st.Released  0
//
// The counters' operations are atomic, so that the compiler keeps them between the
// writes of the marked word.
//
//	bit  31 … 30     29 … 4               3 … 0
//	     the mark    the counter before   pieces
const (
	markPin   = 1 << 30
	markUnpin = 2 << 30
	markTake  = 1 << 30
	markTell  = 2 << 30
	markKind  = 3 << 30

	markPieces = 1<<4 - 1
)

// mark returns the word of a step that moves a counter on from count.
func mark(kind, count, pieces uint32) uint32 {
	return kind | count<<4&^markKind | pieces
}

// moved reports whether the counter of a marked word has moved on.
func moved(word, count uint32) bool {
	return (word^count<<4)&^(markKind|markPieces) != 0
}

// step moves a counter on, between the two writes of a marked word.
func step(count *uint32) { atomic.AddUint32(count, 1) }

// settlePDU ends the step that pdu word n was in, and returns how many pieces are
// on their way.
func (c *circuit) settlePDU(n uint32) uint32 {
	pieces := min(n&markPieces, pool.MaxPieces)
	switch n & markKind {
	case markPin:
		if !moved(n, c.st.Sent) {
			return 0
		}
	case markUnpin:
		if moved(n, c.st.Reclaimed) {
			return 0
		}
	}
	return pieces
}

// settleHold ends the step that hold word n was in. It reports whether the packet
// is ours, and with it the duty to release it.
func (c *circuit) settleHold(n uint32) (ours bool) {
	switch {
	case n == releaseLater:
		return true
	case n&markKind == markTake:
		return moved(n, c.st.Seen)
	case n&markKind == markTell:
		return !moved(n, c.st.Released)
	}
	return n != 0
}
