package half

import (
	"errors"
	"runtime"
	"sync/atomic"

	"usertcp/internal/pool"
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
	t.followers.remove(w)
	t.renounce(w)
	w.order.into = nil
	w.order.done.Store(true)
	t.wake(w)
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

// yield lets those run whom the leader has found packets for, before it looks for
// more: they write what it would wait for.
func (t *Top) yield() {
	t.leave()
	runtime.Gosched()
	t.enter()
	t.woken = false
}
