package server

import (
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
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

// No block in which a port is in use is leased, one child gets only so many, and some
// stay for those who ask.
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
	got := 0
	for child := childA; got < numBlocks; child++ {
		n := 0
		for ; n <= ring.MaxLeases; n++ {
			first, errno := p.lease(child)
			if errno == unix.EMFILE && n == ring.MaxLeases {
				break
			}
			if errno == unix.EADDRNOTAVAIL && got == numBlocks-spareBlocks {
				return
			}
			if errno != 0 || first == blockOf(bound.Port) || first == blockOf(flow.Port) {
				t.Fatalf("lease %d of all: %d, %v", got, first, errno)
			}
			got++
		}
	}
	t.Errorf("%d blocks leased, none is left", got)
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
