package server

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// open takes a connection for a socket: from then on its packets go to the
// socket's child. An absent local address is the host's first of the remote
// end's family, local port 0 any ephemeral port with which the four numbers are
// not taken; the local end it became is returned. The errno is 0 or
// ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE (another child's port), EINVAL, ENOBUFS.
func (p *portSpace) open(id socketID, local, remote wire.Endpoint) (wire.Endpoint, unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errno := p.source(&local.Addr, &remote.Addr); errno != 0 {
		return local, errno
	}
	if remote.Port == 0 {
		return local, unix.EINVAL
	}
	if p.use(id.child).flows >= maxFlows {
		return local, unix.ENOBUFS
	}
	if local.Port != 0 {
		return local, p.openFrom(id, local, remote, false)
	}
	for port := range ephemeral(p.ports()) {
		e := wire.Endpoint{Addr: local.Addr, Port: port}
		if len(p.byPort[port]) == 0 && p.openFrom(id, e, remote, false) == 0 {
			return e, 0
		}
	}
	return local, unix.EADDRNOTAVAIL
}

// accepted takes a connection that came in by a listener and is to outlive it. It
// keeps nobody from binding its port. known says that the server before this one knew of
// it. The errno is 0 or EADDRNOTAVAIL, EADDRINUSE (others' port), ENOBUFS.
func (p *portSpace) accepted(id socketID, local, remote wire.Endpoint, known bool) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.has(local.Addr):
		return unix.EADDRNOTAVAIL
	case !known && !p.mayHave(id.child, local):
		return unix.EADDRINUSE
	case p.use(id.child).flows >= maxFlows:
		return unix.ENOBUFS
	}
	return p.openFrom(id, local, remote, true)
}

// mayHave reports whether a child may have a connection that is told of for the first time,
// having begun where the server gave leave for many at once: at a listener, or from a leased
// port. What is said of it comes from the application's memory, so it may not be where only
// other users listen, or have a port. p.mu is held.
func (p *portSpace) mayHave(child wire.VCI, local wire.Endpoint) bool {
	if lessee, ok := p.lessee(local.Port); ok {
		return p.sameUser(lessee, child)
	}
	users, others := false, false
	for _, b := range p.byPort[local.Port] {
		switch same := p.sameUser(b.id.child, child); {
		case !b.local.Addr.Covers(&local.Addr):
		case b.listening: // with SO_REUSEADDR others may have bound it before, not listen there
			return same
		case same:
			users = true
		default:
			others = true
		}
	}
	return users || !others
}

// source checks the local address of a connection, or chooses it.
func (p *portSpace) source(local, remote *wire.Addr) unix.Errno {
	if !local.IsZero() {
		switch {
		case !p.has(*local):
			return unix.EADDRNOTAVAIL
		case local.Is4() != remote.Is4():
			return unix.ENETUNREACH
		}
		return 0
	}
	for i := range p.addrs {
		if p.addrs[i].Is4() == remote.Is4() {
			*local = p.addrs[i]
			return 0
		}
	}
	return unix.ENETUNREACH
}

func (p *portSpace) openFrom(id socketID, local, remote wire.Endpoint, accepted bool) unix.Errno {
	bound, errno := p.boundBy(id.child, local)
	bound = bound || accepted
	if errno != 0 && !accepted {
		return errno
	}
	f := wire.Flow{Local: local, Remote: remote}
	if _, taken := p.flows[f]; taken || p.waiting != nil && p.waiting(f) {
		return unix.EADDRNOTAVAIL
	}
	if !bound && p.leased(local.Port) {
		return unix.EADDRINUSE
	}
	p.enter(f, forward{id: id, unbound: !bound, accepted: accepted})
	return 0
}

// enter notes a connection. p.mu is held.
func (p *portSpace) enter(f wire.Flow, fw forward) {
	if fw.unbound {
		p.unbound[f.Local]++
	}
	p.flows[f] = fw
	p.use(fw.id.child).flows++
}

// mayOpen reports whether a connection is a child's, or could be: nobody else has it, or its
// port, and it is not in TIME-WAIT here.
func (p *portSpace) mayOpen(child wire.VCI, f wire.Flow) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fw, ok := p.flows[f]; ok {
		return fw.id.child == child
	}
	if vci, ok := p.leases[blockOf(f.Local.Port)]; ok {
		return vci == child
	}
	_, errno := p.boundBy(child, f.Local)
	return errno == 0 && (p.waiting == nil || !p.waiting(f))
}

// boundBy reports whether the child has bound local; if only others have, it may
// not be used.
func (p *portSpace) boundBy(child wire.VCI, local wire.Endpoint) (bool, unix.Errno) {
	errno := unix.Errno(0)
	for _, b := range p.byPort[local.Port] {
		if !b.local.Addr.Covers(&local.Addr) {
			continue
		}
		if b.id.child == child {
			return true, 0
		}
		errno = unix.EADDRINUSE
	}
	return false, errno
}

// close gives back a connection of a child.
func (p *portSpace) close(child wire.VCI, f wire.Flow) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	fw, ok := p.flows[f]
	if !ok || fw.id.child != child {
		return unix.EINVAL
	}
	p.dropFlow(f, fw)
	return 0
}

func (p *portSpace) dropFlow(f wire.Flow, fw forward) {
	delete(p.flows, f)
	message.CloseFiles(fw.points)
	if fw.kept != nil {
		p.unkeep(fw.kept)
	}
	p.use(fw.id.child).flows--
	if fw.lender != 0 && p.over != nil {
		p.over(fw.lender, f)
	}
	if !fw.unbound {
		return
	}
	if p.unbound[f.Local]--; p.unbound[f.Local] == 0 {
		delete(p.unbound, f.Local)
	}
}

// owns reports whether a connection is a child's.
func (p *portSpace) owns(child wire.VCI, f wire.Flow) bool {
	vci, ok := p.owner(f)
	return ok && vci == child
}

// holder returns the child that has a connection, if one has told of it.
func (p *portSpace) holder(f wire.Flow) (child wire.VCI, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fw, ok := p.flows[f]
	return fw.id.child, ok
}

// owner returns the child that a connection's packets go to.
func (p *portSpace) owner(f wire.Flow) (child wire.VCI, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fw, ok := p.flows[f]; ok {
		return fw.id.child, true
	}
	child, ok = p.leases[blockOf(f.Local.Port)]
	return child, ok
}
