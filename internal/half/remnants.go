package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Remnants returns what is left of the connections when all that there are is in
// TIME-WAIT and the application has ended: then somebody else can keep them, and
// nobody needs this segment any more. As long as there is more it returns none.
func (b *Bottom) Remnants() (rs []tcp.Remnant) {
	b.eachLeft(func(i uint32) bool {
		r, ok := b.remnant(i)
		if rs = append(rs, r); !ok {
			rs = nil
		}
		return ok
	})
	return rs
}

// Lingering is how long a connection stays in TIME-WAIT with a pool whose program has
// ended and which has others still: so long its peer asks for the acknowledgement of its
// FIN by the circuit.
const Lingering = 2 * tcp.Second

// LingeringRemnants returns what is left of connections that have been in TIME-WAIT for
// Lingering, if the application has ended, whatever else there is.
func (b *Bottom) LingeringRemnants() (rs []tcp.Remnant) {
	b.eachLeft(func(i uint32) bool {
		if r, ok := b.remnant(i); ok && r.End <= b.now+tcp.TimeWaitLength-Lingering {
			rs = append(rs, r)
		}
		return true
	})
	return rs
}

// eachLeft calls f with each socket that is there when the application has ended, until
// it returns false.
func (b *Bottom) eachLeft(f func(i uint32) bool) {
	b.Change(func() {
		if !b.ended {
			return
		}
		for i := range min(b.ctl.conns.Fresh, MaxConns) {
			if b.aux[i].use != useFree && !f(i) {
				return
			}
		}
	})
}

// remnant returns what is left of connection i if that is all there is of it.
func (b *Bottom) remnant(i uint32) (tcp.Remnant, bool) {
	r, ok := b.conns[i].Remnant()
	return r, ok && b.aux[i].use == useOrphan
}

// ForgetVacantLeases forgets the blocks of ports on the ring of which no connection has
// one, if the application has ended.
func (b *Bottom) ForgetVacantLeases() {
	b.Change(func() {
		if l := &b.ports.onRing; b.ended && l.n > 0 {
			b.dropIdle(l, LeasePorts)
		}
	})
}

// Resume takes up a connection in TIME-WAIT that another program of the same user has left,
// whose port is lent to this pool: it keeps others with the same ends away for as long as
// it would have there, and one that takes its place follows it. It reports whether there
// was room for it, and it can be one.
func (b *Bottom) Resume(r *tcp.Remnant) (ok bool) {
	b.Change(func() {
		var c tcp.Conn
		if !r.Restore(&c, b.now) || b.lookup(&r.Flow) != none {
			return
		}
		i := b.allocConn(useOrphan)
		if i == none {
			return
		}
		*b.begin(i) = c
		b.insert(i)
		b.setCircuit(i, pool.NIC)
		b.commit(i)
		ok = true
	})
	return ok
}

// Ripest returns what is left of the connection that has been in TIME-WAIT longest, of those
// that the program has opened by asking and closed, if its port is of use for one to remote,
// from local if that is given: if it went there and its port may be used again, or else if
// it went elsewhere.
func (b *Bottom) Ripest(local wire.Addr, remote wire.Endpoint) (ripest tcp.Remnant, ok bool) {
	b.Change(func() {
		there := false
		for i := range min(b.ctl.conns.Fresh, MaxConns) {
			f := &b.conns[i].Flow
			is := f.Remote == remote
			if Registered(b.aux[i].registered) != RegisteredFlow || !local.IsZero() && f.Local.Addr != local ||
				is && !b.conns[i].MayReuse(b.now, reuseAfter) || there && !is {
				continue
			}
			if r, left := b.remnant(i); left && (!ok || is && !there || r.End < ripest.End) {
				ripest, ok, there = r, true, is
			}
		}
	})
	return ripest, ok
}

// Retire ends a connection in TIME-WAIT whose remnant somebody else keeps.
func (b *Bottom) Retire(flow wire.Flow) {
	b.Change(func() {
		if i := b.lookup(&flow); i != none && b.conns[i].State == tcp.TimeWait {
			b.fail(i, tcp.ErrNone)
		}
	})
}
