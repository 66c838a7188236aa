package server

import (
	"slices"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// A host has some 28,000 ephemeral ports, or as few as its administrator likes, and each is in
// TIME-WAIT to the same end for a minute. So a connection for which no other port is left
// takes one that is in TIME-WAIT to that very end, as Linux does where net.ipv4.tcp_tw_reuse
// is 1 (with 2, its default, within the host only; but Linux does so also when other ports
// are free, and does not ask whether the peer's clock has gone on: see tcp.Conn.Follow). By
// devices it has to be the same user's, and what is left of it goes along, so that the child
// makes the new connection follow it (RFC 6191):
//
//	child                                 server
//	  ── Forward open, N=follows ─────────►│ no port but those in TIME-WAIT
//	  ◄─ Time_Wait ────────────────────────│ out of the book, the device's packets go to the child
//	  ◄─ General_Reply, N=MTU, follows ────│
//	  SYN
//
// On the ring it is as with a block of ports that is lent again (lease): what has been in
// TIME-WAIT for longer than a packet lives just ends.

// How long a connection has been in TIME-WAIT at least before its port is used again: as
// half.reuseAfter, which is the rule for ports that are lent; and for how long it is soon
// enough, so that none is looked for that has been so for longer: Linux's second.
const (
	reuseAfter = 100 * tcp.Millisecond
	reuseReady = tcp.Second
)

// waited returns for how long a connection that is in the book has been in TIME-WAIT, 0 if
// its four numbers must not be used again yet: for a user's program by the devices, by which
// it may be if follows is set, or for anybody's on the ring.
func (w *timeWaits) waited(f wire.Flow, uid int, byDevice, follows bool) tcp.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, now := w.byFlow[f], clock()
	if r == nil || r.End <= now {
		return 0
	}
	d := now - (r.End - tcp.TimeWaitLength)
	whose := w.blocks[waitBlock(f.Local.Port)].flows[f]
	switch {
	case byDevice && (!follows || whose == nobody || whose != uid || !r.MayReuse(now, reuseAfter)):
		return 0
	case !byDevice && d <= lendAfter:
		return 0
	}
	return d
}

// takeFlow takes a connection out of the book that is another's to keep, also when there is
// another server. It is nil if TIME-WAIT is over.
func (w *timeWaits) takeFlow(f wire.Flow) *tcp.Remnant {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.byFlow[f]
	if r != nil {
		w.strike(r)
	}
	return r
}

// openAgain is open for when no port is left with which the four numbers are free: of those
// in TIME-WAIT, for which waited says for how long, it takes the first one that has been so
// long enough, or else the one that has been so longest. The ports in tried are passed over.
func (p *portSpace) openAgain(id socketID, local, remote wire.Endpoint, waited func(wire.Flow) tcp.Time, tried []uint16) (wire.Endpoint, unix.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errno := p.source(&local.Addr, &remote.Addr); errno != 0 {
		return local, errno
	}
	most := tcp.Time(0)
	f := wire.Flow{Local: local, Remote: remote}
	for port := range ephemeral(p.ports()) {
		f.Local.Port = port
		_, taken := p.flows[f]
		if taken || len(p.byPort[port]) > 0 || p.leased(port) || slices.Contains(tried, port) {
			continue
		}
		if d := waited(f); d > most {
			most, local.Port = d, port
		}
		if most >= reuseReady {
			break
		}
	}
	if local.Port == 0 {
		return local, unix.EADDRNOTAVAIL
	}
	f.Local = local
	p.enter(f, forward{id: id, unbound: true})
	return local, 0
}

// openAgain is open for a connection of which no four numbers are free.
func (c *child) openAgain(m *message.Message) (g grant, errno unix.Errno) {
	s, uid := c.s, c.owner().uid
	var tried []uint16
	waited := func(f wire.Flow) tcp.Time {
		return s.timeWaits.waited(f, uid, s.byDevice(f), m.N == message.ForwardFollows)
	}
	for range bindTries {
		local, errno := s.ports.openAgain(socketID{c.vci, m.Socket}, m.Local, m.Remote, waited, tried)
		if errno != 0 {
			return grant{local: m.Local}, errno
		}
		if g, errno = c.hold(m, local); errno != unix.EADDRINUSE {
			if g.again = errno == 0; g.again && s.onRing(m.Remote.Addr) {
				s.timeWaits.takeFlow(wire.Flow{Local: local, Remote: m.Remote})
			}
			return g, errno
		}
		tried = append(tried, local.Port) // the kernel has that one
	}
	return grant{local: m.Local}, unix.EADDRNOTAVAIL
}

// follow gives the child what comes for a connection that it has opened and that is in
// TIME-WAIT, and what is left of that. It reports whether anything is: TIME-WAIT may just
// have ended. If the child cannot be told TIME-WAIT goes on.
func (c *child) follow(f wire.Flow) (follows bool, errno unix.Errno) {
	if err := c.pool.Take(f, c.s.waiting.pool.Load()); err != nil {
		return false, errnoIn(err)
	}
	r := c.s.timeWaits.takeFlow(f)
	if r == nil {
		return false, 0
	}
	c.s.ports.precede(f, r)
	if err := c.channel().SendMessage(&message.Message{Type: message.TimeWait, PDU: r.Append(nil)}); err != nil {
		c.goOnWaiting(f)
		c.disconnectNIC(f)
		return false, unix.EADDRNOTAVAIL
	}
	return true, 0
}

// goOnWaiting puts the connection in TIME-WAIT that one was to follow, which has not begun,
// into the book again. One that has begun has taken its place, whatever becomes of it: even
// when nobody can tell, since the child has ended for good, its peer may have a connection
// there, and is to hear RST and not the answers of the one before.
func (c *child) goOnWaiting(f wire.Flow) {
	r := c.s.ports.preceded(c.vci, f)
	if r == nil || r.End <= clock() {
		return
	}
	uid := c.owner().uid
	n := c.s.timeWaits.add([]tcp.Remnant{*r}, func(wire.Flow) int { return uid })
	if n > 0 && c.s.waiting.take(f, c.pool) != 0 {
		c.s.timeWaits.drop(f)
	}
}

// precede notes what a connection follows.
func (p *portSpace) precede(f wire.Flow, was *tcp.Remnant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fw, ok := p.flows[f]; ok {
		fw.was = was
		p.flows[f] = fw
	}
}

// preceded returns what a child's connection follows, once; nil if there is nothing.
func (p *portSpace) preceded(child wire.VCI, f wire.Flow) *tcp.Remnant {
	p.mu.Lock()
	defer p.mu.Unlock()
	fw, ok := p.flows[f]
	if !ok || fw.id.child != child {
		return nil
	}
	was := fw.was
	fw.was = nil
	p.flows[f] = fw
	return was
}
