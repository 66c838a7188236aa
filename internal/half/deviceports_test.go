package half

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// leased is a host with one block of ports for the devices, and the way to an end there.
func leased(t *testing.T) (h *host, b *Half, r *route) {
	h = newHost(t, 1, SpinOff)
	if !h.bottom.LeaseDevice(40064, ^uint64(0)) {
		t.Fatal("no lease")
	}
	b = &h.bottom.Half
	h.bottom.Change(func() {
		r = &b.ports.routes[0]
		*r = route{local: h.addr, remote: wire.Endpoint{Addr: h.addr, Port: testPort}, circuit: pool.NIC, mtu: 1500, at: b.now}
	})
	return h, b, r
}

// occupy makes a connection from a port.
func occupy(b *Half, r *route, port uint16) (i uint32) {
	i = b.open()
	b.begin(i).Flow = wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: port}, Remote: r.remote}
	b.insert(i)
	b.setCircuit(i, pool.NIC)
	b.end(i)
	return i
}

// Each port of a block is given once; when none is left that is counted, so that the
// child takes more.
func TestPortsForDevices(t *testing.T) {
	h, b, r := leased(t)
	h.bottom.Change(func() {
		for n := range uint16(DevicePorts) {
			port, was := b.devicePort(r)
			if port != 40064+n || was != none {
				t.Fatalf("port %d, %d", port, was)
			}
			occupy(b, r, port)
		}
		if port, _ := b.devicePort(r); port != 0 {
			t.Errorf("port %d twice", port)
		}
	})
	if first, short := h.bottom.DeviceLeases(); short != 1 || len(first) != 1 || first[0] != 40064 {
		t.Errorf("blocks %v, %d times no port", first, short)
	}
	h.bottom.LeaseDevice(40128, ^uint64(0))
	h.bottom.Change(func() {
		if port, _ := b.devicePort(r); port != 40128 {
			t.Errorf("port %d of the next block", port)
		}
	})
	for range MaxLeases - 2 {
		if !h.bottom.LeaseDevice(1024, ^uint64(0)) {
			t.Fatal("no lease")
		}
	}
	if h.bottom.LeaseDevice(1024, ^uint64(0)) {
		t.Error("more blocks than there can be")
	}
}

// Of a block of which some ports are somebody else's the others are given, each once, and
// blocks with none, or after one that goes back, change nothing of that.
func TestPortsOfAMask(t *testing.T) {
	const some = 1<<63 | 1<<40 | 1<<7 | 1<<6 | 1<<1
	h := newHost(t, 1, SpinOff)
	b := &h.bottom.Half
	r := &route{local: h.addr, remote: wire.Endpoint{Addr: h.addr, Port: testPort}, circuit: pool.NIC, at: b.now}
	for first, mask := range map[uint16]uint64{40064: some, 40128: 0, 40192: 1 << 5} {
		if !h.bottom.LeaseDevice(first, mask) {
			t.Fatal("no lease")
		}
	}
	left := map[uint16]bool{40065: true, 40070: true, 40071: true, 40104: true, 40127: true, 40197: true}
	h.bottom.Change(func() {
		r.at = b.now
		b.ports.onDevices.at = 3 * DevicePorts // beyond all
		for range len(left) {
			port, _ := b.devicePort(r)
			if !left[port] {
				t.Fatalf("port %d, lent are %v", port, left)
			}
			delete(left, port)
			occupy(b, r, port)
		}
		if port, _ := b.devicePort(r); port != 0 || b.ports.onDevices.short != 1 {
			t.Errorf("port %d, %d times none", port, b.ports.onDevices.short)
		}
		b.freeConn(b.lookup(&wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: 40197}, Remote: r.remote}))
		b.ports.dialled -= deviceIdle + tcp.Second
	})
	if first := h.bottom.IdleDeviceLeases(); len(first) != 2 || slices.Contains(first, 40064) {
		t.Fatalf("%v go back", first)
	}
	h.bottom.Change(func() {
		b.freeConn(b.lookup(&wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: 40104}, Remote: r.remote}))
		if port, _ := b.devicePort(r); port != 40104 {
			t.Errorf("port %d of the block that is left, whose mask is its own", port)
		}
	})
}

