package ring

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// topOf returns the driver of the top half beside s: of the same segment.
func topOf(t *testing.T, s *side) *side {
	t.Helper()
	d, err := NewDriver(s.seg, s.vci)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range *d.circuits.Load() {
			if c != nil {
				c.unmap()
			}
		}
	})
	return &side{Driver: d, seg: s.seg, bell: s.bell, doors: s.doors}
}

func dupEach(t *testing.T, fds []int) (out []int) {
	t.Helper()
	for _, fd := range fds {
		out = append(out, dupFd(t, fd))
	}
	return out
}

func wantClosed(t *testing.T, what string, fds []int) {
	t.Helper()
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("%s: descriptor %d stays open", what, fd)
		}
	}
}

// What one half takes the other can give back: both have the circuit mapped.
func TestBothHalvesUseACircuit(t *testing.T) {
	a, b := newPair(t, false)
	top := topOf(t, a)
	if !top.Changed() || top.Changed() || top.Pending() {
		t.Error("the top half notices what has changed once")
	}
	if m := top.Missing(nil); len(m) != 1 || m[0] != 0 || top.Mapped(0) {
		t.Fatalf("missing %v", m)
	}
	if err := top.Map(0, dupEach(t, a.Files(0))); err != nil {
		t.Fatal(err)
	}
	if len(top.Missing(nil)) != 0 || !top.Usable(0) {
		t.Error("mapped, and still missing")
	}
	b.send(b.pieces(t, []byte("1"), []byte("x")), b.pieces(t, []byte("2"), []byte("y")))
	p := a.want(t, []byte("1x"))
	a.flush()
	q := top.want(t, []byte("2y"))
	top.free(p)
	top.flush()
	a.free(q)
	a.flush()
	b.reclaim(b.at(0))
	if b.at(0).st.IDs.Free != PDUs {
		t.Errorf("%d identifiers free", b.at(0).st.IDs.Free)
	}
	top.send(top.inline([]byte("from the top"), nil))
	a.send(a.inline([]byte("from the bottom"), nil))
	b.want(t, []byte("from the top"))
	b.want(t, []byte("from the bottom"))
}

func TestFindAndUp(t *testing.T) {
	a, b := newPair(t, false)
	if i, up, ok := a.Find(rightVCI); i != 0 || !up || !ok {
		t.Errorf("circuit %d, up %v, there %v", i, up, ok)
	}
	i, _ := a.offer(t, wire.NewVCI(5, 5))
	if k, up, ok := a.Find(wire.NewVCI(5, 5)); k != i || up || !ok {
		t.Errorf("offered: circuit %d, up %v, there %v", k, up, ok)
	}
	if a.Mapped(i) || a.Usable(i) || a.Room(i) != 0 || a.Files(i) != nil {
		t.Error("an offered circuit is of use")
	}
	if _, _, ok := a.Find(wire.NewVCI(5, 6)); ok {
		t.Error("a circuit to nobody")
	}
	if up := a.Up(); len(up) != 1 || up[0] != rightVCI || a.VCI() != leftVCI {
		t.Errorf("up: %v", up)
	}
	if b.Changed() {
		t.Error("b's circuits have not changed")
	}
}

// A dead circuit is collected when no connection uses it, and its place is used
// again, as another generation: what was mapped of the old one is of no use.
func TestGenerations(t *testing.T) {
	a, b := newPair(t, false)
	top := topOf(t, a)
	if err := top.Map(0, dupEach(t, a.Files(0))); err != nil {
		t.Fatal(err)
	}
	top.Changed()
	a.Use(0, 2)
	p := a.pieces(t, []byte("1"), []byte("x"))
	a.Send(p) // not shown: the flush comes too late
	a.Close(rightVCI)
	if a.Usable(0) || a.Room(0) != 0 || !a.Mapped(0) || !top.Changed() {
		t.Error("a dead circuit is of use, or nobody notices")
	}
	a.Collect()
	a.Use(0, -1)
	a.Collect()
	if !a.Mapped(0) {
		t.Error("collected while a connection used it")
	}
	a.Use(0, -1)
	a.Collect()
	if a.Mapped(0) || top.Mapped(0) || a.Octets(pool.TxRegion(0)) != nil {
		t.Error("not collected")
	}
	a.flush()
	b.wantNothing(t)
	top.Prune()

	c := newSide(t, wire.NewVCI(4, 4), false)
	ia, ic := joinPools(t, a, c)
	if ia != 0 || ic != 0 {
		t.Fatalf("circuits %d and %d, want the free place", ia, ic)
	}
	if top.Mapped(0) || top.Usable(0) {
		t.Error("the old mapping passes for the new circuit's")
	}
	if err := top.Map(0, dupEach(t, a.Files(0))); err != nil {
		t.Fatal(err)
	}
	c.send(c.inline([]byte("new"), nil))
	top.want(t, []byte("new"))
	if n := a.at(0).bufs.Used(); n != 0 || a.at(0).st.IDs.Free != PDUs {
		t.Errorf("the new circuit begins with %d buffers in use, %d identifiers", n, a.at(0).st.IDs.Free)
	}
}

