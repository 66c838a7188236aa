package half

import (
	"syscall"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// strictHosts are two hosts which check where SYNs come from; a has a lease of which b
// knows if told.
func strictHosts(t *testing.T, told bool) (a, b *host) {
	a, b = newHosts(t, SpinOff)
	for _, h := range []*host{a, b} {
		h.bottom.Change(func() { h.bottom.ports.strict = 1 })
		check(t, h.fetch())
		h.run()
	}
	l, err := a.bottom.Lease(40960)
	if l != 0 || err != nil {
		t.Fatalf("lease %d, %v", l, err)
	}
	if told {
		first, _ := a.bottom.Leases()
		b.bottom.PeerLeases(0, [2]wire.Addr{a.addr}, first)
	}
	a.bottom.LeasesKnown(0, 1)
	a.bottom.Change(func() {
		a.bottom.ports.routes[0] = route{local: a.addr, remote: wire.Endpoint{Addr: b.addr, Port: testPort}, circuit: 0}
		a.bottom.ports.onRing.dials = askAgain // it has asked often enough
	})
	return a, b
}

// From an address at which no ports are lent, one of the host's devices, say, the server is
// asked: the peer would take no SYN from there by the circuit.
func TestPortsOnTheRingAreLentAtSomeAddresses(t *testing.T) {
	a, b := strictHosts(t, true)
	defer b.listen(testPort).Close()
	to := wire.Endpoint{Addr: b.addr, Port: testPort}
	for _, row := range []struct {
		own  [2]wire.Addr
		want bool
	}{{[2]wire.Addr{b.addr}, false}, {[2]wire.Addr{1: a.addr}, true}} {
		a.bottom.LeaseAt(row.own)
		if got := a.open(t).Dial(wire.Addr{}, to); got != row.want {
			t.Errorf("lent at %v: %v", row.own, got)
		}
	}
}

func (h *host) open(t *testing.T) *Socket {
	t.Helper()
	s, err := h.top.Open()
	check(t, err)
	return s
}

// counters returns a's, by the lock.
func (h *host) counters() (c Counters) {
	h.top.Change(func() { c = h.top.ctl.Counters })
	return c
}

// A connection from a leased port comes about without the child; when it has ended
// its slot is free without the child, too, and its port comes again.
func TestDialByARoute(t *testing.T) {
	a, b := strictHosts(t, true)
	a.halt()
	b.halt()
	l := b.listen(testPort)
	for n := range uint16(LeasePorts + 50) {
		ca := a.open(t)
		if !ca.Dial(wire.Addr{}, wire.Endpoint{Addr: b.addr, Port: testPort}) {
			t.Fatalf("no way for connection %d", n)
		}
		if f := ca.Flow(); f.Local.Addr != a.addr || f.Local.Port != 40960+n%LeasePorts {
			t.Fatalf("connection %d is %v", n, f)
		}
		cb, err := l.Accept()
		check(t, err)
		check(t, ca.Connected())
		check(t, cb.Close()) // TIME-WAIT is at b's
		wantEOF(t, ca)
		check(t, ca.Close())
	}
	wantWithin(t, "a's connections to be gone", func() bool { return a.live() == 0 })
	if n := a.gone.Load() + b.gone.Load(); n != 0 {
		t.Errorf("the server was told of %d", n)
	}
}

func wantEOF(t *testing.T, s *Socket) {
	t.Helper()
	if n, err := s.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("%d octets, %v; want EOF", n, err)
	}
}

func (h *host) live() (n uint32) {
	h.top.Change(func() { n = h.top.ctl.live })
	return n
}

// A SYN from a port that is not leased to the peer is passed over, and counted; so is
// one from another address.
func TestSYNsThatPassForAnothers(t *testing.T) {
	for name, lease := range map[string]func(a, b *host){
		"never told":      func(a, b *host) {},
		"another block":   func(a, b *host) { b.bottom.PeerLeases(0, [2]wire.Addr{a.addr}, []uint16{41216}) },
		"another address": func(a, b *host) { b.bottom.PeerLeases(0, [2]wire.Addr{b.addr}, []uint16{40960}) },
		"forgotten": func(a, b *host) {
			b.bottom.PeerLeases(0, [2]wire.Addr{a.addr}, []uint16{40960})
			b.bottom.ForgetCircuit(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := strictHosts(t, false)
			lease(a, b)
			l := b.listen(testPort)
			defer l.Close()
			ca := a.open(t)
			if !ca.Dial(wire.Addr{}, wire.Endpoint{Addr: b.addr, Port: testPort}) {
				t.Fatal("no way")
			}
			wantWithin(t, "the SYN to be counted", func() bool {
				return b.counters().WrongCircuit > 0
			})
			if n := b.live(); n != 1 {
				t.Errorf("b has %d connections, want the listener alone", n)
			}
			check(t, ca.Close())
		})
	}
}

