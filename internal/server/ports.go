package server

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// portSpace says which child has which port of the host, and which connection.
// Its rules are Linux's, somewhat simplified:
//
//   - Two bindings conflict if they have the same port and their addresses
//     overlap (:: overlaps all, 0.0.0.0 all of IPv4), unless both asked for
//     SO_REUSEADDR and neither listens: EADDRINUSE.
//   - Only one of those that overlap may listen: EADDRINUSE.
//   - Shards of one listener (shards.go) have one local end together.
//   - A connection opened on a port that nobody has bound may share it with
//     other such connections, to other remote ends. As long as one of them is
//     there nobody can bind the port: EADDRINUSE.
//   - Two connections with the same four numbers: EADDRNOTAVAIL.
//   - Blocks of ephemeral ports are leased to children, who open connections from them
//     without asking. To all others they are in use: EADDRINUSE.
//   - No port is privileged: the ring has addresses of its own. Where an address
//     is the kernel's too, the kernel's rules come on top, for which the child
//     asks the kernel (paper section 4.4.5).
type portSpace struct {
	mu       sync.Mutex
	addrs    []wire.Addr                 // on the ring
	devices  func() []netip.Addr         // addresses of the devices that are served, as they are now
	ports    func() (first, last uint16) // ephemeral
	bindings map[socketID]*binding
	byPort   map[uint16][]*binding
	flows    map[wire.Flow]forward
	unbound  map[wire.Endpoint]int // local ends of flows on ports that nobody has bound
	usage    map[wire.VCI]*usage
	waiting  func(wire.Flow) bool // is in TIME-WAIT, with no child

	over func(lender wire.VCI, f wire.Flow) // a connection from a leased port has ended that another child had

	// Of a block for the devices: the ports of connections in TIME-WAIT, and those among
	// them that have one which was not the user's.
	waitingPorts func(first uint16, uid int) (all, others uint64)

	waitingSince func(first, n uint16) tcp.Time                     // for how long all with one of n ports are
	vacate       func(first, n uint16, onRing func(wire.Addr) bool) // ends that, at addresses on the ring
	leases       map[uint16]wire.VCI                                // by first port
	keepers      map[uint16][]*portKeeper                           // by port
	blocks       map[uint16]deviceLease                             // by first port
	dryUntil     tcp.Time                                           // no block for the devices is looked for before
}

// socketID names a socket: a child, and an index in its segment.
type socketID struct {
	child  wire.VCI
	socket uint32
}

type binding struct {
	id        socketID
	local     wire.Endpoint
	reuse     bool
	listening bool
	shard     shard
	points    []int // descriptors of the kernel's bind points
}

// forward is a connection whose packets go to a child (paper A.3: Forward).
type forward struct {
	id      socketID
	unbound bool
	points  []int
	lender  wire.VCI // the child whose lease its port is in, if that is another's; else 0
	via     wire.VCI // the child from which it was claimed last, which may not have claimed it itself yet; else 0

	accepted bool        // it came in by a listener, and may outlive it
	kept     *portKeeper // which has gone

	was *tcp.Remnant // the connection in TIME-WAIT that it follows, or nil
}

type usage struct {
	uid                             int // whom the child works for
	bindings, flows, leases, blocks int
}

func newPortSpace(addrs []netip.Addr) *portSpace {
	p := &portSpace{
		bindings: make(map[socketID]*binding),
		byPort:   make(map[uint16][]*binding),
		flows:    make(map[wire.Flow]forward),
		unbound:  make(map[wire.Endpoint]int),
		usage:    make(map[wire.VCI]*usage),
		devices:  func() []netip.Addr { return nil },
		ports:    func() (first, last uint16) { return firstEphemeral, lastEphemeral },
		leases:   make(map[uint16]wire.VCI),

		waitingPorts: func(uint16, int) (_, _ uint64) { return 0, 0 },
		waitingSince: func(_, _ uint16) tcp.Time { return tcp.TimeWaitLength },
		vacate:       func(_, _ uint16, _ func(wire.Addr) bool) {},
		keepers:      make(map[uint16][]*portKeeper),
		blocks:       make(map[uint16]deviceLease),
	}
	for _, a := range addrs {
		p.addrs = append(p.addrs, wire.AddrFrom(a))
	}
	return p
}

func overlap(a, b *wire.Addr) bool { return a.Covers(b) || b.Covers(a) }

// has reports whether a is an address of this host.
func (p *portSpace) has(a wire.Addr) bool { return p.onRing(a) || p.onDevice(a) }

// onRing reports whether a is an address of this host on the ring.
func (p *portSpace) onRing(a wire.Addr) bool { return slices.Contains(p.addrs, a) }

// onDevice reports whether a is one of a device that is served.
func (p *portSpace) onDevice(a wire.Addr) bool { return slices.Contains(p.devices(), a.Netip()) }

// enrol notes whose a child is.
func (p *portSpace) enrol(child wire.VCI, uid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.use(child).uid = uid
}

// sameUser reports whether two children work for the same user. p.mu is held.
func (p *portSpace) sameUser(a, b wire.VCI) bool { return p.use(a).uid == p.use(b).uid }

// use returns what a child has; the caller holds the mutex.
func (p *portSpace) use(child wire.VCI) *usage {
	u := p.usage[child]
	if u == nil {
		u = new(usage)
		p.usage[child] = u
	}
	return u
}

// bind takes a local end for a socket; port 0 asks for any that is free. The
// errno is 0 or EADDRNOTAVAIL, EADDRINUSE, EINVAL (bound already), EMFILE.
func (p *portSpace) bind(id socketID, local wire.Endpoint, reuse bool) (wire.Endpoint, unix.Errno) {
	return p.bindShard(id, local, reuse, shard{})
}