func TestTooManyPeers(t *testing.T) {
	a := newSide(t, leftVCI, false)
	for i := range MaxCircuits {
		a.states[i].State.Store(circuitUp)
	}
	mem, err := a.NewMemory(rightVCI)
	if err != nil {
		t.Fatal(err)
	}
	fd := mem.Fd()
	if _, err := a.Offer(rightVCI, mem); !errors.Is(err, ErrCircuits) {
		t.Errorf("offered: %v", err)
	}
	wantClosed(t, "memory without a circuit", []int{fd})
}

// What a peer offers is checked, and what is refused is closed.
func TestOffersAreChecked(t *testing.T) {
	memory := func(t *testing.T, specs ...shm.Spec) int {
		s, err := shm.Create("forged", Version, specs...)
		if err != nil {
			t.Fatal(err)
		}
		return s.Fd()
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, p *Peer)
		want   string
	}{
		{"memory of another VCI", func(t *testing.T, p *Peer) {
			mem, err := newSide(t, wire.NewVCI(9, 9), false).NewMemory(leftVCI)
			if err != nil {
				t.Fatal(err)
			}
			p.Memory = mem.Fd()
		}, "VCI"},
		{"memory that is none", func(t *testing.T, p *Peer) { p.Memory = dupFd(t, p.Top) }, "not a memfd"},
		{"memory without slots", func(t *testing.T, p *Peer) { p.Memory = memory(t, shm.SpecOf[end](secEnd, 1)) }, "no section"},
		{"memory with few slots", func(t *testing.T, p *Peer) {
			specs := endSpecs()
			specs[1].Count--
			p.Memory = memory(t, specs...)
		}, "circuit memory of the peer"},
		{"a bell without a bell", func(t *testing.T, p *Peer) { p.Bell = memory(t, shm.SpecOf[uint32](SectionBell, 1)) }, "section 1 has elements"},
		{"a bell that is none", func(t *testing.T, p *Peer) { p.Bell = dupFd(t, p.Top) }, "not a memfd"},
		{"no doorbell of the top half", func(t *testing.T, p *Peer) { unix.Close(p.Top); p.Top = -1 }, "doorbell"},
		{"no doorbell of the bottom half", func(t *testing.T, p *Peer) { unix.Close(p.Bottom); p.Bottom = -1 }, "doorbell"},
	} {
		a, b := newSide(t, leftVCI, false), newSide(t, rightVCI, false)
		i, _ := a.offer(t, rightVCI)
		_, memB := b.offer(t, leftVCI)
		p := b.offers(t, memB)
		c.change(t, &p)
		if err := a.Complete(i, p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		wantClosed(t, c.name, []int{p.Memory, p.Bell, p.Top, p.Bottom})
		if a.Mapped(i) || a.Usable(i) {
			t.Errorf("%s: the circuit is of use", c.name)
		}
		if err := a.Complete(i, b.offers(t, memB)); err != nil || !a.Usable(i) {
			t.Errorf("%s: the right offer afterwards: %v", c.name, err)
		}
	}
}

func TestCompleteOfWhatWasNotOffered(t *testing.T) {
	a, b := newPair(t, false)
	for _, i := range []uint16{0, 1, MaxCircuits, pool.NoCircuit} {
		p := b.offers(t, b.at(0).own)
		if err := a.Complete(i, p); err == nil {
			t.Errorf("circuit %d completed", i)
		}
		wantClosed(t, "not offered", p.Files())
	}
	if !a.Usable(0) {
		t.Error("the circuit that was up is not any more")
	}
}

