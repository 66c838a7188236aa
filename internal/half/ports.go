package half

import (
	"fmt"
	"slices"
	"unsafe"

	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// A program that connects again and again to the same end need not ask anybody for
// leave each time. The connection server leases blocks of ports to its child, the
// child tells them to the children of the peers, and the segment remembers by which
// circuit an end was reached. Then a Dial is a step of the engine in the program's
// own call, and its SYN leaves by the circuit. Whoever gets a SYN by a circuit checks
// that its port is leased to the peer, so that nobody can pass for another program.

// Limits of leases.
const (
	MaxLeases  = 64  // of one pool
	LeasePorts = 256 // in a lease; its first port is a multiple
	maxRoutes  = 64
	portTries  = 600 // ports in use that a Dial passes over before it asks the server
)

// reuseAfter is how long a connection of ours is in TIME-WAIT at least before its
// port may be used for the same peer again (RFC 6191): as long as Linux
// (tcp_tw_reuse) waits within a host, less since a circuit does not keep packets back.
const reuseAfter = 100 * tcp.Millisecond

// ports is what the pool has leased, and where it leads.
type ports struct {
	first  [MaxLeases]uint16
	n      uint32 // leases
	at     uint32 // next port to be tried: lease*LeasePorts + port
	strict uint32 // 1: a SYN by a circuit has to come from a port of its peer's
	oldest uint32 // route that a new one takes the place of
	routes [maxRoutes]route
}

// route says by which circuit a connection from local to remote was made.
type route struct {
	local   wire.Addr
	remote  wire.Endpoint
	circuit uint16
}

// circuitPorts is what is known about ports on one circuit.
type circuitPorts struct {
	known uint64 // bit l: the peer knows that lease l is ours
	n     uint32 // leases of the peer
	_     uint32
	addrs [2]wire.Addr // of the peer's host
	first [MaxLeases]uint16
}

var (
	_ [16 + 2*MaxLeases + 36*maxRoutes]byte = [unsafe.Sizeof(ports{})]byte{}
	_ [16 + 32 + 2*MaxLeases]byte           = [unsafe.Sizeof(circuitPorts{})]byte{}
	_ [2*MaxLeases + 16]byte                = [unsafe.Offsetof(ports{}.routes)]byte{}
	_ [48]byte                              = [unsafe.Offsetof(circuitPorts{}.first)]byte{}
)

// Lease notes that a block of ports is this pool's. It returns the lease's number.
func (b *Bottom) Lease(first uint16) (l int, err error) {
	err = fmt.Errorf("the segment's lock was not to be had")
	b.Change(func() {
		p := b.ports
		if p.n >= MaxLeases {
			err = fmt.Errorf("%d leases are all there can be", MaxLeases)
			return
		}
		l, err = int(p.n), nil
		p.first[l] = first
		p.n++
	})
	return l, err
}

// Leases returns the first ports of the leases.
func (b *Bottom) Leases() (first []uint16) {
	b.Change(func() { first = slices.Clone(b.ports.first[:min(b.ports.n, MaxLeases)]) })
	return first
}

// LeasesKnown notes that the peer of a circuit knows of the first n leases.
func (b *Bottom) LeasesKnown(circuit uint16, n int) {
	b.Change(func() {
		if int(circuit) < len(b.onCircuit) && n >= 0 && n <= int(b.ports.n) {
			b.onCircuit[circuit].known |= 1<<n - 1
		}
	})
}

// PeerLeases notes what the peer of a circuit has leased, at which addresses of its
// host, at most one of each family.
func (b *Bottom) PeerLeases(circuit uint16, addrs [2]wire.Addr, first []uint16) {
	b.Change(func() {
		if int(circuit) >= len(b.onCircuit) || len(first) > MaxLeases {
			return
		}
		c := &b.onCircuit[circuit]
		c.addrs = addrs
		c.n = uint32(copy(c.first[:], first))
	})
}

// ForgetCircuit forgets all about a circuit's number, which is another peer's now.
func (b *Bottom) ForgetCircuit(circuit uint16) {
	b.Change(func() {
		if int(circuit) < len(b.onCircuit) {
			b.onCircuit[circuit] = circuitPorts{}
			b.forgetRoutes(func(r *route) bool { return r.circuit == circuit })
		}
	})
}

// CheckPorts makes the halves of a fresh segment check where SYNs come from that
// come by circuits.
func CheckPorts(s *shm.Segment) error {
	p, err := shm.One[ports](s, secPorts)
	if err == nil {
		p.strict = 1
	}
	return err
}

// mayOpen reports whether a SYN from remote may come by circuit.
func (h *Half) mayOpen(remote *wire.Endpoint, circuit uint16) bool {
	if h.ports.strict == 0 || int(circuit) >= len(h.onCircuit) {
		return true
	}
	c := &h.onCircuit[circuit]
	return slices.Contains(c.addrs[:], remote.Addr) &&
		slices.Contains(c.first[:min(c.n, MaxLeases)], remote.Port&^(LeasePorts-1))
}

// learn notes by which circuit the other end of connection i was reached, which this
// program has opened through the connection server.
func (h *Half) learn(i uint32) {
	a, f := &h.aux[i], &h.conns[i].Flow
	if a.parent != none || Registered(a.registered) != RegisteredFlow || int(a.circuit) >= len(h.onCircuit) {
		return
	}
	if r := h.route(wire.Addr{}, &f.Remote); r != nil {
		r.local, r.circuit = f.Local.Addr, a.circuit
		return
	}
	p := h.ports
	p.routes[p.oldest%maxRoutes] = route{local: f.Local.Addr, remote: f.Remote, circuit: a.circuit}
	p.oldest++
}

// route returns the way to remote, from local if that is given, or nil.
func (h *Half) route(local wire.Addr, remote *wire.Endpoint) *route {
	for i := range h.ports.routes {
		if r := &h.ports.routes[i]; r.remote == *remote && (local.IsZero() || local == r.local) {
			return r
		}
	}
	return nil
}

func (h *Half) forgetRoutes(which func(*route) bool) {
	for i := range h.ports.routes {
		if r := &h.ports.routes[i]; which(r) {
			*r = route{}
		}
	}
}

// freePort returns a leased port from which a connection to r's end can be made.
func (h *Half) freePort(r *route, known uint64) (uint16, bool) {
	p := h.ports
	total := min(p.n, MaxLeases) * LeasePorts
	for n := uint32(0); n < min(total, portTries); n++ {
		if p.at >= total {
			p.at = 0
		}
		l := p.at / LeasePorts
		if known&(1<<l) == 0 {
			p.at = (l + 1) * LeasePorts
			continue
		}
		port := p.first[l] + uint16(p.at%LeasePorts)
		p.at++
		f := wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: port}, Remote: r.remote}
		i := h.lookup(&f)
		if i == none {
			return port, true
		}
		if h.conns[i].MayReuse(h.now, reuseAfter) {
			h.reopen(i)
			return port, true
		}
	}
	return 0, false
}

