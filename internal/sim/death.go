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

// kill kills the application.
func (h *host) kill(r *rand.Rand, how int) {
	if h.dead || h.w.healed {
		return
	}
	s := h.victim(r)
	garbage := byte(r.IntN(256))
	switch {
	case how == dieSoon && !h.stopped:
		h.drv.death = 1 + r.IntN(3000)
		return
	case how == dieReading && s != nil:
		h.w.trace("host %d dies while it reads from socket %d", h.id, s.i)
		h.top.DieReading(s.i, garbage)
	case how == dieWriting && s != nil:
		h.w.trace("host %d dies while it writes to socket %d", h.id, s.i)
		h.top.DieWriting(s.i, make([]byte, 1+r.IntN(5000)), garbage)
	}
	h.die()
	h.look(true)
}

// victim returns a socket in which to die, or nil.
func (h *host) victim(r *rand.Rand) *socket {
	if h.open == 0 {
		return nil
	}
	n := r.IntN(h.open)
	for _, s := range h.sockets {
		if s != nil {
			if n == 0 {
				return s
			}
			n--
		}
	}
	return nil
}

// die is the end of the application: the child hears of it and goes on alone.
func (h *host) die() {
	h.w.trace("host %d is dead", h.id)
	h.dead, h.stopped = true, false
	h.drv.death = 0
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
