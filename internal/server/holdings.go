package server

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// What a child has of the port space goes over to its successor, or from a child
// to the server's successor, as a list of Keep messages. Their descriptors stay
// the port space's.

// holdBind notes the kernel's bind points of a socket's local end.
func (p *portSpace) holdBind(id socketID, points []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bindings[id].points = points
}

// holdFlow notes the kernel's bind points of a connection.
func (p *portSpace) holdFlow(f wire.Flow, points []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fw := p.flows[f]
	fw.points = points
	p.flows[f] = fw
}

// isBound reports whether a socket has a local end of its own.
func (p *portSpace) isBound(id socketID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bindings[id] != nil
}

// held lists what a child has, local ends first.
func (p *portSpace) held(child wire.VCI) (list []message.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, b := range p.bindings {
		if id.child == child {
			m := message.Message{Type: message.Keep, N: message.KeepBind, Socket: id.socket, Local: b.local, VCI: wire.VCI(b.how()), Files: b.points}
			if b.listening {
				m.Op = message.OpListen
			}
			list = append(list, m)
		}
	}
	for f, fw := range p.flows {
		if fw.id.child == child {
			list = append(list, message.Message{
				Type: message.Keep, N: message.KeepFlow, Socket: fw.id.socket, Local: f.Local, Remote: f.Remote, Files: fw.points,
			})
		}
	}
	for first, id := range p.leases {
		if id == child {
			list = append(list, message.Message{Type: message.Keep, N: message.KeepLease, Local: wire.Endpoint{Port: first}})
		}
	}
	for first, l := range p.blocks {
		if l.child == child && l.points >= 0 {
			list = append(list, message.Message{
				Type: message.Keep, N: message.KeepLease, Local: wire.Endpoint{Port: first}, Ports: l.ports, Files: []int{l.points},
			})
		}
	}
	return list
}

// reopen takes a connection that there is already.
func (p *portSpace) reopen(id socketID, m *message.Message) unix.Errno {
	if m.Socket == message.NoSocket && p.has(m.Local.Addr) {
		return p.accepted(id, m.Local, m.Remote, true)
	}
	_, errno := p.open(id, m.Local, m.Remote)
	return errno
}

// adopt takes what a child has had from the server before this one. It takes the
// descriptors over. The errno is that of bind, listen or open.
func (p *portSpace) adopt(child wire.VCI, uid int, m *message.Message) unix.Errno {
	id := socketID{child, m.Socket}
	errno := unix.Errno(0)
	switch m.N {
	case message.KeepBind:
		how, ok := message.BindHowOf(uint32(m.VCI))
		s := shardOf(how, uid)
		s.open = true // other shards may have gone before
		if !ok {
			errno = unix.EINVAL
		} else if _, errno = p.bindShard(id, m.Local, how.Reuse(), s); errno == 0 {
			p.holdBind(id, m.Files)
			if m.Op == message.OpListen {
				errno = p.listen(id)
			}
			return errno
		}
	case message.KeepFlow:
		if m.Local.Port == 0 {
			errno = unix.EINVAL
		} else if errno = p.reopen(id, m); errno == 0 {
			f := wire.Flow{Local: m.Local, Remote: m.Remote}
			p.holdFlow(f, m.Files)
			if m.Socket == message.NoSocket && p.onDevice(f.Local.Addr) {
				p.keepAgain(child, f)
			}
			return 0
		}
	}
	if m.N == message.KeepLease && len(m.Files) == 1 {
		return p.adoptBlock(child, m.Local.Port, m.Ports, m.Files[0])
	}
	if m.N == message.KeepLease {
		errno = p.adoptLease(child, m.Local.Port)
	}
	message.CloseFiles(m.Files)
	return errno
}