// Dial begins the active open of a fresh socket without the help of the child, if
// the way to remote is known and there is a port; local is its address, or zero.
func (s *Socket) Dial(local wire.Addr, remote wire.Endpoint) bool {
	t := s.t
	t.enter()
	defer t.leave()
	r := t.route(local, &remote)
	if r == nil || s.closing || int(r.circuit) >= len(t.onCircuit) || !t.drv.Usable(r.circuit) || t.drv.Room(r.circuit) == 0 {
		return false
	}
	t.now = t.clock()
	port, ok := t.freePort(r, t.onCircuit[r.circuit].known)
	if !ok {
		return false
	}
	t.connect(s.i, wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: port}, Remote: remote}, r.circuit)
	t.settle()
	return true
}

// Forget forgets the way to remote: who is there now does not listen.
func (t *Top) Forget(remote wire.Endpoint) {
	t.enter()
	t.forgetRoutes(func(r *route) bool { return r.remote == remote })
	t.leave()
}

// reap gives the slot of a connection back that is done and of which the connection
// server does not know.
func (h *Half) reap(i uint32) {
	a := &h.aux[i]
	const waits = 1<<listBottom | 1<<listBlocked
	if a.use != useDone || a.registered != 0 || a.inLists&waits != 0 {
		return
	}
	h.purge(i)
	h.freeConn(i)
}