// bindShard is bind for a shard of a listener, whose local end others may have.
func (p *portSpace) bindShard(id socketID, local wire.Endpoint, reuse bool, s shard) (wire.Endpoint, unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !local.Addr.IsZero() && !p.has(local.Addr):
		return local, unix.EADDRNOTAVAIL
	case p.bindings[id] != nil:
		return local, unix.EINVAL
	case p.use(id.child).bindings >= maxBindings:
		return local, unix.EMFILE
	}
	if local.Port != 0 {
		return local, p.bindTo(id, local, reuse, s)
	}
	for port := range ephemeral(p.ports()) {
		local.Port = port
		if p.bindTo(id, local, false, s) == 0 {
			p.bindings[id].reuse = reuse
			return local, 0
		}
	}
	local.Port = 0
	return local, unix.EADDRINUSE
}

func (p *portSpace) bindTo(id socketID, local wire.Endpoint, reuse bool, s shard) unix.Errno {
	for _, b := range p.byPort[local.Port] {
		if !b.joins(&local, &s) && overlap(&b.local.Addr, &local.Addr) && (!b.reuse || !reuse || b.listening) {
			return unix.EADDRINUSE
		}
	}
	if p.hasUnbound(local) || p.leased(local.Port) {
		return unix.EADDRINUSE
	}
	b := &binding{id: id, local: local, reuse: reuse, shard: s}
	p.bindings[id] = b
	p.byPort[local.Port] = append(p.byPort[local.Port], b)
	p.use(id.child).bindings++
	return 0
}

// hasUnbound reports whether there are flows on a port that nobody has bound.
func (p *portSpace) hasUnbound(local wire.Endpoint) bool {
	if !local.Addr.IsZero() {
		return p.unbound[local] > 0
	}
	addrs := slices.Clone(p.addrs)
	for _, a := range p.devices() {
		addrs = append(addrs, wire.AddrFrom(a))
	}
	for i := range addrs {
		e := wire.Endpoint{Addr: addrs[i], Port: local.Port}
		if local.Addr.Covers(&e.Addr) && p.unbound[e] > 0 {
			return true
		}
	}
	return false
}

// listen makes SYNs for a socket's local end go to its child.
func (p *portSpace) listen(id socketID) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bindings[id]
	if b == nil {
		return unix.EINVAL
	}
	for _, other := range p.byPort[b.local.Port] {
		if other != b && other.listening && overlap(&other.local.Addr, &b.local.Addr) && !other.joins(&b.local, &b.shard) {
			return unix.EADDRINUSE
		}
	}
	b.listening = true
	p.openShards(b)
	return 0
}

// deafen undoes listen.
func (p *portSpace) deafen(id socketID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.bindings[id]; b != nil {
		b.listening = false
	}
}

// listensAt returns a socket's local end, which shard of it the socket is, and whether
// it listens there.
func (p *portSpace) listensAt(id socketID) (local wire.Endpoint, s shard, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.bindings[id]; b != nil {
		return b.local, b.shard, b.listening
	}
	return wire.Endpoint{}, shard{}, false
}

// unbind gives back a socket's local end.
func (p *portSpace) unbind(id socketID) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bindings[id]
	if b == nil {
		return unix.EINVAL
	}
	p.drop(b)
	return 0
}

func (p *portSpace) drop(b *binding) {
	delete(p.bindings, b.id)
	rest := slices.DeleteFunc(p.byPort[b.local.Port], func(x *binding) bool { return x == b })
	if p.byPort[b.local.Port] = rest; len(rest) == 0 {
		delete(p.byPort, b.local.Port)
	}
	p.use(b.id.child).bindings--
	p.leave(b)
}

// listener returns the socket that listens where a flow's local end is: at the very
// address, else at one that covers it; of several shards the one that the flow's hash
// names, or if that has gone the next.
func (p *portSpace) listener(f wire.Flow) (id socketID, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	hash, nearest := flowHash(f), 0
	for _, b := range p.byPort[f.Local.Port] {
		if !b.hears() || !b.local.Addr.Covers(&f.Local.Addr) {
			continue // else they are shards of one: listeners don't overlap
		}
		if d := b.distance(hash); !ok || d < nearest {
			id, ok, nearest = b.id, true, d
		}
	}
	return id, ok
}

// ephemeral yields all ephemeral ports, each once, from a random one on
// (RFC 6056 section 3.3.1).
func ephemeral(first, last uint16) func(yield func(uint16) bool) {
	return func(yield func(uint16) bool) {
		n := int(last) - int(first) + 1
		start := rand.IntN(n)
		for i := range n {
			if !yield(first + uint16((start+i)%n)) {
				return
			}
		}
	}
}

// release gives back all that a child has.
func (p *portSpace) release(child wire.VCI) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, b := range p.bindings {
		if id.child == child {
			p.drop(b)
		}
	}
	for f, fw := range p.flows {
		if fw.id.child == child {
			p.dropFlow(f, fw)
		}
	}
	for first, id := range p.leases {
		if id == child {
			delete(p.leases, first)
		}
	}
	for first, l := range p.blocks {
		if l.child == child {
			p.dropBlock(first, l)
		}
	}
	delete(p.usage, child)
}

// count returns how many ports and connections a child has.
func (p *portSpace) count(child wire.VCI) (bindings, flows int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.usage[child]; u != nil {
		return u.bindings, u.flows
	}
	return 0, 0
}