// The port of a connection in TIME-WAIT comes again after a moment; the new connection
// has to follow that one.
func TestAPortInTimeWait(t *testing.T) {
	a, b := strictHosts(t, true)
	l := b.listen(testPort)
	ca := a.open(t)
	if !ca.Dial(wire.Addr{}, wire.Endpoint{Addr: b.addr, Port: testPort}) {
		t.Fatal("no way")
	}
	cb, err := l.Accept()
	check(t, err)
	flow, i := ca.Flow(), ca.Index()
	check(t, ca.Close())
	wantEOF(t, cb)
	check(t, cb.Close())
	half := &a.bottom.Half
	wantWithin(t, "TIME-WAIT", func() (is bool) {
		a.bottom.Change(func() { is = half.conns[i].State == tcp.TimeWait })
		return is
	})
	a.bottom.LeaseDevice(flow.Local.Port, ^uint64(0))
	a.bottom.Change(func() {
		r := &route{local: flow.Local.Addr, remote: flow.Remote, circuit: pool.NIC, at: half.now}
		half.now += reuseAfter / 2
		if port, was := half.devicePort(r); port != flow.Local.Port+1 || was != none {
			t.Errorf("port %d, %d at once, want that behind %d", port, was, flow.Local.Port)
		}
		half.ports.onDevices.at = 0
		half.now += reuseAfter
		if port, was := half.devicePort(r); port != flow.Local.Port || was != i {
			t.Errorf("port %d, the connection before %d, want %d, %d", port, was, flow.Local.Port, i)
		}
	})
}

// stamped is what is left of a connection over devices that had timestamps and has begun to
// wait that long ago.
func stamped(t *testing.T, f wire.Flow, now, ago tcp.Time) tcp.Remnant {
	t.Helper()
	b := (&tcp.Remnant{Flow: f, End: now + tcp.TimeWaitLength - ago}).Append(nil)
	b[73] = 1 // timestamps are in use
	r, ok := tcp.ParseRemnant(b)
	if !ok {
		t.Fatal("not a remnant")
	}
	return r
}

// A connection in TIME-WAIT that comes along with a block is one of the pool's own: it keeps
// its port for a moment, ends with its time, is repaired and left again.
func TestATimeWaitThatComesAlong(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	b := &h.bottom.Half
	r := &route{local: h.addr, remote: wire.Endpoint{Addr: h.addr, Port: testPort}, circuit: pool.NIC}
	f := wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: 40064}, Remote: r.remote}
	var now tcp.Time
	h.bottom.Change(func() { now = b.now })
	left := stamped(t, f, now, reuseAfter/2)
	if !h.bottom.Resume(&left) || h.bottom.Resume(&left) {
		t.Error("it does not come, or it comes twice")
	}
	h.audited(t)
	h.bottom.LeaseDevice(40064, 1)
	h.bottom.Change(func() {
		i := b.lookup(&f)
		if i == none || b.conns[i].State != tcp.TimeWait || b.aux[i].circuit != pool.NIC || b.aux[i].timerSlot == none {
			t.Fatalf("connection %d: %+v", i, b.aux[i])
		}
		if again, ok := h.bottom.remnant(i); !ok || again != left {
			t.Errorf("left again it is %+v, %v; it was %+v", again, ok, left)
		}
		b.now = now
		r.at = now
		if port, _ := b.devicePort(r); port != 0 {
			t.Errorf("port %d at once", port)
		}
		b.now += reuseAfter
		if port, was := b.devicePort(r); port != 40064 || was != i {
			t.Errorf("port %d, the connection before %d, want 40064, %d", port, was, i)
		}
	})
	h.audited(t)
}

