package half

import (
	"slices"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// The slot of a connection that has gone to another pool is its grave: what still comes
// for it is passed over and not answered with RST, and whoever sends it is told where the
// connection is. It stays until nobody can send anything here: the connection server
// knows that the other pool has it (heardServer), and so does the peer's child, which
// says so, or is no more (heardPeer). A circuit that is lost is not enough: the peer makes
// another one to this pool. Either may take its time: the server may be dead, or the
// peer's be, or its child stopped. So that no grave stays for nothing whoever dies
// meanwhile, the server is asked now and then where the connection is; when nobody has
// it, it is over (heardOver).
//
// Graves that wait count as orphans. If there are as many as there may be, those go that
// are older than graveTime.

// What is heard about a connection that has gone: bits of aux.heard.
const (
	heardPeer   = 1 << iota // its child sends nothing more here
	heardServer             // what comes through the servers goes to the other pool
	heardOver               // it has ended there

	// It had come from a third pool, whose peer may have been told to come here by a
	// circuit, and may do so yet.
	mayCome
)

// graveTime is how long a slot remembers its connection at least, and after the last of
// them has heard of it: what was sent before may still be on its way.
const graveTime = 4 // s

// graveOfDead is how long the slot of a dead program's connection remembers it at most:
// its child is not to stay for it alone.
const graveOfDead = 60 // s

// A peer that does not seem to know is told again after tellAgain; where a connection is
// that went away long ago the server is asked first, since it may have gone on, after
// askFor if something has come for it, else after graveTime, and then ever more seldom.
const (
	tellAgain = 5 * tcp.Millisecond
	askFor    = tcp.Second
	askMost   = 5 * 60 * tcp.Second
)

// missTime is how long nobody must have a connection for it to be over: who has it may
// not have claimed it yet.
const missTime = 10 * tcp.Second

// grave is what the child remembers of one beside the segment.
type grave struct {
	gen    uint32
	lent   bool     // its port is leased to this pool
	told   tcp.Time // when its peer was told last
	ask    tcp.Time // when the server is to be asked
	pause  tcp.Time // until it is asked again
	missed tcp.Time // since when nobody has the connection; 0: somebody has
}

// Departure is a connection that has gone to another pool. Its peer sends by a circuit to
// this one, and is to be told. If that is Late the connection may have gone on since: it
// is to be looked for (Found, Missing) first.
type Departure struct {
	Flow    wire.Flow
	To      wire.VCI
	Circuit uint16
	Late    bool
}

// Mover is an Outside that tells peers of departures. Without one they do not hear of
// them.
type Mover interface {
	// Moved is called without the lock, and again when the peer does not seem to know.
	Moved(Departure)
}

// allHeard reports whether all know of connection i, which has gone elsewhere, that can
// send something for it, as far as the segment says.
func (h *Half) allHeard(i uint32) bool {
	a := &h.aux[i]
	return a.heard&heardOver != 0 || a.heard&heardServer != 0 && (a.heard&heardPeer != 0 || !onRing(a.circuit) && a.heard&mayCome == 0)
}

// onRing reports whether a circuit is one of the ring.
func onRing(circuit uint16) bool { return int(circuit) < pool.NIC }

// heard notes that somebody has heard of connection i, which has gone elsewhere.
func (b *Bottom) heard(i uint32, who uint8) {
	a := &b.aux[i]
	if a.heard&who == who {
		return
	}
	a.born = uint32(b.now / tcp.Second) // before it is said: it is no worse for being later
	a.heard |= who
	if b.allHeard(i) {
		b.uncountOrphan(i)
	}
}

// grave returns what the child remembers of slot i.
func (b *Bottom) grave(i uint32) *grave {
	g := b.graves[i]
	if g == nil || g.gen != b.aux[i].gen {
		g = &grave{gen: b.aux[i].gen, lent: b.lends(b.conns[i].Flow.Local.Port), told: -tcp.Second, ask: b.now + graveTime*tcp.Second, pause: graveTime * tcp.Second}
		if b.graves == nil {
			b.graves = map[uint32]*grave{}
		}
		b.graves[i] = g
	}
	return g
}

// isOld reports whether connection i has gone so long ago that nobody knows where it is.
func (b *Bottom) isOld(i uint32) bool { return b.aux[i].born+graveTime <= uint32(b.now/tcp.Second) }

// bid notes that somebody wants to be told where connection i has gone.
func (b *Bottom) bid(i uint32) {
	g, pause := b.grave(i), tellAgain
	if b.isOld(i) {
		pause = askFor
	}
	if b.now-g.told >= pause {
		b.sayMoved(i, g)
	}
}

// sayMoved has the peer of connection i told where it has gone, if it sends by a
// circuit; of one that went long ago the server is asked in any case.
func (b *Bottom) sayMoved(i uint32, g *grave) {
	g.told = b.now
	d, late := b.departure(i), b.isOld(i)
	if d.Flow.Remote.Port != 0 && (late || onRing(d.Circuit)) {
		d.Late = late
		b.moves = append(b.moves, d)
	}
}

func (b *Bottom) departure(i uint32) Departure {
	a := &b.aux[i]
	return Departure{Flow: b.conns[i].Flow, To: wire.VCI(a.pool - 1), Circuit: a.circuit}
}

// decay forgets connections that have gone elsewhere when all know of it that have to,
// and looks after the others.
func (b *Bottom) decay() {
	for i, g := range b.graves {
		switch {
		case b.aux[i].use != useMoved || b.aux[i].gen != g.gen:
			delete(b.graves, i)
		case b.mayForget(i, g):
			delete(b.graves, i)
			b.close(i)
		case b.now >= g.ask:
			g.ask = b.now + g.pause
			g.pause = min(2*g.pause, askMost)
			b.sayMoved(i, g)
		}
	}
}

// mayForget reports whether nothing can come any more for connection i, which has gone
// elsewhere. One whose port is leased to this pool is remembered as long as there is a
// program that could use the port.
func (b *Bottom) mayForget(i uint32, g *grave) bool {
	a := &b.aux[i]
	switch {
	case !b.isOld(i):
		return false
	case a.heard&heardOver != 0:
		return true
	case b.ended && a.born+graveOfDead <= uint32(b.now/tcp.Second):
		return true
	case !b.ended && g.lent:
		return false
	}
	return b.allHeard(i) || b.crowded()
}

// lends reports whether a port is in a block that is lent to this pool.
func (b *Bottom) lends(port uint16) bool {
	return slices.Contains(b.ports.onRing.blocks(), port&^(LeasePorts-1)) || slices.Contains(b.ports.onDevices.blocks(), port&^(DevicePorts-1))
}

// crowded reports whether there are as many orphans or sockets as there may be.
func (b *Bottom) crowded() bool {
	l := &b.ctl.limits
	return l.orphans >= l.maxOrphans || b.ctl.live >= l.sockets
}

// close ends the memory of a connection that has gone elsewhere.
func (h *Half) close(i uint32) {
	h.unhash(i)
	h.finish(i)
}

// graveOf returns the slot of a connection that has gone elsewhere, or none.
func (b *Bottom) graveOf(flow *wire.Flow) uint32 {
	if i := b.lookup(flow); i != none && b.aux[i].use == useMoved {
		return i
	}
	return none
}

// Over notes that a connection that has gone elsewhere has ended there.
func (b *Bottom) Over(flow wire.Flow) {
	b.Change(func() {
		if i := b.graveOf(&flow); i != none {
			b.heard(i, heardOver)
		}
	})
}

// ServerKnows notes that the connection server knows where a connection has gone.
func (b *Bottom) ServerKnows(flow wire.Flow) {
	b.Change(func() {
		if i := b.graveOf(&flow); i != none {
			b.heard(i, heardServer)
		}
	})
}

// PeerKnows notes that a peer knows that a connection has gone to another pool, and sends
// nothing more for it here; at says which circuits lead, or led, to that peer. It is
// counted and reported as false if that is not so, or the connection another peer's.
func (b *Bottom) PeerKnows(flow wire.Flow, to wire.VCI, at func(circuit uint16) bool) (ok bool) {
	b.Change(func() {
		i := b.graveOf(&flow)
		if ok = i != none && b.aux[i].pool == uint16(to)+1 && b.sentBy(i, at); !ok {
			b.ctl.Counters.MovedUnasked++
			return
		}
		b.heard(i, heardPeer)
	})
	return ok
}

// PeerGone notes that nobody will send anything by the circuits of which at is true any
// more. It is called by Change.
func (b *Bottom) PeerGone(at func(circuit uint16) bool) {
	for i := range b.graves {
		if b.aux[i].use == useMoved && b.sentBy(i, at) {
			b.heard(i, heardPeer)
		}
	}
}

// sentBy reports whether the peer of connection i, which has gone elsewhere, sends by one
// of the circuits of which at is true.
func (b *Bottom) sentBy(i uint32, at func(circuit uint16) bool) bool {
	c := b.aux[i].circuit
	return onRing(c) && at(c)
}

// Found notes which pool has a connection that has gone elsewhere, as the connection
// server says. tell says that its peer, who sends by a circuit, is to be told.
func (b *Bottom) Found(flow wire.Flow, at wire.VCI) (d Departure, tell bool) {
	b.Change(func() {
		i := b.graveOf(&flow)
		if i == none {
			return
		}
		b.grave(i).missed = 0
		b.aux[i].pool = uint16(at) + 1
		b.heard(i, heardServer)
		d = b.departure(i)
		tell = onRing(d.Circuit) && b.aux[i].heard&heardPeer == 0
	})
	return d, tell
}

// Missing notes that no pool has a connection that has gone elsewhere, as the connection
// server says. If it has said so for missTime the connection is over.
func (b *Bottom) Missing(flow wire.Flow) {
	b.Change(func() {
		i := b.graveOf(&flow)
		if i == none {
			return
		}
		switch g := b.grave(i); {
		case g.missed == 0:
			g.missed, g.ask = b.now, b.now+missTime
		case b.now-g.missed >= missTime:
			b.heard(i, heardOver)
		}
	})
}
