package half

import (
	"errors"
	"runtime"
	"sync/atomic"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// order is what a goroutine that waits to read leaves to whoever takes its packet:
// to read for it, and to wake it when that is done. So it comes back without the
// lock, for which it would have to wait behind all others who have been woken.
type order struct {
	into []byte // nil: nothing has been ordered
	n    int    // octets that have been read, or placed there
	done atomic.Bool
}

// errServed is wait's way to say that the order has been carried out, and that its
// caller has not got the lock.
var errServed = errors.New("served")

// serve reads for who waits at s, and reports whether it has. What is long is left
// to him, who copies it without the lock.
func (t *Top) serve(s *Socket) bool {
	w := &s.rd
	o := &w.order
	if !w.waiting || o.into == nil {
		return false
	}
	if o.n > 0 {
		t.serveOut(w)
		return true
	}
	if s.closing || s.deaf || w.expired() || !t.here(s.i) {
		return false
	}
	have, _ := t.readable(s.i)
	least := min(int(t.conns[s.i].Opt.RcvLowat), len(o.into))
	if have == 0 || have > small || int(have) < least {
		return false
	}
	script := t.copies()
	n := t.peek(s.i, o.into[:min(int(have), len(o.into))], script)
	script.Copy()
	t.copied(script, pool.OpCopyOut)
	t.consume(s.i, n)
	o.n = n
	t.serveOut(w)
	return true
}

// serveOut wakes w, whose order has been carried out.
func (t *Top) serveOut(w *waiter) {
	w.since = t.now
	t.followers.remove(w)
	t.renounce(w)
	w.order.into = nil
	t.wake(w)
	w.order.done.Store(true) // behind wake: who sees it is back, and is not to be counted any more
	t.served++
}

// wakesMax is how many goroutines are woken at once. When the leader has found
// wakesEnough it lets them run: they give the peer something to do meanwhile.
const (
	wakesMax    = 64
	wakesEnough = 32
)

// wakes are those who are to be woken when the lock has been given back: sooner
// they would find it taken, and the runtime may need a system call to wake them.
type wakes struct {
	n  int
	of [wakesMax]*waiter
}

// wake wakes who waits at w, soon.
func (t *Top) wake(w *waiter) {
	if !w.woken.Swap(true) {
		t.coming.Add(1)
	}
	if t.wakes.n == wakesMax {
		w.notify()
		return
	}
	t.wakes.of[t.wakes.n] = w
	t.wakes.n++
}

// take returns those to be woken, and forgets them.
func (w *wakes) take() (all wakes) {
	all.n = copy(all.of[:], w.of[:w.n])
	clear(w.of[:w.n])
	w.n = 0
	return all
}

func (w *wakes) notify() {
	for _, who := range w.of[:w.n] {
		who.notify()
	}
}

// back notes that w's goroutine, which waited, runs. Nobody wakes it any more.
func (t *Top) back(w *waiter) {
	if w.woken.Swap(false) {
		t.coming.Add(-1)
	}
}

// yield lets those run whom somebody has found packets for, before more is looked for:
// they write what would be waited for.
func (t *Top) yield() {
	t.coming.Add(1)
	t.leave()
	runtime.Gosched()
	t.enter()
	t.coming.Add(-1)
	t.woken = false
}

// shareAfter is how long a goroutine that need not wait keeps its processor while others
// of the segment want one. The runtime would come for it after 10 ms.
const shareAfter = 100 * tcp.Microsecond

// share lets those run who want to, if the goroutine that calls for w has had its
// processor for long. It may never wait, since the peer is as fast as it is. With one
// processor it and its peer would have the circuit to themselves for as long as the runtime
// lets them, and others, of which each can do only what lies there when it runs, a small
// part of it.
//
// Who writes may be who reads, and has waited for that; and who has not called for long may
// have waited for something else.
func (s *Socket) share(w *waiter) {
	t := s.t
	if t.now-w.called > shareAfter {
		w.since = t.now
	}
	w.called = t.now
	if t.now-max(s.rd.since, s.wr.since) < shareAfter || t.coming.Load() == 0 {
		return
	}
	t.yield()
	t.now = t.clock()
	w.since, w.called = t.now, t.now
}
