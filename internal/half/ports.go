package half

import (
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"usertcp/internal/pool"
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
	askSoon    = 8   // Dials after a new way of which the first, second, fourth and eighth ask the server
	askAgain   = 512 // Dials of which one asks the server though a way is known, see route
)

// reuseAfter is how long a connection of ours is in TIME-WAIT at least before its
// port may be used for the same peer again (RFC 6191): as long as Linux
// (tcp_tw_reuse) waits within a host, less since a circuit does not keep packets back.
const reuseAfter = 100 * tcp.Millisecond

// ports is what the pool has leased, and where it leads.
type ports struct {
	onRing    lent
	onDevices lent
	own       [2]wire.Addr // of this host, at which the ports on the ring are lent; zero: at all
	strict    uint32       // 1: a SYN by a circuit has to come from a port of its peer's
	oldest    uint32       // route that a new one takes the place of
	dialled   tcp.Time     // when a port of the devices' was last used
	routes    [maxRoutes]route
}

// lent are leased blocks of ports, all of the same size. Each bit of a block's mask stands
// for a 64th of its ports, and is set if they are lent: the rest is in use elsewhere.
type lent struct {
	mask  [MaxLeases]uint64
	first [MaxLeases]uint16
	n     uint32 // blocks
	at    uint32 // next port to be tried, counted over all blocks
	short uint32 // times that there was no port though all blocks might be used
	dials uint32 // times that a way was asked for since the last new one was found
}

// route says by which circuit a connection from local to remote was made.
type route struct {
	local   wire.Addr
	remote  wire.Endpoint
	circuit uint16
	mtu     uint32   // octets of a packet by the devices
	at      tcp.Time // when the connection server was last asked
}

// circuitPorts is what is known about ports on one circuit, and of its peer.
type circuitPorts struct {
	known uint64 // bit l: the peer knows that lease l is ours
	n     uint32 // leases of the peer
	_     uint32
	addrs [2]wire.Addr // of the peer's host
	first [MaxLeases]uint16
	signs signs
}

var (
	_ [48 + 2*(10*MaxLeases+16) + 48*maxRoutes]byte = [unsafe.Sizeof(ports{})]byte{}
	_ [16 + 32 + 2*MaxLeases + 16]byte              = [unsafe.Sizeof(circuitPorts{})]byte{}
	_ [2*(10*MaxLeases+16) + 48]byte                = [unsafe.Offsetof(ports{}.routes)]byte{}
	_ [8 * MaxLeases]byte                           = [unsafe.Offsetof(lent{}.first)]byte{}
	_ [48]byte                                      = [unsafe.Offsetof(circuitPorts{}.first)]byte{}
)

// LeaseAt notes at which addresses of the host, at most one of each family, ports on the ring
// are lent: peers take no SYN from others (see mayOpen).
func (b *Bottom) LeaseAt(own [2]wire.Addr) {
	b.Change(func() { b.ports.own = own })
}

// lentAt reports whether the ports on the ring are lent at an address of the host.
func (p *ports) lentAt(local wire.Addr) bool {
	return p.own == [2]wire.Addr{} || slices.Contains(p.own[:], local)
}

// Lease notes that a block of ports is this pool's. It returns the lease's number.
func (b *Bottom) Lease(first uint16) (l int, err error) {
	err = fmt.Errorf("the segment's lock was not to be had")
	b.Change(func() {
		l, err = b.ports.onRing.add(first, ^uint64(0))
	})
	return l, err
}

// add adds a block and returns its number.
func (l *lent) add(first uint16, mask uint64) (int, error) {
	if l.n >= MaxLeases {
		return 0, fmt.Errorf("%d leases are all there can be", MaxLeases)
	}
	l.first[l.n], l.mask[l.n] = first, mask
	l.n++
	return int(l.n - 1), nil
}

// next returns the next port that is to be tried, of the blocks, of size ports each, of
// which known has a bit; 0 if there is none.
func (l *lent) next(size uint32, known uint64) uint16 {
	blocks, each := min(l.n, MaxLeases), size/64
	for n := uint32(0); blocks > 0 && n <= blocks; n++ { // the block in which it begins comes last again
		if l.at >= blocks*size {
			l.at = 0
		}
		block, bit := l.at/size, l.at%size/each
		left := l.mask[block] >> bit
		if known&(1<<block) == 0 || left == 0 {
			l.at = (block + 1) * size
			continue
		}
		if skip := uint32(bits.TrailingZeros64(left)); skip > 0 {
			l.at = block*size + (bit+skip)*each
		}
		l.at++
		return l.first[block] + uint16((l.at-1)%size)
	}
	return 0
}

// blocks returns the first ports of the blocks.
func (l *lent) blocks() []uint16 { return l.first[:min(l.n, MaxLeases)] }

// Leases returns the first ports of the leases, and how often there was no port in them.
func (b *Bottom) Leases() (first []uint16, short uint32) {
	b.Change(func() {
		l := &b.ports.onRing
		first, short = slices.Clone(l.blocks()), l.short
	})
	return first, short
}

