package half

import (
	"math/bits"
	"unsafe"

	"usertcp/internal/tcp"
)

// signs are a circuit's signs of life. The segment at its other end is driven as a whole,
// by its program or by the child that stands in, so that a packet of one of its
// connections says of all that they are looked after.
type signs struct {
	heard tcp.Time // when something came by the circuit
	asked tcp.Time // when a connection sent a keep-alive probe for all of them
}

var _ [16]byte = [unsafe.Sizeof(signs{})]byte{}

// Parts of a keep-alive interval.
const (
	askFirst  = 4  // one of so many parts of silence, and one connection asks for all of the circuit
	askNext   = 16 // … and one of so many later another one, if nothing has come
	restSteps = 32 // in so many steps or more connections come out of their rest: a wake-up for each step, not each connection
)

// hears notes that something has come by a circuit.
func (h *Half) hears(circuit uint16) {
	if int(circuit) < len(h.onCircuit) {
		h.onCircuit[circuit].signs.heard = h.now
	}
}

// rests reports whether connection i, whose timer is due and which the wheel does not have,
// leaves its keep-alive probe out since its circuit was heard of (tcp.Conn.MayRest), and puts
// it back into the wheel for later. That is later than its deadline, which stays what it
// was: whoever looks at the connection for something else finds the timer due, and comes
// back here.
func (h *Half) rests(i uint32) bool {
	circuit := h.aux[i].circuit
	if int(circuit) >= len(h.onCircuit) {
		return false // devices lead to many hosts, and the servers keep no state
	}
	s := &h.onCircuit[circuit].signs
	heard := s.heard
	until, ok := h.conns[i].MayRest(h.now, heard)
	if !ok || !h.drv.Usable(circuit) {
		return false
	}
	idle := until - heard
	if h.now-heard > idle/askFirst && h.now-s.asked > idle/askNext {
		s.asked = h.now
		return false
	}
	h.wheel.arm(h.aux, i, restUntil(i, h.now, until, idle))
	return true
}

// restUntil returns when connection i, which may rest until a given time, is looked at
// again: before, in the last quarter of an interval, not all of a circuit at once, and yet
// many together.
func restUntil(i uint32, now, until, idle tcp.Time) tcp.Time {
	step := tcp.Time(1) << (bits.Len64(uint64(idle/restSteps)) - 1)
	t := until - idle/askFirst*tcp.Time(i*0x9e3779b1>>24)/256
	if t &^= step - 1; t > now {
		return t
	}
	return until
}
