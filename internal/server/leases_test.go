package server

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// A block is one child's alone: nobody else gets a port of it, and the child itself
// only without asking.
func TestALeasedBlockIsInUse(t *testing.T) {
	p := hostPorts()
	first, errno := p.lease(childA)
	if errno != 0 || first%ring.LeasePorts != 0 || first < firstEphemeral || first+ring.LeasePorts-1 > lastEphemeral {
		t.Fatalf("lease %d, %v", first, errno)
	}
	in := wire.Endpoint{Addr: wire.AddrFrom(addr1), Port: first + ring.LeasePorts - 1}
	for _, child := range []wire.VCI{childA, childB} {
		if _, errno := p.bind(socketID{child, 1}, in, true); errno != unix.EADDRINUSE {
			t.Errorf("bind by %v: %v", child, errno)
		}
		if _, errno := p.open(socketID{child, 1}, in, ep("10.1.0.9:80")); errno != unix.EADDRINUSE {
			t.Errorf("connection of %v: %v", child, errno)
		}
	}
	if vci, ok := p.owner(wire.Flow{Local: in, Remote: ep("10.1.0.9:80")}); !ok || vci != childA {
		t.Errorf("segments for the block go to %v, %v", vci, ok)
	}
	p.release(childA)
	if _, ok := p.owner(wire.Flow{Local: in, Remote: ep("10.1.0.9:80")}); ok {
		t.Error("the block of a child that has ended is somebody's")
	}
	if _, errno := p.bind(socketID{childB, 1}, in, false); errno != 0 {
		t.Errorf("bind after the child's end: %v", errno)
	}
}

// No block in which a port is in use is leased, one child gets only as many as are left
// for others, and some stay for those who ask.
func TestLeasesRunOut(t *testing.T) {
	p := hostPorts()
	bound := ep("10.1.0.1:40960")
	if _, errno := p.bind(socketID{childB, 1}, bound, false); errno != 0 {
		t.Fatal(errno)
	}
	flow, errno := p.open(socketID{childB, 2}, wire.Endpoint{}, ep("10.1.0.9:80"))
	if errno != 0 {
		t.Fatal(errno)
	}
	got, before := 0, ring.MaxLeases
	for child := childA; got < numBlocks-spareBlocks; child++ {
		n := 0
		for ; ; n++ {
			first, errno := p.lease(child)
			if errno == unix.EADDRNOTAVAIL {
				break
			}
			if errno != 0 || first == blockOf(bound.Port) || first == blockOf(flow.Port) {
				t.Fatalf("lease %d of all: %d, %v", got, first, errno)
			}
			got++
		}
		if left := numBlocks - spareBlocks - got; n == 0 || n > left+2 || n > before {
			t.Fatalf("child %v has %d, the one before %d, %d are left", child, n, before, left)
		}
		before = n
	}
	if _, errno := p.lease(childB + 500); errno != unix.EADDRNOTAVAIL {
		t.Errorf("one more than there are: %v", errno)
	}
}

// What is in TIME-WAIT does not keep a block from being lent: last of all are those in
// which it began last, and none in which it has just begun.
func TestBlocksInTimeWaitAreLentAgain(t *testing.T) {
	p := hostPorts()
	w := &timeWaits{byFlow: make(map[wire.Flow]*tcp.Remnant)}
	p.waiting, p.waitingSince, p.vacate = w.has, w.since, w.vacate
	wait := func(block, port int, ago tcp.Time) {
		r, _ := tcp.ParseRemnant(remnant(t, "10.1.0.1:1", "10.1.0.9:80", 0))
		r.Flow.Local.Port = uint16((firstBlock+block)*ring.LeasePorts + port)
		r.End = clock() + tcp.TimeWaitLength - ago
		w.note(&r, nobody)
	}
	const clean, fresh, oldest = 3, 5, 8
	for block := range numBlocks {
		switch block {
		case clean:
		case fresh:
			wait(block, 77, 0)
		case oldest:
			wait(block, 200, 30*tcp.Second)
		default:
			wait(block, 0, 10*tcp.Second)
			wait(block, ring.LeasePorts-1, 40*tcp.Second) // which does not make it look older
		}
	}
	for n, want := range []int{clean, oldest} {
		if first, errno := p.lease(childA + wire.VCI(n)); errno != 0 || int(first)/ring.LeasePorts-firstBlock != want {
			t.Errorf("lease %d: %d, %v; want block %d", n, first, errno, want)
		}
	}
	if n := w.since(uint16((firstBlock+oldest)*ring.LeasePorts), ring.LeasePorts); n != tcp.TimeWaitLength || len(w.byFlow) != 1+2*(numBlocks-3) {
		t.Errorf("the block that is lent is in TIME-WAIT since %v; %d are in the book", n, len(w.byFlow))
	}
	got := map[uint16]bool{}
	for child := childA + 10; len(got) < numBlocks-spareBlocks-2; child++ {
		first, errno := p.lease(child)
		if errno != 0 || got[first] || int(first)/ring.LeasePorts-firstBlock == fresh {
			t.Fatalf("lease %d: %d, %v", len(got), first, errno)
		}
		got[first] = true
	}
}

