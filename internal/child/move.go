package child

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// A program that hands over some of its sockets moves them to a segment of their own,
// with another child, which is handed over as a whole then. What the children have to
// do about it they find in their segments, so that it is done whoever dies:
//
//	old child                    server                     new child
//	                               │◄──── Move{socket} ────────│  claims what it has got
//	                               │───── General_Reply ──────►│
//	   ◄── Keep{taken} ────────────│
//	   ── frame Moved{flow} ─────────────► peer's child          tells the peer
//	   ◄── frame MovedKnown{flow} ───────────── │
//	                                            ◄── circuit ──►│  unless there is one
//
// The peer's child lets the connection go by the circuit to the new pool, which it
// makes if there is none; until then its packets go through the servers. The old child
// passes over what comes for the connection until it has both answers (half/graves.go),
// and says so again, whenever something comes and now and then, in case a frame is lost.
// When that is late it asks the server first where the connection is:
//
//	   ── Move{flow} ─────────────►│

// maxMoving bounds the connections that wait for the circuit to one peer; others go
// through the servers until they are heard of again.
const maxMoving = 4096

// claim claims what has come from other pools. The errno is that of the first socket
// that was not to be had: 0, EHOSTDOWN (it is tried again with the next server), or
// what the server says, which is final.
func (c *child) claim() (first unix.Errno) {
	c.claims.Lock()
	defer c.claims.Unlock()
	for _, k := range c.bottom.Unclaimed() {
		errno := c.claimOne(k)
		if errno != 0 && first == 0 {
			first = errno
		}
		if errno == unix.EHOSTDOWN || errno == unix.ETIMEDOUT {
			break
		}
	}
	return first
}

// claimSoon claims when there is a segment.
func (c *child) claimSoon() {
	go func() {
		<-c.began
		c.claim()
	}()
}

func (c *child) claimOne(k half.Claim) unix.Errno {
	m := message.Message{Type: message.Move, Op: message.OpOpen, Socket: k.Socket, VCI: k.From, N: k.Origin, Local: k.Flow.Local, Remote: k.Flow.Remote}
	if k.Listens {
		m.Op = message.OpListen
	}
	what, mtu := half.Registered(0), uint32(0)
	_, errno := c.agree(&m, func(r *message.Message) {
		what, mtu = c.noteClaim(&k, r), uint32(message.MoveGrantOf(r.N).MTU)
	})
	switch {
	case errno == unix.EHOSTDOWN || errno == unix.ETIMEDOUT:
		return errno
	case errno != 0:
		fmt.Fprintf(os.Stderr, "usertcp child: %v came from pool %v and is not to be had: %v\n", k.Flow, k.From, errno)
	}
	if !c.bottom.Claimed(k, what, mtu) && what != 0 {
		c.giveBack(k.Socket, what, k.Flow)
	}
	return errno
}

// noteClaim notes what the server has given, and returns what that is.
func (c *child) noteClaim(k *half.Claim, r *message.Message) (what half.Registered) {
	points, grant := r.Files, message.MoveGrantOf(r.N)
	if grant.Bound {
		how := message.BindHow(0)
		if grant.Reuse {
			how = message.BindReuse
		}
		c.record.bind(k.Socket, r.Local, how, points)
		what, points = half.RegisteredBind, nil
	}
	if k.Listens {
		c.record.listen(k.Socket)
		return what
	}
	c.record.forward(r.Socket, k.Flow, points)
	return what | half.RegisteredFlow
}

// Moved implements half.Mover.
func (o outside) Moved(d half.Departure) {
	if d.Late {
		o.c.lookFor(d.Flow)
	} else {
		o.c.tellMoved(d)
	}
}

// tellMoved tells the peer of a connection where that has gone.
func (c *child) tellMoved(d half.Departure) {
	var peer wire.VCI
	c.bottom.Change(func() { peer = c.driver.Remote(d.Circuit) })
	if f := ring.NewMoved(c.cfg.vci, peer, d.To, d.Flow); f.Valid() {
		c.send(&f)
	}
}

// maxSought bounds the questions at one time where connections have gone; others are
// asked later.
const maxSought = 16

// lookFor asks the server where a connection is that went from here long ago, and tells
// its peer if that sends here still.
func (c *child) lookFor(flow wire.Flow) {
	select {
	case c.sought <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-c.sought }()
		r, errno := c.ask(&message.Message{Type: message.Move, Op: message.OpOpen, Socket: message.NoSocket, VCI: c.cfg.vci, Local: flow.Local, Remote: flow.Remote})
		switch errno {
		case 0:
			if d, tell := c.bottom.Found(flow, r.VCI); tell {
				c.tellMoved(d)
			}
		case unix.ENOENT:
			c.bottom.Missing(flow)
		}
	}()
}

// peerMoved takes the word of a peer that another pool has a connection now that it
// has had, and says so when nothing goes to the peer any more.
func (c *child) peerMoved(f *ring.Frame) {
	flow, to := f.Moved()
	c.circuits.Lock()
	defer c.circuits.Unlock()
	from, ok := uint16(0), false
	c.bottom.Change(func() { from, _, ok = c.driver.Find(f.Src) })
	if ok {
		if ok = c.bottom.Leaves(flow, from); !ok {
			c.reroute(flow, from, to)
			ok = c.bottom.Leaves(flow, from)
		}
	} else { // its packets go through the servers, and are to stay there
		c.moving[f.Src] = slices.DeleteFunc(c.moving[f.Src], func(x wire.Flow) bool { return x == flow })
		ok = true
	}
	if ok {
		known := f.MovedKnown()
		c.send(&known)
	}
}

// reroute lets a connection that goes by circuit from go to another pool. c.circuits is
// held.
func (c *child) reroute(flow wire.Flow, from uint16, to wire.VCI) {
	i, up, err := c.circuitTo(to)
	switch {
	case err == nil && up:
		c.bottom.Reroute(flow, from, i)
		return
	case err == nil && len(c.moving[to]) < maxMoving && !slices.Contains(c.moving[to], flow):
		c.moving[to] = append(c.moving[to], flow)
	}
	c.bottom.Reroute(flow, from, pool.NoCircuit)
}

// movedKnown takes a peer's answer.
func (c *child) movedKnown(f *ring.Frame) {
	seen, to := f.Moved()
	flow := wire.Flow{Local: seen.Remote, Remote: seen.Local}
	c.bottom.PeerKnows(flow, to, func(circuit uint16) bool { return c.driver.Remote(circuit) == f.Src })
}

// rerouteTo lets the connections that have waited for the circuit to a peer go by it.
// c.circuits is held.
func (c *child) rerouteTo(peer wire.VCI, circuit uint16) {
	for _, flow := range c.moving[peer] {
		c.bottom.Reroute(flow, pool.NoCircuit, circuit)
	}
	delete(c.moving, peer)
}

// taken takes the server's word that a socket of this pool has gone to another one.
// Connections that a listener has let in, and that stay here, are the listener's no
// more to the devices.
func (c *child) taken(socket uint32, flow wire.Flow) {
	<-c.began
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	if flow.Remote.Port == 0 {
		c.keepFlows(flow.Local)
	}
	c.record.drop(socket, half.RegisteredBind|half.RegisteredFlow, flow)
	c.bottom.ServerKnows(flow)
}

// over takes the server's word that a connection has ended that went to another pool.
func (c *child) over(flow wire.Flow) {
	select {
	case <-c.began:
		c.bottom.Over(flow)
	default:
	}
}
