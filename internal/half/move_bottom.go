package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Claim is a connection or listener that has come from another pool, where it was
// socket Origin, and that the connection server knows nothing of.
type Claim struct {
	Socket  uint32
	Flow    wire.Flow
	Listens bool
	From    wire.VCI
	Origin  uint32
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
		if ok = a.pool == uint16(c.From)+1 && a.use != useFree && a.use != useMoved && a.use != useDone && b.conns[c.Socket].Flow == c.Flow; !ok {
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
	if b.aux[i].use == useMoved || !b.keepFormer(i, b.aux[i].circuit) {
		return false
	}
	b.setCircuit(i, to)
	b.begin(i).Announce()
	b.commit(i)
	return true
}

// Leaves reports whether a connection sends nothing by a circuit, and will not again: it
// goes by another way, or is no more.
func (b *Bottom) Leaves(flow wire.Flow, circuit uint16) (ok bool) {
	b.Change(func() {
		i := b.lookup(&flow)
		switch {
		case i == none || b.aux[i].use == useMoved:
			ok = true
		case b.aux[i].circuit == pool.NoCircuit: // or what is on its way here would take it there
			ok = b.keepFormer(i, circuit)
		default:
			ok = b.aux[i].circuit != circuit
		}
	})
	return ok
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