// Where nobody listens (any more) there is RST, as from any host.
func TestDialWhereNobodyListens(t *testing.T) {
	a, b := strictHosts(t, true)
	remote := wire.Endpoint{Addr: b.addr, Port: testPort}
	ca := a.open(t)
	if !ca.Dial(wire.Addr{}, remote) {
		t.Fatal("no way")
	}
	if err := ca.Connected(); err != syscall.ECONNREFUSED {
		t.Errorf("%v, want ECONNREFUSED", err)
	}
	check(t, ca.Close())
	a.top.Forget(remote)
	if a.open(t).Dial(wire.Addr{}, remote) {
		t.Error("a way that was forgotten")
	}
}

// What can't be done without asking is not done.
func TestDialsThatNeedTheServer(t *testing.T) {
	a, b := strictHosts(t, true)
	remote := wire.Endpoint{Addr: b.addr, Port: testPort}
	for name, dial := range map[string]func(s *Socket) bool{
		"another end":     func(s *Socket) bool { return s.Dial(wire.Addr{}, wire.Endpoint{Addr: b.addr, Port: 1}) },
		"another address": func(s *Socket) bool { return s.Dial(b.addr, remote) },
		"a lease that the peer does not know": func(s *Socket) bool {
			a.bottom.Change(func() { a.bottom.onCircuit[0].known = 0 })
			return s.Dial(wire.Addr{}, remote)
		},
	} {
		if s := a.open(t); dial(s) {
			t.Error(name)
		}
	}
	a.bottom.LeasesKnown(0, 1)
	var open []*Socket
	for range LeasePorts {
		s := a.open(t)
		if !s.Dial(wire.Addr{}, remote) {
			t.Fatalf("no port after %d", len(open))
		}
		open = append(open, s)
	}
	if a.open(t).Dial(wire.Addr{}, remote) {
		t.Error("more connections than ports")
	}
	for range MaxLeases - 1 {
		_, err := a.bottom.Lease(1024)
		check(t, err)
	}
	if _, err := a.bottom.Lease(1024); err == nil {
		t.Error("more leases than there can be")
	}
}

// An end that was reached by several circuits, since its listener has shards, is dialled
// by one after the other, and now and then the server is asked, which may know more.
func TestWaysToShards(t *testing.T) {
	a, b := strictHosts(t, true)
	h := &a.bottom.Half
	remote := wire.Endpoint{Addr: b.addr, Port: testPort}
	a.bottom.Change(func() {
		i := h.open()
		h.conns[i].Flow = wire.Flow{Local: wire.Endpoint{Addr: a.addr}, Remote: remote}
		h.aux[i].parent, h.aux[i].registered = none, uint8(RegisteredFlow)
		h.ports.oldest = 1 // way 0 is known
		for _, circuit := range []uint16{1, 2, 1} {
			h.aux[i].circuit = circuit
			h.learn(i)
		}
		by, asked := map[uint16]int{}, 0
		const (
			rounds = 3
			early  = 4 // at dials 1, 2, 4 and 8
		)
		h.ports.onRing.dials = 0
		for range rounds * askAgain {
			if r := h.route(wire.Addr{}, &remote); r != nil {
				by[r.circuit]++
			} else {
				asked++
			}
		}
		if asked != rounds+early || min(by[0], by[1], by[2]) < rounds*askAgain/3-rounds-early {
			t.Errorf("of %d dials %d ask, and the circuits get %v", rounds*askAgain, asked, by)
		}
		h.aux[i].circuit = pool.NIC // by which it is reached now
		h.learn(i)
		for range 3 * askAgain {
			if r := h.route(wire.Addr{}, &remote); r == nil || r.circuit != pool.NIC {
				t.Fatalf("way %+v, want that by the devices alone, where nobody need be asked for shards", r)
			}
		}
		h.aux[i].parent, h.aux[i].registered = none, 0
		h.freeConn(i)
	})
}