// A connection that another child has from a leased port keeps the block from being lent
// to a third one when the lender has ended, on the ring and for the devices.
func TestAMovedConnectionKeepsItsBlock(t *testing.T) {
	p := hostPorts()
	first, errno := p.lease(childA)
	if errno != 0 {
		t.Fatal(errno)
	}
	f := wire.Flow{Local: wire.Endpoint{Addr: wire.AddrFrom(addr1), Port: first + 5}, Remote: ep("10.1.0.9:80")}
	if _, errno := p.claimFlow(socketID{childA, 7}, socketID{childB, 3}, f, childA); errno != 0 {
		t.Fatal(errno)
	}
	p.release(childA)
	lentAgain := func() (ring, device bool) {
		t.Helper()
		var lent []wire.VCI
		for child := childB + 1; ; child++ {
			if _, errno := p.lease(child); errno != 0 {
				break
			}
			lent = append(lent, child)
		}
		_, ring = p.leases[first]
		for _, child := range lent {
			p.release(child)
		}
		for n := wire.VCI(0); ; n++ {
			if _, _, errno := p.reserveBlock(childB+1+n/maxDeviceLeases, 0, nil); errno != 0 {
				break
			}
		}
		device = p.blocks[deviceBlock(first+5)].has(first + 5)
		for n := range wire.VCI(numEphemeral/64/maxDeviceLeases + 1) {
			p.release(childB + 1 + n)
		}
		return ring, device
	}
	p.ports = func() (uint16, uint16) { return first, first + ring.LeasePorts - 1 } // of the devices
	for range 20 {                                                                  // 90 of 109 blocks are lent each time
		if ring, device := lentAgain(); ring || device {
			t.Fatalf("the block of a connection that is there is lent: ring %v, devices %v", ring, device)
		}
	}
	if errno := p.close(childB, f); errno != 0 {
		t.Fatal(errno)
	}
	ring, device := false, false
	for range 60 {
		r, d := lentAgain()
		ring, device = ring || r, device || d
	}
	if !ring || !device {
		t.Errorf("the block is lent again when the connection has ended: ring %v, devices %v", ring, device)
	}
}

// A block that its child gives back is another's, and none that it has not.
func TestABlockIsGivenBack(t *testing.T) {
	p := hostPorts()
	first, errno := p.lease(childA)
	if errno != 0 {
		t.Fatal(errno)
	}
	if errno := p.unlease(childB, first); errno != unix.EINVAL {
		t.Errorf("another child gives it back: %v", errno)
	}
	if errno := p.unlease(childA, first+1); errno != unix.EINVAL {
		t.Errorf("no block begins there: %v", errno)
	}
	if errno := p.unlease(childA, first); errno != 0 {
		t.Error(errno)
	}
	if errno := p.adoptLease(childB, first); errno != 0 {
		t.Errorf("it is not free: %v", errno)
	}
	if p.use(childA).leases != 0 || p.use(childB).leases != 1 {
		t.Errorf("%d and %d blocks", p.use(childA).leases, p.use(childB).leases)
	}
}

// A child keeps its block at the next server whatever the book says of it: it may have
// left there what its program had before.
func TestABlockIsAdoptedThoughInTimeWait(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, addr1)
	a := spawn(t, s)
	lease := message.Message{Type: message.Listen, Op: message.OpLease}
	mine, errno := a.call(lease)
	if errno != 0 {
		t.Fatal(errno)
	}
	from := func(port uint16) string { return netip.AddrPortFrom(addr1, port).String() }
	if errno := a.leave(remnant(t, from(mine.Port+3), "10.1.0.2:80", 50*tcp.Second)); errno != 0 {
		t.Fatal(errno)
	}
	if n := s.timeWaits.count(); n != 1 {
		t.Fatalf("%d in TIME-WAIT", n)
	}
	s.ports.release(a.vci)
	if errno := s.ports.adoptLease(a.vci, mine.Port); errno != 0 {
		t.Error(errno)
	}
	if n := s.timeWaits.count(); n != 0 {
		t.Errorf("%d in TIME-WAIT in a block that is leased", n)
	}
}

// A child can tell of what it has, and nothing else.
func TestAChildTellsOfItsOwnLeasesOnly(t *testing.T) {
	s, _, a, b := twoHosts(t)
	lease := message.Message{Type: message.Listen, Op: message.OpLease}
	mine, errno := a.call(lease)
	if errno != 0 {
		t.Fatal(errno)
	}
	for name, f := range map[string]ring.Frame{
		"another block":   ring.NewLease(a.vci, b.vci, [2]wire.Addr{wire.AddrFrom(addr1)}, []uint16{mine.Port, mine.Port ^ ring.LeasePorts}),
		"another address": ring.NewLease(a.vci, b.vci, [2]wire.Addr{wire.AddrFrom(addr2)}, []uint16{mine.Port}),
		"another's name":  ring.NewLease(b.vci, b.vci, [2]wire.Addr{}, nil),
	} {
		before := s.Snapshot().Counters.Forged
		a.frame(f)
		eventually(t, "count of "+name, func() bool { return s.Snapshot().Counters.Forged == before+1 })
	}
	a.frame(ring.NewLease(a.vci, b.vci, [2]wire.Addr{wire.AddrFrom(addr1)}, []uint16{mine.Port}))
	f := b.wantFrame(ring.FrameLease, a.vci)
	addrs, first := f.Lease()
	if f.Type != ring.FrameLease || f.Src != a.vci || addrs[0] != wire.AddrFrom(addr1) || len(first) != 1 || first[0] != mine.Port {
		t.Errorf("frame %+v", f)
	}
}
