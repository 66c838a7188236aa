package server

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// A program hands over some of its sockets: they go from its segment to another one
// of the same program, with a child of its own, which is handed over as a whole then.
// The other child claims what it has got: from then on local end, connection, the
// kernel's bind points and what comes by the devices are its own.

// cameAlong says what of a socket a claim has found.
type cameAlong uint8

const (
	cameBound cameAlong = 1 << iota // its local end
	cameReuse                       // … with SO_REUSEADDR
	cameIn                          // it came in by a listener
)

// claim does a Move: Op=listen for a listener, Op=open for a connection; or says where a
// connection is that the child has had, if it names itself. The errno is
// ENOENT (there is no such child, or nobody of its user's has the connection), EPERM (it is
// another user's), EINVAL (it has no such local end), EADDRNOTAVAIL (the connection is a
// third's, or where only other users have a port), ENOBUFS, or the devices'.
func (c *child) claim(m *message.Message) (g grant, errno unix.Errno) {
	from := c.s.child(m.VCI)
	switch {
	case from == c && m.Op == message.OpOpen:
		g.at, errno = c.whereIs(wire.Flow{Local: m.Local, Remote: m.Remote})
		return g, errno
	case from == nil || from == c:
		return g, unix.ENOENT
	case from.owner().uid != c.owner().uid:
		return g, unix.EPERM
	}
	was, is := socketID{from.vci, m.N}, socketID{c.vci, m.Socket}
	if m.Op == message.OpListen {
		g, errno = c.s.ports.claimBind(was, is)
		if errno == 0 && g.came&cameBound == 0 {
			errno = unix.EINVAL
		}
		if errno == 0 {
			g.mtu = c.s.listenMTU(g.local.Addr)
			errno = c.claimListener(from, g.local)
			from.taken(m.N, wire.Flow{Local: g.local})
		}
		return g, errno
	}
	flow := wire.Flow{Local: m.Local, Remote: m.Remote}
	holder := c.formerHolder(from, flow)
	if g, errno = c.s.ports.claimFlow(was, is, flow, holder.vci); errno != 0 {
		return g, errno
	}
	if !c.s.onRing(m.Remote.Addr) {
		errno = c.claimConnection(holder, flow)
	}
	if from.taken(m.N, flow); holder != from {
		holder.taken(message.NoSocket, flow)
	}
	return g, errno
}

// formerHolder returns the child that a connection is taken from, which another one claims
// that has it from the child from. That is from itself, or a child of the same user that had
// the connection before it, and from has not told of it yet: children claim in any order. Or
// it had one with the same numbers, which is over, and has not told of that.
func (c *child) formerHolder(from *child, flow wire.Flow) *child {
	vci, via := c.s.ports.comesFrom(flow)
	if vci == 0 || vci == c.vci || via == c.vci { // of the last it has gone on already
		return from
	}
	if at := c.s.child(vci); at != nil && at.owner().uid == c.owner().uid {
		return at
	}
	return from
}

// whereIs returns which other child has a connection that this one has had.
func (c *child) whereIs(f wire.Flow) (wire.VCI, unix.Errno) {
	vci, ok := c.s.ports.holder(f)
	if !ok {
		return 0, unix.ENOENT
	}
	if at := c.s.child(vci); at == nil || at == c || at.owner().uid != c.owner().uid {
		return 0, unix.ENOENT
	}
	return vci, 0
}

// taken tells the child that a socket of its has gone to another one, so that it does
// not claim it when there is another server.
func (c *child) taken(socket uint32, flow wire.Flow) {
	_ = c.channel().SendMessage(&message.Message{Type: message.Keep, N: message.KeepTaken, Socket: socket, Local: flow.Local, Remote: flow.Remote})
}

// claimListener makes what comes for a listener by the devices come to this child.
func (c *child) claimListener(from *child, local wire.Endpoint) unix.Errno {
	if c.pool == nil || from.pool == nil || !local.Addr.IsZero() && !c.s.ports.onDevice(local.Addr) {
		return 0
	}
	if err := c.pool.TakeListener(from.pool, local); err != nil {
		return errnoIn(err)
	}
	return 0
}

// claimConnection makes what comes for a connection by the devices come to this child.
func (c *child) claimConnection(from *child, flow wire.Flow) unix.Errno {
	if c.pool == nil || from.pool == nil {
		return unix.EHOSTUNREACH
	}
	if err := c.pool.TakeFlow(from.pool, flow); err != nil {
		return errnoIn(err)
	}
	return 0
}

// claimBind makes a local end another socket's, if there is one. What has been claimed
// before is found again.
func (p *portSpace) claimBind(was, is socketID) (g grant, errno unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bindings[is]
	if b == nil {
		if b = p.bindings[was]; b == nil {
			return g, 0
		}
		if p.use(is.child).bindings >= maxBindings {
			return g, unix.EMFILE
		}
		delete(p.bindings, was)
		p.use(was.child).bindings--
		b.id = is
		p.bindings[is] = b
		p.use(is.child).bindings++
	}
	g = grant{local: b.local, points: b.points, came: cameBound}
	if b.reuse {
		g.came |= cameReuse
	}
	return g, 0
}

// comesFrom returns the child that a connection is known to be of, and by which other it came to
// it; 0 if there is none.
func (p *portSpace) comesFrom(f wire.Flow) (child, via wire.VCI) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fw := p.flows[f]
	return fw.id.child, fw.via
}

// claimFlow makes a connection another child's, and its local end if it has one of its
// own. Of one that came in by a listener, or from a leased port, the server may know
// nothing yet (mayHave). What has been claimed before is found again.
func (p *portSpace) claimFlow(was, is socketID, f wire.Flow, holder wire.VCI) (g grant, errno unix.Errno) {
	if g, errno = p.claimBind(was, is); errno != 0 {
		return g, errno
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fw, known := p.flows[f]
	switch {
	case known && fw.id.child == is.child:
	case known && fw.id.child != holder || p.waiting != nil && p.waiting(f):
		return g, unix.EADDRNOTAVAIL
	case !p.has(f.Local.Addr) || !known && !p.mayHave(is.child, f.Local):
		return g, unix.EADDRNOTAVAIL
	case p.use(is.child).flows >= maxFlows:
		return g, unix.ENOBUFS
	default:
		p.give(&fw, known, was, is, f)
	}
	g.local = f.Local
	if g.came&cameBound == 0 {
		g.points = fw.points
	}
	if fw.id.socket == message.NoSocket {
		g.came |= cameIn
	}
	return g, 0
}

// give makes connection f, which is fw if it is known, child is's.
func (p *portSpace) give(fw *forward, known bool, was, is socketID, f wire.Flow) {
	if known {
		p.use(fw.id.child).flows--
	}
	if !known || fw.id.socket == message.NoSocket {
		is.socket, fw.accepted = message.NoSocket, true
	}
	fw.id, fw.via = is, was.child
	if lessee, ok := p.lessee(f.Local.Port); ok && lessee != is.child && p.sameUser(lessee, is.child) {
		fw.lender = lessee // not was.child, if that has not told yet how it came by it
	}
	p.flows[f] = *fw
	p.use(is.child).flows++
}

// tellOver tells a child that a connection has ended that another child had, whose port
// is in a lease of its own.
func (s *Server) tellOver(lender wire.VCI, f wire.Flow) {
	if c := s.child(lender); c != nil {
		_ = c.channel().SendMessage(&message.Message{Type: message.Keep, N: message.KeepOver, Local: f.Local, Remote: f.Remote})
	}
}
