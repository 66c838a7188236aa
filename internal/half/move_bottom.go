package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Departure is a connection that has gone to another pool, and whose peer sends by a
// circuit to this one.
type Departure struct {
	Flow    wire.Flow
	To      wire.VCI
	Circuit uint16
}

// Mover is an Outside that tells peers of departures. Without one they do not hear of
// them.
type Mover interface {
	// Moved is called without the lock, and again when the peer does not seem to know.
	Moved(Departure)
}

// Claim is a connection or listener that has come from another pool, where it was
// socket Origin, and that the connection server knows nothing of.
type Claim struct {
	Socket  uint32
	Flow    wire.Flow
	Listens bool
	From    wire.VCI
	Origin  uint32
}

// bid notes that somebody wants to be told where connection i has gone.
func (b *Bottom) bid(i uint32) {
	told, known := b.graves[i]
	if known && b.now-told < tellAgain {
		return
	}
	if b.graves == nil {
		b.graves = map[uint32]tcp.Time{}
	}
	b.graves[i] = b.now
	a, f := &b.aux[i], b.conns[i].Flow
	if int(a.circuit) < pool.NIC && f.Remote.Port != 0 && a.pool != 0 {
		b.moves = append(b.moves, Departure{f, wire.VCI(a.pool - 1), a.circuit})
	}
}

// decay forgets connections that have gone elsewhere long ago. One whose port is
// leased to this pool is remembered as long as there is a program that could use the
// port, or until the server says that it is over.
func (b *Bottom) decay() {
	for i := range b.graves {
		a := &b.aux[i]
		if a.use != useMoved {
			delete(b.graves, i)
			continue
		}
		lent := a.registered == 0 && a.accepted == 0 && !b.ended
		if !lent && a.born+graveTime <= uint32(b.now/tcp.Second) {
			delete(b.graves, i)
			b.close(i)
		}
	}
}

// Over notes that a connection that has gone elsewhere has ended there.
func (b *Bottom) Over(flow wire.Flow) {
	b.Change(func() {
		if i := b.lookup(&flow); i != none && b.aux[i].use == useMoved {
			b.aux[i].accepted = 1
		}
	})
}

// Unclaimed returns what has come from other pools and is not claimed.
func (b *Bottom) Unclaimed() (list []Claim) {
	b.Change(func() {
		for i := range min(b.ctl.conns.Fresh, MaxConns) {
			a, c := &b.aux[i], &b.conns[i]
			if a.pool == 0 || a.use == useFree || a.use == useMoved || a.use == useDone || c.State == tcp.Closed {
				continue
			}
			list = append(list, Claim{i, c.Flow, c.State == tcp.Listen, wire.VCI(a.pool - 1), a.origin})
		}
	})
	return list
}

// Claimed notes what the connection server now knows of a socket that has come from
// another pool. It reports false if that is no more.
func (b *Bottom) Claimed(c Claim, what Registered, mtu uint32) (ok bool) {
	b.Change(func() {
		a := &b.aux[c.Socket]
		if ok = a.pool == uint32(c.From)+1 && a.use != useFree && a.use != useMoved && a.use != useDone && b.conns[c.Socket].Flow == c.Flow; !ok {
			return
		}
		a.pool = 0
		a.registered |= uint8(what)
		if mtu != 0 {
			a.mtu = mtu
		}
	})
	return ok
}

// Reroute makes a connection that went by circuit from go by circuit to, one to the
// pool that has its other end now, and tells the peer by it. It reports false if there
// is none.
func (b *Bottom) Reroute(flow wire.Flow, from, to uint16) (ok bool) {
	b.Change(func() {
		i := b.lookup(&flow)
		ok = i != none && b.aux[i].circuit == from && b.reroute(i, to)
	})
	return ok
}

func (b *Bottom) reroute(i uint32, to uint16) bool {
	if b.aux[i].use == useMoved || !b.keepFormer(i) {
		return false
	}
	b.setCircuit(i, to)
	b.begin(i).Announce()
	b.commit(i)
	return true
}

// Strand takes the connections off a circuit that is no more although its other end is
// there, and returns them: they go through the servers until they get another circuit,
// and their peers are told. It is called by Change.
func (b *Bottom) Strand(circuit uint16) (flows []wire.Flow) {
	for i := range min(b.ctl.conns.Fresh, MaxConns) {
		if b.aux[i].hashed != 0 && b.aux[i].circuit == circuit && b.reroute(i, pool.NoCircuit) {
			flows = append(flows, b.conns[i].Flow)
		}
	}
	return flows
}