// LeasesKnown notes that the peer of a circuit knows of the first n leases.
func (b *Bottom) LeasesKnown(circuit uint16, n int) {
	b.Change(func() {
		if int(circuit) < len(b.onCircuit) && n >= 0 && n <= int(b.ports.onRing.n) {
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

// succeeded reports whether the SYN in h.arr is another pool's than connection i's other end
// was, and comes from the port that this one had: it came by the other pool's circuit itself,
// and the port is leased to that, or it came through the connection servers (direct is
// false), of which the one of that host has looked whose the port is. So the former end is no
// more, nor can a packet of it come in another's place: it would have to come by the former
// circuit. Numbers and timestamps, which are each pool's own, say nothing here.
func (h *Half) succeeded(i uint32, k *packet, circuit uint16, direct bool) bool {
	c, was := &h.conns[i], h.aux[i].circuit
	if was == circuit || int(was) >= len(h.onCircuit) || int(circuit) >= len(h.onCircuit) ||
		h.arr.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		return false
	}
	if direct && (h.ports.strict == 0 || !h.mayOpen(&k.flow.Remote, circuit)) {
		return false
	}
	return c.State == tcp.TimeWait || c.State == tcp.LastAck || c.State == tcp.Closing || !h.drv.Usable(was)
}

// supersede ends connection i, whose other end is no more, for the sake of a new SYN: as
// an RST would.
func (h *Half) supersede(i uint32) {
	e := tcp.ErrReset
	if s := h.conns[i].State; s == tcp.TimeWait || s == tcp.LastAck || s == tcp.Closing {
		e = tcp.ErrNone // all has been received on either side, or nobody will say
	}
	h.fail(i, e)
	h.unhash(i)
}

// learn notes by which circuit the other end of connection i was reached, which this
// program has opened through the connection server. An end whose listener has several
// shards is reached by several.
func (h *Half) learn(i uint32) {
	a, f := &h.aux[i], &h.conns[i].Flow
	if a.parent != none || Registered(a.registered) != RegisteredFlow || int(a.circuit) >= len(h.onCircuit) && a.circuit != pool.NIC {
		return
	}
	h.forgetRoutes(func(r *route) bool { // by the devices now, or by the ring now
		return r.remote == f.Remote && (r.circuit == pool.NIC) != (a.circuit == pool.NIC)
	})
	var r *route
	for n := range h.ports.routes {
		if x := &h.ports.routes[n]; x.remote == f.Remote && x.circuit == a.circuit {
			r = x
		}
	}
	if r == nil {
		p := h.ports
		r = &p.routes[p.oldest%maxRoutes]
		p.oldest++
		p.onRing.dials = 0
	}
	*r = route{local: f.Local.Addr, remote: f.Remote, circuit: a.circuit, mtu: a.mtu, at: h.now}
}

// route returns the way to remote, from local if that is given, or nil; of several one
// after the other. More may show when the server is asked, and so that is done now and
// then: at the first Dial after a way was found, the second, the fourth, the eighth, so
// that few connections to a listener with shards are spread over them, too, and at last
// at each askAgain-th.
func (h *Half) route(local wire.Addr, remote *wire.Endpoint) *route {
	l := &h.ports.onRing
	var ways [maxRoutes]*route
	n := uint32(0)
	for i := range h.ports.routes {
		if r := &h.ports.routes[i]; r.remote == *remote && (local.IsZero() || local == r.local) {
			ways[n] = r
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if ways[0].circuit == pool.NIC {
		return ways[0]
	}
	l.dials++
	if l.dials%askAgain == 0 || l.dials <= askSoon && l.dials&(l.dials-1) == 0 {
		return nil
	}
	return ways[l.dials%n]
}

func (h *Half) forgetRoutes(which func(*route) bool) {
	for i := range h.ports.routes {
		if r := &h.ports.routes[i]; which(r) {
			*r = route{}
		}
	}
}

// freePort returns a port of l's blocks, of size ports each, from which a connection to
// r's end can be made; known has a bit for each block that may be used. A connection that
// was there, in TIME-WAIT, is was, or none. Port 0 means that there is none.
func (h *Half) freePort(r *route, l *lent, size uint32, known uint64) (port uint16, was uint32) {
	begun := uint16(0)
	for range portTries {
		port := l.next(size, known)
		if port == 0 || port == begun {
			break
		}
		if begun == 0 {
			begun = port
		}
		f := wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: port}, Remote: r.remote}
		i := h.lookup(&f)
		if i == none {
			return port, none
		}
		if h.conns[i].MayReuse(h.now, reuseAfter) {
			h.reopen(i)
			return port, i
		}
	}
	if all := uint64(1)<<min(l.n, MaxLeases) - 1; known&all == all {
		l.short++
	}
	return 0, none
}

// Dial begins the active open of a fresh socket without the help of the child, if
// the way to remote is known and there is a port; local is its address, or zero.
func (s *Socket) Dial(local wire.Addr, remote wire.Endpoint) bool {
	t := s.t
	t.enter()
	defer t.leave()
	r := t.route(local, &remote)
	if r == nil || s.closing || !t.drv.Usable(r.circuit) || t.drv.Room(r.circuit) == 0 {
		return false
	}
	t.now = t.clock()
	var port uint16
	was := none
	switch {
	case r.circuit == pool.NIC:
		port, was = t.devicePort(r)
		t.aux[s.i].mtu = r.mtu
	case int(r.circuit) < len(t.onCircuit) && t.ports.lentAt(r.local):
		port, _ = t.freePort(r, &t.ports.onRing, LeasePorts, t.onCircuit[r.circuit].known)
	}
	if port == 0 {
		return false
	}
	var before *tcp.Conn
	if was != none {
		before = &t.conns[was]
	}
	t.connect(s.i, wire.Flow{Local: wire.Endpoint{Addr: r.local, Port: port}, Remote: remote}, r.circuit, before)
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
