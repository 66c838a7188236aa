package sim

import "math/rand/v2"

// stop stops the application, as SIGSTOP does.
func (h *host) stop() {
	if !h.dead && !h.stopped && !h.w.healed {
		h.w.trace("host %d is stopped", h.id)
		h.stopped = true
		h.plan()
	}
}

// resume lets it go on.
func (h *host) resume() {
	if h.stopped {
		h.w.trace("host %d goes on", h.id)
		h.stopped = false
		h.look(false)
	}
}

// The ways to die.
const (
	dieOutside = iota // between two calls
	dieReading        // in the middle of a step that reads
	dieWriting        // … that writes
	dieSoon           // at some call of the driver, in the middle of anything
)

// doom is the death that awaits an application: after so many deeds of its
// programs, or so many calls of its driver.
type doom struct {
	how     int
	deeds   int // 0: none awaits it
	garbage byte
}

// kill kills the application, or dooms it.
func (h *host) kill(r *rand.Rand, how int) {
	if h.dead || h.w.healed {
		return
	}
	switch how {
	case dieSoon:
		h.drv.death = 1 + r.IntN(3000)
	case dieReading, dieWriting:
		h.doom = doom{how: how, deeds: 1 + r.IntN(50), garbage: byte(r.IntN(256))}
	default:
		h.die()
		h.look(true)
	}
}

// mayDie counts a deed of socket s, which is about to read or to write b, down to
// the death of its application in the middle of it.
func (h *host) mayDie(s *socket, how int, b []byte) {
	if h.doom.deeds == 0 || h.doom.how != how {
		return
	}
	if h.doom.deeds--; h.doom.deeds > 0 {
		return
	}
	h.w.trace("host %d dies with socket %d", h.id, s.i)
	if how == dieReading {
		h.top.DieReading(s.i, h.doom.garbage)
	} else {
		h.top.DieWriting(s.i, b, h.doom.garbage)
	}
	panic(died{})
}

// die is the end of the application: the child hears of it and goes on alone.
func (h *host) die() {
	h.w.trace("host %d is dead", h.id)
	h.dead, h.stopped = true, false
	h.drv.death, h.doom = 0, doom{}
	for _, s := range h.sockets {
		if s != nil {
			s.talk.excuse = "a program was killed"
			s.out.ended = true
			h.remove(s)
		}
	}
	for _, t := range h.w.order { // those that were never accepted
		if t.ends[1] == nil {
			t.excuse = "a program was killed"
		}
	}
	h.bottom.ProgramEnded(func() bool { return true })
}