func TestMapChecks(t *testing.T) {
	a, _ := newPair(t, false)
	top := topOf(t, a)
	for _, c := range []struct {
		name string
		i    uint16
		fds  []int
	}{
		{"too few descriptors", 0, dupEach(t, a.Files(0)[:4])},
		{"too many", 0, dupEach(t, append(a.Files(0), a.doors[0].Fd()))},
		{"no such circuit", MaxCircuits, dupEach(t, a.Files(0))},
		{"own memory that can't be written", 0, func() []int {
			fds := dupEach(t, a.Files(0))
			unix.Close(fds[0])
			fds[0], _ = a.at(0).own.ReadOnly()
			return fds
		}()},
		{"own memory that is none", 0, func() []int {
			fds := dupEach(t, a.Files(0))
			unix.Close(fds[0])
			fds[0] = dupFd(t, a.doors[0].Fd())
			return fds
		}()},
	} {
		if err := top.Map(c.i, c.fds); err == nil || top.Mapped(0) {
			t.Errorf("%s: %v, mapped %v", c.name, err, top.Mapped(0))
		}
		wantClosed(t, c.name, c.fds)
	}
	if _, err := PeerFrom([]int{1, 2, 3}); err == nil {
		t.Error("an offer of three descriptors")
	}
}

func TestSegmentOfAnotherLayout(t *testing.T) {
	specs := Specs()
	specs[0].Count = 5
	s, err := shm.Create("other", 1, specs...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := NewDriver(s, leftVCI); !errors.Is(err, shm.ErrLayout) {
		t.Errorf("fewer circuits: %v", err)
	}
	e, err := shm.Create("empty", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := NewDriver(e, leftVCI); !errors.Is(err, shm.ErrLayout) {
		t.Errorf("an empty segment: %v", err)
	}
	if err := Initialise(e, false); !errors.Is(err, shm.ErrLayout) {
		t.Errorf("an empty segment is initialised: %v", err)
	}
}

// A half that closes a connection whose circuit it never mapped can't tell the
// peer: the other half does, at its next turn.
func TestAReleaseWithoutTheMappingIsToldByTheOtherHalf(t *testing.T) {
	a, b := newPair(t, false)
	a.send(a.pieces(t, []byte("1"), []byte("x")))
	p := b.want(t, []byte("1x"))
	mapped := (*b.circuits.Load())[0]
	b.install(0, nil) // as in a process that has not fetched it yet
	b.Release(0, p.ID, int(p.NPieces))
	if n := mapped.ownEnd.released.Load(); n != 0 {
		t.Fatalf("%d told without a mapping", n)
	}
	b.install(0, mapped)
	b.Notice()
	b.flush()
	a.reclaim(a.at(0))
	if n := a.at(0).bufs.Used(); n != 0 {
		t.Errorf("%d buffers of the sender still in use", n)
	}
}

// What is to be mapped: circuits that are up, and those that were, as long as octets of a
// connection may lie there. Each use of a place has another number.
func TestMissing(t *testing.T) {
	a, b := newPair(t, false)
	top := topOf(t, a)
	a.offer(t, wire.NewVCI(5, 5))
	was := top.Generation(0)
	a.Use(0, 1)
	a.Close(b.vci)
	if m := top.Missing(nil); len(m) != 1 || m[0] != 0 {
		t.Errorf("missing %v, want the dead one that is in use", m)
	}
	if err := top.Map(0, dupEach(t, a.Files(0))); err != nil || len(top.Missing(nil)) != 0 {
		t.Errorf("missing %v after %v", top.Missing(nil), err)
	}
	a.Use(0, -1)
	next := topOf(t, a)
	if m := next.Missing(nil); len(m) != 0 {
		t.Errorf("missing %v, though nobody uses it", m)
	}
	a.Collect()
	if top.Generation(0) == was {
		t.Error("its place has no other number")
	}
}

// An offer is known by its memory, not by its descriptors.
func TestWhatIsOffered(t *testing.T) {
	a, b := newSide(t, leftVCI, false), newSide(t, rightVCI, false)
	i, mem := a.offer(t, rightVCI)
	_, theirs := b.offer(t, leftVCI)
	other, err := b.NewMemory(leftVCI)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	p := b.offers(t, theirs)
	if !a.Offers(rightVCI, mem) || a.Offers(rightVCI, theirs) || a.Offers(wire.NewVCI(5, 5), mem) || a.Knows(i, p) {
		t.Error("before it was answered")
	}
	if err := a.Complete(i, b.offers(t, theirs)); err != nil {
		t.Fatal(err)
	}
	q := b.offers(t, other)
	if a.Offers(rightVCI, mem) || !a.Knows(i, p) || a.Knows(i, q) || a.Knows(i, Peer{-1, -1, -1, -1}) {
		t.Error("after it was answered")
	}
	p.Close()
	q.Close()
}