// Where there is no room for it, its port can't be used: that is said.
func TestATimeWaitWithoutRoom(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	h.bottom.Change(func() { h.bottom.ctl.limits.sockets = h.bottom.ctl.live })
	f := wire.Flow{Local: wire.Endpoint{Addr: h.addr, Port: 40064}, Remote: wire.Endpoint{Addr: h.addr, Port: testPort}}
	left := stamped(t, f, tcp.Second, 0)
	if h.bottom.Resume(&left) {
		t.Error("there was no room, and it has come")
	}
}

// What the connection server has said of a way by the devices holds for a second.
func TestAWayByDevicesIsBelievedForAMoment(t *testing.T) {
	h, b, r := leased(t)
	h.bottom.Change(func() {
		b.now = r.at + routeFresh
		if port, _ := b.devicePort(r); port == 0 {
			t.Error("not for a second")
		}
		b.now++
		if port, _ := b.devicePort(r); port != 0 {
			t.Error("for longer")
		}
		i := occupy(b, r, 1)
		b.aux[i].registered, b.aux[i].mtu = uint8(RegisteredFlow), 1400
		b.learn(i)
		if port, _ := b.devicePort(r); port == 0 || r.mtu != 1400 {
			t.Errorf("asked again: port %d, MTU %d", port, r.mtu)
		}
	})
}

// Blocks that nobody has used for a while go back, but for those of which a connection
// has a port.
func TestIdleBlocksGoBack(t *testing.T) {
	h, b, r := leased(t)
	h.bottom.LeaseDevice(40128, ^uint64(0))
	h.bottom.LeaseDevice(40192, ^uint64(0))
	h.bottom.Change(func() {
		b.devicePort(r)
		occupy(b, r, 40130)
	})
	if first := h.bottom.IdleDeviceLeases(); first != nil {
		t.Errorf("%v at once", first)
	}
	h.bottom.Change(func() { b.ports.dialled -= deviceIdle + tcp.Second })
	if first := h.bottom.IdleDeviceLeases(); len(first) != 2 || first[0] != 40064 || first[1] != 40192 {
		t.Errorf("%v go back", first)
	}
	h.bottom.Change(func() {
		if port, _ := b.devicePort(r); port != 40128 {
			t.Errorf("port %d of the block that is left", port)
		}
	})
}

// firstSYN returns the SYN that a host sends by its server when it does f.
func (h *host) firstSYN(t *testing.T, f func()) (syn wire.TCP) {
	t.Helper()
	var sent [][]byte
	h.slow = func(ip []byte) { sent = append(sent, slices.Clone(ip)) }
	defer func() { h.slow = nil }()
	f()
	var ip wire.IP
	if len(sent) != 1 || wire.ParseIP(sent[0], &ip) != nil {
		t.Fatalf("%d packets", len(sent))
	}
	if _, err := wire.ParseTCP(sent[0][ip.HeaderLen:], &syn); err != nil || syn.Flags&(wire.SYN|wire.ACK) != wire.SYN {
		t.Fatalf("%+v, %v", syn, err)
	}
	return syn
}

