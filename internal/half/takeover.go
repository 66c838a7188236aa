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
// has died. What that was at is undone, wherever it was; what the program has reserved
// and copies to without the lock stays its own. known is all that the server knows of
// this segment; what of it belongs to no socket is returned, to be given back. dead
// reports whether the application is no more.
func (b *Bottom) TakeOver(known []Known, dead func() bool) (lost []Known) {
	b.mu.Lock()
	if !b.lock.Inherit() {
		for !b.lock.Lock(lockBound) {
			if dead() && b.lock.Seize() {
				break
			}
		}
	}
	b.entered()
	defer b.leave()
	for i := range min(b.ctl.conns.Fresh, MaxConns) {
		if b.aux[i].use != useFree {
			b.aux[i].registered = 0
		}
	}
	for _, k := range known {
		if !b.recognise(k) {
			lost = append(lost, k)
		}
	}
	r := keepReserved
	if dead() {
		r = dropReserved
	}
	b.repair(r) // also puts those into the list that were on their way to the server
	return lost
}

// recognise notes for the socket that something belongs to that the server knows
// of it. The hash chains are not to be trusted yet.
func (b *Bottom) recognise(k Known) bool {
	i := k.Socket
	if i >= min(b.ctl.conns.Fresh, MaxConns) || b.aux[i].use == useFree {
		if k.What == RegisteredBind {
			return false
		}
		if i = b.search(&k.Flow); i == none {
			return false
		}
	}
	b.aux[i].registered |= uint8(k.What)
	return true
}

// search is lookup without the hash chains.
func (b *Bottom) search(flow *wire.Flow) uint32 {
	for i := range min(b.ctl.conns.Fresh, MaxConns) {
		if b.aux[i].use != useFree && b.conns[i].Flow == *flow {
			return i
		}
	}
	return none
}

// Begun reports whether the active open of socket i, which the program has asked
// for, has begun.
func (b *Bottom) Begun(i uint32, flow wire.Flow) (begun bool) {
	b.Change(func() {
		begun = i < MaxConns && b.aux[i].use == useProgram && b.conns[i].Flow == flow && (b.conns[i].State != tcp.Closed || b.conns[i].Error != tcp.ErrNone)
	})
	return begun
}
