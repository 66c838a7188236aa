package half

import (
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Known is something that the connection server knows of a segment: a local
// address or a connection.
type Known struct {
	What   Registered
	Socket uint32 // of a connection: none that exists if it came in by a listener
	Flow   wire.Flow
}

// TakeOver begins the work of a bottom half whose predecessor on the same segment
// has died. If that had the lock the step in progress is undone. known is all
// that the server knows of this segment; what of it belongs to no socket is
// returned, to be given back. dead reports whether the application is no more.
func (b *Bottom) TakeOver(known []Known, dead func() bool) (lost []Known) {
	b.mu.Lock()
	b.inherit(dead)
	b.now = b.clock()
	for i := range b.ctl.conns.Fresh {
		if b.aux[i].use != useFree {
			b.aux[i].registered = 0
		}
	}
	for _, k := range known {
		if !b.recognise(k) {
			lost = append(lost, k)
		}
	}
	for i := range b.ctl.conns.Fresh {
		if b.aux[i].use == useDone { // it may have been on its way to the server
			b.enlist(listBottom, i)
		}
	}
	b.leave()
	return lost
}

// inherit takes the lock: from the dead predecessor, who is of the same party,
// from the application when it gives it back, or from the application if it is
// dead too.
func (b *Bottom) inherit(dead func() bool) {
	if b.lock.Inherit() {
		b.repair()
		return
	}
	for !b.lock.Lock(lockBound) {
		if dead() && b.lock.Seize() {
			b.repair()
			return
		}
	}
}

// recognise notes for the socket that something belongs to that the server knows
// of it.
func (b *Bottom) recognise(k Known) bool {
	i := k.Socket
	if i >= b.ctl.conns.Fresh || b.aux[i].use == useFree {
		if k.What == RegisteredBind {
			return false
		}
		if i = b.lookup(&k.Flow); i == none {
			return false
		}
	}
	b.aux[i].registered |= uint8(k.What)
	return true
}

// Begun reports whether the active open of socket i, which the program has asked
// for, has begun.
func (b *Bottom) Begun(i uint32, flow wire.Flow) (begun bool) {
	b.Change(func() {
		begun = i < MaxConns && b.aux[i].use == useProgram && b.conns[i].Flow == flow && (b.conns[i].State != tcp.Closed || b.conns[i].Error != tcp.ErrNone)
	})
	return begun
}
