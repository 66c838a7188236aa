package ring

import (
	"slices"
	"sync/atomic"

	"usertcp/internal/shm"
)

// A pool may have a thousand circuits, one for each program that its program talks to, and
// mostly few of them are busy. A look at one is five lines of memory, some of which the peer
// writes. So who looks often, in each call and each turn (Glance, Notice, Receive), looks each
// time at the circuits by which something has come or left lately, which are warm, and of the
// others at a few, by turns. Nobody goes to sleep without a look at all of them (Pending,
// Arm): a cold circuit by which something has come is left in found then, which the next turn
// takes up.

const (
	fewCircuits = 4       // as many are looked at each time, warm or not
	coldAtOnce  = 2       // of the others as many are looked at each time, and …
	coldShare   = 32      // … besides one in so many of all
	warmTurns   = 1 << 10 // turns in which nothing comes or leaves by a circuit make it cold
)

// warmth says which circuits are warm. It is changed with Driver.change taken, and read
// without: who reads it meanwhile may miss one, as if it were cold.
type warmth struct {
	list  [MaxCircuits]atomic.Pointer[circuit]
	n     atomic.Uint32
	found atomic.Pointer[circuit] // is cold, and something is to be done about it
	scan  atomic.Uint32           // where in the list of all the next look at cold ones begins
}

// wants reports whether something is to be done about a circuit. It needs no lock.
func (c *circuit) wants() bool {
	if c.st.State.Load() != circuitUp {
		return false
	}
	shm.Step()
	return c.peerEnd.counts.sent() != c.ownEnd.counts.seen() || c.seenEnough() || c.hasReleased()
}

// Pending implements pool.Driver.
func (d *Driver) Pending() bool {
	return d.control.changes.Load() != d.known.Load() || slices.ContainsFunc(*d.active.Load(), d.finds)
}

// finds reports whether something is to be done about a circuit, and sees to it that the
// next turn does it.
func (d *Driver) finds(c *circuit) bool {
	if !c.wants() {
		return false
	}
	if !c.warm.Load() {
		d.warmth.found.Store(c)
	}
	return true
}

// Arm implements pool.Driver: the bell tells peers who sleeps.
func (d *Driver) Arm() bool { return d.Pending() }

// Glance implements pool.Driver.
func (d *Driver) Glance() bool {
	w := &d.warmth
	active := *d.active.Load()
	if len(active) <= fewCircuits {
		return d.Pending()
	}
	if d.control.changes.Load() != d.known.Load() || w.found.Load() != nil {
		return true
	}
	for i := range w.n.Load() {
		if c := w.list[i].Load(); c != nil && c.wants() {
			return true
		}
	}
	return slices.ContainsFunc(d.someCold(active), d.finds)
}

// someCold returns those of all circuits whose turn it is to be looked at, though they may be
// cold.
func (d *Driver) someCold(active []*circuit) []*circuit {
	n := coldAtOnce + len(active)/coldShare
	from := int(d.warmth.scan.Load())
	if from >= len(active) {
		from = 0
	}
	to := min(from+n, len(active))
	d.warmth.scan.Store(uint32(to))
	return active[from:to]
}

// heat makes a circuit of this process's warm.
func (d *Driver) heat(c *circuit) {
	d.change.Lock()
	defer d.change.Unlock()
	if c.warm.Load() || (*d.circuits.Load())[c.index] != c {
		return
	}
	w := &d.warmth
	n := w.n.Load()
	w.list[n].Store(c)
	w.n.Store(n + 1)
	c.warm.Store(true)
}

// cool makes a circuit cold.
func (d *Driver) cool(c *circuit) {
	d.change.Lock()
	defer d.change.Unlock()
	d.forget(c)
}

// forget is cool for who holds d.change, and for a circuit that goes.
func (d *Driver) forget(c *circuit) {
	w := &d.warmth
	w.found.CompareAndSwap(c, nil)
	if !c.warm.Load() {
		return
	}
	c.warm.Store(false)
	last := w.n.Load() - 1
	for i := range last {
		if w.list[i].Load() == c {
			w.list[i].Store(w.list[last].Load())
		}
	}
	w.n.Store(last)
	w.list[last].Store(nil)
}

// inTurn returns how many circuits have their turn in Receive.
func (d *Driver) inTurn(active []*circuit) int {
	if len(active) <= fewCircuits {
		return len(active)
	}
	return int(d.warmth.n.Load())
}

// turnOf returns the circuit whose turn is the i-th, or nil if it has gone.
func (d *Driver) turnOf(active []*circuit, i int) *circuit {
	if len(active) <= fewCircuits {
		return active[i]
	}
	return d.warmth.list[i].Load()
}

// Notice implements pool.Driver. It is called in each turn.
func (d *Driver) Notice() {
	w := &d.warmth
	if c := w.found.Load(); c != nil {
		w.found.CompareAndSwap(c, nil)
		d.heat(c)
		c.quiet = 0
	}
	active := *d.active.Load()
	if len(active) <= fewCircuits {
		for _, c := range active {
			d.notice(c)
		}
		return
	}
	for i := int(w.n.Load()) - 1; i >= 0; i-- { // one that gets cold has the last in its place
		c := w.list[i].Load()
		if c == nil {
			continue
		}
		d.notice(c)
		if c.quiet++; c.quiet > warmTurns {
			d.cool(c)
		}
	}
	for _, c := range d.someCold(active) {
		if c.wants() && !c.warm.Load() {
			d.heat(c)
			c.quiet = 0
		}
		d.notice(c)
	}
}