// A connection that the child opens after one in TIME-WAIT of another program's goes on
// with its clock of timestamps, and above its numbers; one that is not the same, or cannot
// be one, opens nothing.
func TestConnectAfterOneInTimeWait(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	f := wire.Flow{Local: wire.Endpoint{Addr: h.addr, Port: 40064}, Remote: wire.Endpoint{Addr: h.addr, Port: testPort}}
	var now tcp.Time
	h.bottom.Change(func() { now = h.bottom.now })
	b := (&tcp.Remnant{Flow: f, End: now + tcp.TimeWaitLength/2}).Append(nil)
	const clock, sent = 1 << 30, 1 << 29
	b[73] = 1 // timestamps are in use
	binary.LittleEndian.PutUint32(b[68:], clock)
	isn := tcp.ISN(now, &f, &h.bottom.ctl.secret).Add(sent) // its numbers were above all of ours
	binary.LittleEndian.PutUint32(b[52:], uint32(isn))
	was, ok := tcp.ParseRemnant(b)
	if !ok {
		t.Fatal("not a remnant")
	}
	s := h.open(t)
	other, ruined := f, was
	other.Local.Port++
	binary.LittleEndian.PutUint32(b[60:], 1<<31-1) // a window of two gigabytes
	if ruined, ok = tcp.ParseRemnant(b); !ok {
		t.Fatal("not a remnant")
	}
	if h.bottom.ConnectAfter(s.Index(), other, pool.NoCircuit, &was) || h.bottom.ConnectAfter(s.Index(), f, pool.NoCircuit, &ruined) {
		t.Error("it follows what it cannot follow")
	}
	syn := h.firstSYN(t, func() {
		if !h.bottom.ConnectAfter(s.Index(), f, pool.NoCircuit, &was) {
			t.Error("it does not begin")
		}
	})
	began := uint32(now/tcp.Millisecond) + clock
	if d := syn.Options.TSVal - began; !syn.Options.Has(wire.HasTimestamps) || d > 60_000 {
		t.Errorf("its timestamp is %d, the clock of the one before says %d", syn.Options.TSVal, began)
	}
	if !syn.Seq.After(isn) {
		t.Errorf("it begins at %d, the one before ended at %d", syn.Seq, isn)
	}
	h.audited(t)
}

// What a program gives up of its own, for a port: what went to the same end and has waited
// long enough, longest first, then what went elsewhere; nothing that it has from a lease, has
// bound or not closed, and nothing from another address.
func TestTheRipestTimeWait(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	b := &h.bottom.Half
	var now tcp.Time
	h.bottom.Change(func() { now = b.now })
	remote := wire.Endpoint{Addr: h.addr, Port: testPort}
	elsewhere := wire.Endpoint{Addr: h.addr, Port: testPort + 1}
	waits := func(port uint16, to wire.Endpoint, ago tcp.Time, what Registered, use uint8) {
		r := stamped(t, wire.Flow{Local: wire.Endpoint{Addr: h.addr, Port: port}, Remote: to}, now, ago)
		if !h.bottom.Resume(&r) {
			t.Fatal("no room")
		}
		h.bottom.Change(func() {
			i := b.lookup(&r.Flow)
			b.aux[i].registered, b.aux[i].use = uint8(what), use
		})
	}
	want := func(port uint16, local wire.Addr) {
		t.Helper()
		r, ok := h.bottom.Ripest(local, remote)
		if ok != (port != 0) || ok && r.Flow.Local.Port != port {
			t.Errorf("port %d, %v, want %d", r.Flow.Local.Port, ok, port)
		}
	}
	waits(1, remote, 9*tcp.Second, 0, useOrphan)
	waits(2, remote, 9*tcp.Second, RegisteredFlow|RegisteredBind, useOrphan)
	waits(3, remote, 9*tcp.Second, RegisteredFlow, useProgram)
	want(0, wire.Addr{})
	waits(5, elsewhere, 8*tcp.Second, RegisteredFlow, useOrphan)
	waits(4, elsewhere, 9*tcp.Second, RegisteredFlow, useOrphan)
	want(4, wire.Addr{})
	waits(6, remote, 2*tcp.Second, RegisteredFlow, useOrphan)
	waits(7, remote, 3*tcp.Second, RegisteredFlow, useOrphan)
	want(7, h.addr)
	want(0, remoteAddr)
	h.bottom.Change(func() {
		b.aux[b.lookup(&wire.Flow{Local: wire.Endpoint{Addr: h.addr, Port: 3}, Remote: remote})].use = useOrphan
	})
	want(3, wire.Addr{})
}

// remoteAddr is no host's of these tests.
var remoteAddr = wire.AddrFrom(netip.AddrFrom4([4]byte{10, 9, 9, 9}))
