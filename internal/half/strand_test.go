package half

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// joinedBy makes the circuit between two hosts, and returns its number at each.
func joinedBy(a, b *host) (ia, ib uint16) {
	ia, memA := a.offer(b)
	ib, memB := b.offer(a)
	a.complete(ia, b.offers(memB))
	b.complete(ib, a.offers(memA))
	return ia, ib
}

// unread is a connection between cb, of b, and cn, of another pool that has got it from
// b's peer, by circuit ib of b's and in of the other's, which b's program has not mapped,
// nor can map while lacks is true: what cn has written lies there.
type unread struct {
	b, n   *host
	cb, cn *Socket
	ib, in uint16
	octets []byte
	lacks  atomic.Bool
}

func newUnread(t *testing.T) *unread {
	t.Helper()
	arrange(t, SetChildTakes)
	u := &unread{octets: octets(8, 200_000)}
	a, b := newHosts(t, SpinOff)
	u.b, u.n = b, newHost(t, 3, SpinOff)
	u.n.slow = func(ip []byte) { b.bottom.Arrive(ip, pool.NoCircuit) }
	ca, cb := joined(t, a, b, u.n)
	u.cb = cb
	fetch := b.top.fetch
	b.top.fetch = func() error {
		if u.lacks.Load() {
			return syscall.EMFILE
		}
		return fetch()
	}
	u.lacks.Store(true)
	u.in, u.ib = joinedBy(u.n, b)
	u.cn = moved(t, a, u.n, ca)
	if !b.bottom.Reroute(u.cn.turned(), 0, u.ib) {
		t.Fatal("the peer has no such connection")
	}
	u.n.waitFor(t, func(h *Half) bool { return h.aux[u.cn.i].circuit == u.in })
	check2(t)(u.cn.Write(u.octets))
	b.waitFor(t, func(h *Half) bool { return int(h.conns[cb.i].RcvQ.Bytes) == len(u.octets) })
	return u
}

// end ends the circuit at both ends; what its other end says goes through the servers.
func (u *unread) end() {
	u.n.bottom.Change(func() { u.n.drv.Close(u.b.vci) })
	u.b.bottom.Change(func() {
		u.b.drv.Close(u.n.vci)
		u.b.bottom.Prod(u.ib)
	})
}

// wantWritten writes at the end whose program lacks the circuit.
func (u *unread) wantWritten(t *testing.T) {
	t.Helper()
	said := octets(9, 100_000)
	check2(t)(u.cb.Write(said))
	wantRead(t, u.cn, said)
}

// wantLegible reads what lies in the circuit.
func (u *unread) wantLegible(t *testing.T) {
	t.Helper()
	wantRead(t, u.cb, u.octets)
	u.b.audited(t)
}

// A circuit may end before a program that was busy has seen it: what has come by it can
// be read nevertheless, and the connection goes on through the servers.
func TestCircuitEndsBeforeTheProgramHasSeenIt(t *testing.T) {
	u := newUnread(t)
	u.end()
	u.lacks.Store(false)
	u.wantLegible(t)
	u.wantWritten(t)
}

// A program that can't map a circuit writes nevertheless. What lies there it can't read,
// as long as that is so.
func TestProgramThatCannotMapACircuit(t *testing.T) {
	for _, ended := range []bool{false, true} {
		u := newUnread(t)
		if ended {
			u.end()
		}
		u.wantWritten(t)
		if _, err := u.cb.Read(make([]byte, 1)); err != syscall.EIO {
			t.Errorf("read what can't be reached: %v", err)
		}
		u.lacks.Store(false)
		u.wantLegible(t)
	}
}

// A circuit whose other half is lost is left by its connections, which another one to the
// same pool takes; what lies in it stays. A connection that has gone elsewhere, or goes
// by another circuit, is not concerned.
func TestStranded(t *testing.T) {
	u := newUnread(t)
	var flows []wire.Flow
	u.n.bottom.Change(func() { u.n.drv.Close(u.b.vci) })
	u.b.bottom.Change(func() {
		if other := u.b.bottom.Strand(u.ib + 1); len(other) != 0 {
			t.Errorf("%v were stranded with another circuit", other)
		}
		u.b.drv.Close(u.n.vci)
		flows = u.b.bottom.Strand(u.ib)
		u.b.drv.Collect()
	})
	if len(flows) != 1 || flows[0] != u.cb.Flow() {
		t.Fatalf("stranded are %v", flows)
	}
	u.wantWritten(t)
	u.n.bottom.Change(func() { u.n.bottom.Strand(u.in) })
	in, ib := joinedBy(u.n, u.b)
	if !u.b.bottom.Reroute(flows[0], pool.NoCircuit, ib) {
		t.Fatal("the connection has a circuit")
	}
	u.n.waitFor(t, func(h *Half) bool { return h.aux[u.cn.i].circuit == in })
	u.lacks.Store(false)
	u.wantLegible(t)
	u.wantWritten(t)
	check(t, errors.Join(u.cb.Close(), u.cn.Close()))
}
