package half

import (
	"syscall"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Moving is a socket that goes to another segment: From has it, and To, a fresh socket
// of another top half of this process, is to have it. The connections that wait at a
// listener go along.
type Moving struct {
	From, To *Socket
}

// ListenFor makes the socket a listener at the end of another pool's, at, which will be
// moved here.
func (s *Socket) ListenFor(of *Socket, at wire.VCI) {
	var opt tcp.ConnOptions
	var flow wire.Flow
	var backlog uint32
	first, second, keyed := of.FastOpenKeys()
	of.t.Change(func() {
		h := &of.t.Half
		opt, flow, backlog = h.conns[of.i].Opt, h.conns[of.i].Flow, h.aux[of.i].backlog
	})
	t := s.t
	t.enter()
	defer t.leave()
	t.now = t.clock()
	a := &t.aux[s.i]
	a.origin, a.pool, a.quiet = of.i, uint16(at)+1, uint32(t.now/tcp.Second)+quietTime
	t.begin(s.i).Opt = opt
	t.end(s.i)
	t.listen(s.i, flow.Local, backlog)
	if keyed {
		t.setFastKeys(s.i, first, second) // a fresh segment has room for them
	}
	t.settle()
}

// TakeBack undoes ListenFor: the socket, a listener, has the local end again that of, at
// the pool at, has got.
func (s *Socket) TakeBack(of *Socket, at wire.VCI) {
	s.t.enter()
	a := &s.t.aux[s.i]
	a.origin, a.pool = of.i, uint16(at)+1
	s.t.leave()
}

// quietTime is how long a listener that has come from another pool does not answer
// what it knows nothing of: it may be for a connection that is about to come, too, or
// for one that stays where the listener was.
const quietTime = 3 // s

// Move moves sockets from one top half to another, all or none; at and there are the
// VCIs of their pools. Calls of the sockets that are in progress end with os.ErrClosed,
// as will later ones of From. The errors are EBADF (a socket is closed), EIO (octets
// that can't be reached) and ENOBUFS.
func Move(from, to *Top, at, there wire.VCI, sockets []Moving) error {
	for n, m := range sockets {
		if !m.From.hold(from) {
			for _, held := range sockets[:n] {
				held.From.letGo(from, false)
			}
			return syscall.EBADF
		}
	}
	err := moveHeld(from, to, at, there, sockets)
	for _, m := range sockets {
		m.From.letGo(from, err == nil)
	}
	return err
}

// hold ends the calls that are in progress and lets none begin. It reports false,
// and has done nothing, if the socket is closed.
func (s *Socket) hold(t *Top) bool {
	t.enter()
	ok := s.t == t && !s.closing && !t.closed && int(s.i) < len(t.sockets) && t.sockets[s.i] == s
	if ok {
		s.turnOut()
	}
	t.leave()
	if ok {
		s.rmu.Lock()
		s.wmu.Lock()
		s.umu.Lock()
	}
	return ok
}

// letGo ends hold; the socket has gone, or is what it was.
func (s *Socket) letGo(t *Top, gone bool) {
	t.enter()
	if gone {
		for _, w := range []*waiter{&s.rd, &s.wr, &s.ur} {
			w.setDeadline(t, time.Time{})
		}
	} else {
		s.closing = false
	}
	t.leave()
	s.umu.Unlock()
	s.wmu.Unlock()
	s.rmu.Unlock()
	if gone {
		s.done.Do(func() {})
	}
}

func moveHeld(from, to *Top, at, there wire.VCI, sockets []Moving) error {
	from.enter()
	for _, m := range sockets {
		from.ensure(m.From.i) // mayMove looks at what came of it
	}
	from.leave()
	// Nobody else has both: the new one is this call's alone.
	to.enter()
	defer to.leave()
	from.enter()
	defer from.leave()
	for n := 0; n < 2 && from.step(); n++ {
		// What lies in the pool need not be sent again.
	}
	to.now = from.now
	if err := mayMove(from, to, sockets); err != nil {
		return err
	}
	for _, m := range sockets {
		from.sockets[m.From.i] = nil
		if from.conns[m.From.i].State == tcp.Listen {
			to.moveListener(m.To.i, &from.Half, m.From.i, at, there)
		} else {
			to.transplant(m.To.i, &from.Half, m.From.i, at)
		}
		from.departTo(m.From.i, there)
	}
	to.settle()
	from.settle()
	return nil
}

// mayMove reports whether all that is to be moved can be read here, and fits there.
func mayMove(from, to *Top, sockets []Moving) error {
	var l load
	slots, reachable := 0, true
	count := func(i uint32) {
		l.add(&from.Half, i)
		reachable = reachable && from.reachable(i)
	}
	for _, m := range sockets {
		count(m.From.i)
		if from.conns[m.From.i].State == tcp.Listen {
			from.eachPending(m.From.i, func(i uint32) {
				count(i)
				slots++
			})
		}
	}
	switch {
	case !reachable:
		return syscall.EIO
	case !l.fits(&to.Half) || slots > int(to.ctl.conns.Free) || uint64(to.ctl.live)+uint64(slots) > uint64(to.ctl.limits.sockets):
		return syscall.ENOBUFS
	}
	return nil
}

// eachPending calls f for the connections that wait at listener l, in the order in
// which they will be accepted, and then for those whose handshake is not complete.
func (h *Half) eachPending(l uint32, f func(i uint32)) {
	at := h.aux[l].acceptHead
	for n := h.aux[l].acceptCount; at != 0 && n > 0; n-- {
		i := at - 1
		at = h.aux[i].acceptNext
		f(i)
	}
	for i := range h.ctl.conns.Fresh {
		if a := &h.aux[i]; a.use == useEmbryo && a.parent == l && a.accepted == 0 {
			f(i)
		}
	}
}

// moveListener moves what waits at listener l of from to listener i, which has been
// listening in its place.
func (h *Half) moveListener(i uint32, from *Half, l uint32, at, there wire.VCI) {
	from.eachPending(l, func(k uint32) {
		e := h.embryo(i, pool.NoCircuit)
		h.transplant(e, from, k, at)
		if h.aux[e].accepted != 0 {
			h.aux[i].embryos--
			h.queueAccept(e)
		}
		from.departTo(k, there)
	})
	la := &from.aux[l]
	la.acceptHead, la.acceptTail, la.acceptCount, la.embryos = 0, 0, 0, 0
}

// Sockets returns how many sockets the program has here.
func (t *Top) Sockets() (n int) {
	t.enter()
	defer t.leave()
	for _, s := range t.sockets {
		if s != nil {
			n++
		}
	}
	return n
}
