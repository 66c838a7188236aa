package ring

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// kept returns what a child leaves with the server of circuit i of s.
func (s *side) kept(t *testing.T, i uint16) []int {
	t.Helper()
	p, err := PeerFrom(s.at(i).peerFiles())
	if err != nil {
		t.Fatal(err)
	}
	return dupEach(t, s.Kept(i, p))
}

func TestASuccessorRestoresCircuits(t *testing.T) {
	a, b := newPair(t, false)
	b.send(b.inline([]byte("before"), nil))
	next := topOf(t, a) // another process on the same segment
	if next.Has(0) || next.Restore(0, b.VCI()+1, a.kept(t, 0)) || next.Restore(1, b.VCI(), a.kept(t, 0)) {
		t.Error("restored what is not there")
	}
	if next.Restore(0, b.VCI(), a.kept(t, 0)[:4]) {
		t.Error("restored from 4 descriptors")
	}
	files := a.kept(t, 0)
	if !next.Restore(0, b.VCI(), files) || !next.Usable(0) || next.Remote(0) != b.VCI() {
		t.Fatal("not restored")
	}
	next.want(t, []byte("before"))
	next.send(next.inline([]byte("after"), nil))
	b.want(t, []byte("after"))
	if lost := next.Orphaned(); len(lost) != 0 {
		t.Errorf("circuits to %v are closed", lost)
	}
}

// A child that dies between taking the peer's half and saying so leaves a circuit
// that is only offered, but all that is needed.
func TestASuccessorCompletesACircuit(t *testing.T) {
	a, b := newPair(t, false)
	a.states[0].State.Store(circuitOffered)
	next := topOf(t, a)
	if !next.Restore(0, b.VCI(), a.kept(t, 0)) || !next.Usable(0) {
		t.Error("not up")
	}
}

func TestCircuitsThatCannotBeRestoredAreClosed(t *testing.T) {
	a, b := newPair(t, false)
	next := topOf(t, a)
	lost := next.Orphaned()
	if len(lost) != 1 || next.Remote(lost[0]) != b.VCI() || next.Usable(0) {
		t.Errorf("closed those to %v", lost)
	}
	if _, _, ok := next.Find(b.VCI()); ok {
		t.Error("a new circuit is not made")
	}
	next.Collect()
	if next.states[0].State.Load() != circuitFree {
		t.Error("it is not free, though nobody uses it")
	}
}

// A host whose server has died keeps its ring id as long as somebody has a copy of
// its lock, and gets it back.
func TestAHostComesBackToItsRingID(t *testing.T) {
	dir, in := t.TempDir(), newInbox()
	other := join(t, dir, newInbox(), addr(9)) // has id 0
	first := join(t, dir, in, addr(1), addr(2))
	id := first.RingID()
	fd, err := unix.FcntlInt(uintptr(first.Lock()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The server dies: nothing is removed.
	first.lis.Close()
	first.self.lock.Close()
	if _, err := Join(dir, []netip.Addr{addr(1)}, in.handle); err == nil {
		t.Error("another host has got the address")
	}
	between := join(t, dir, newInbox(), addr(3))
	if between.RingID() == id {
		t.Error("another host has got the ring id")
	}
	lock := os.NewFile(uintptr(fd), "lock")
	again, err := Rejoin(dir, []netip.Addr{addr(1), addr(4)}, in.handle, lock)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.RingID() != id {
		t.Errorf("ring id %d, before it was %d", again.RingID(), id)
	}
	if r, ok := other.Route(addr(4)); !ok || r != id {
		t.Errorf("the way to its new address: %d, %v", r, ok)
	}
	if err := other.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(int(other.RingID()), 1), Dst: wire.NewVCI(int(id), 1)}); err != nil {
		t.Error(err)
	}
	in.want(t, FrameDetach, wire.NewVCI(int(other.RingID()), 1))
	// The lock of another ring's id is none here.
	stranger := join(t, t.TempDir(), newInbox(), addr(1))
	fd, _ = unix.FcntlInt(uintptr(stranger.Lock()), unix.F_DUPFD_CLOEXEC, 0)
	if _, err := Rejoin(dir, []netip.Addr{addr(7)}, in.handle, os.NewFile(uintptr(fd), "lock")); err == nil {
		t.Error("a host of another ring has come back to this one")
	}
}
