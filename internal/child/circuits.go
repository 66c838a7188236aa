package child

import (
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// Each end of a circuit offers its half, and uses the other's. A child that dies in
// between may have had the other's half, or sent its own, before the connection server
// knew: then the peer writes where nobody reads. So its successor says that its half is
// lost (Detach with LostHalf), an offer that nobody answers is made again, and one that is
// another than the one in use shows that the peer has lost what we have. Either way both
// begin anew, and whatever goes by the circuit waits for nobody: it goes through the
// servers meanwhile. Frames between two pools come in order, so that all that was offered
// before such a Detach is stale. Who sends it because of an offer makes none itself: if
// both ends did, each might have one from before the other's Detach again and again.

// circuitTo returns the circuit to a peer, and begins one if there is none.
// c.circuits is held.
func (c *child) circuitTo(peer wire.VCI) (i uint16, up bool, err error) {
	ok := false
	c.bottom.Change(func() { i, up, ok = c.driver.Find(peer) })
	if ok {
		return i, up, nil
	}
	mem, err := c.driver.NewMemory(peer)
	if err != nil {
		return pool.NoCircuit, false, err
	}
	c.bottom.Change(func() { i, err = c.driver.Offer(peer, mem) })
	if err != nil {
		return pool.NoCircuit, false, err
	}
	if err := c.offerTo(peer, mem); err != nil {
		return pool.NoCircuit, false, err
	}
	c.offerAgain(peer, mem, offerPause)
	return i, false, nil
}

// offerTo sends the peer an offer of this end's memory.
func (c *child) offerTo(peer wire.VCI, mem *shm.Segment) error {
	ro, err := mem.ReadOnly()
	if err != nil {
		return err
	}
	defer unix.Close(ro)
	bell, err := c.bell.ReadOnly()
	if err != nil {
		return err
	}
	defer unix.Close(bell)
	f := ring.Frame{
		Type: ring.FrameAttach, Src: c.cfg.vci, Dst: peer, N: c.offerVersion(),
		Files: ring.Peer{Memory: ro, Bell: bell, Top: c.doors[0].Fd(), Bottom: c.doors[1].Fd()}.Files(),
	}
	return ring.SendFrame(c.link.Load().frames, &f)
}

// offerPause is how long an offer may be without answer until it is made again, at first,
// and offerMost at last: the child that has got it may have died over it.
const (
	offerPause = time.Second
	offerMost  = time.Minute
)

// offerAgain makes an offer again until the peer has answered.
func (c *child) offerAgain(peer wire.VCI, mem *shm.Segment, pause time.Duration) {
	time.AfterFunc(pause, func() {
		c.circuits.Lock()
		defer c.circuits.Unlock()
		if c.driver.Offers(peer, mem) {
			_ = c.offerTo(peer, mem) // without a server the next one brings it
			c.offerAgain(peer, mem, min(2*pause, offerMost))
		}
	})
}

// offerVersion is what both ends of a circuit must agree on: the layout of its
// memory, and whether PDUs carry a CRC.
func (c *child) offerVersion() uint32 {
	if c.cfg.crc {
		return ring.Version ^ 1
	}
	return ring.Version
}

// attach maps what a peer offers; if this end has not offered anything yet it
// does so now.
func (c *child) attach(f *ring.Frame) {
	p, err := ring.PeerFrom(f.Files)
	if err != nil || f.N != c.offerVersion() {
		message.CloseFiles(f.Files)
		c.send(&ring.Frame{Type: ring.FrameDetach, Src: c.cfg.vci, Dst: f.Src})
		return
	}
	c.circuits.Lock()
	defer c.circuits.Unlock()
	i, up, err := c.circuitTo(f.Src)
	if err != nil || up {
		known := err != nil || c.driver.Knows(i, p)
		p.Close()
		if !known { // it has another half than the one that we use: to offer one is up to it
			c.lose(f.Src)
			c.sayLost(f.Src)
		}
		return
	}
	c.keepCircuit(i, f.Src, p)
	c.bottom.ForgetCircuit(i)
	c.bottom.Change(func() { err = c.driver.Complete(i, p) })
	if err != nil {
		return
	}
	c.circuitUp(i)
	for _, s := range c.waiting[f.Src] {
		c.take(s, i)
	}
	delete(c.waiting, f.Src)
	c.rerouteTo(f.Src, i)
}

// detach ends the circuit to a peer that is gone, or does not want one. SYNs that
// waited for it go on without.
func (c *child) detach(f *ring.Frame) {
	peer := f.Src
	c.circuits.Lock()
	defer c.circuits.Unlock()
	if f.N == ring.LostHalf {
		if c.lose(peer) || c.needs(peer) {
			c.seek(peer)
		}
		return
	}
	c.bottom.Change(func() {
		i, _, there := c.driver.Find(peer)
		c.driver.Close(peer)
		if there {
			c.bottom.Prod(i)
		}
		c.bottom.PeerGone(func(circuit uint16) bool { return c.driver.Remote(circuit) == peer })
		c.driver.Collect()
	})
	c.forgetCircuits()
	c.goWithout(peer)
}

// goWithout lets what has waited for a circuit to a peer go through the servers.
// c.circuits is held.
func (c *child) goWithout(peer wire.VCI) {
	for _, s := range c.waiting[peer] {
		c.take(s, pool.NoCircuit)
	}
	delete(c.waiting, peer)
	delete(c.moving, peer)
}

// lose takes what goes by the circuit to a peer off it, as that is of no use any more; it
// waits for the next one, and goes through the servers meanwhile. It reports whether there
// was a circuit. c.circuits is held.
func (c *child) lose(peer wire.VCI) (there bool) {
	var flows []wire.Flow
	c.bottom.Change(func() {
		var i uint16
		if i, _, there = c.driver.Find(peer); there {
			c.driver.Close(peer)
			flows = c.bottom.Strand(i)
		}
		c.driver.Collect()
	})
	c.forgetCircuits()
	c.wait(peer, flows)
	return there
}

// wait has connections wait for the circuit to a peer, who is to offer one; if he does
// not, or that gets lost, this end does. c.circuits is held.
func (c *child) wait(peer wire.VCI, flows []wire.Flow) {
	if room := maxMoving - len(c.moving[peer]); len(flows) > 0 && room > 0 {
		c.moving[peer] = append(c.moving[peer], flows[:min(len(flows), room)]...)
	}
	if !c.needs(peer) {
		return
	}
	time.AfterFunc(offerPause, func() {
		c.circuits.Lock()
		defer c.circuits.Unlock()
		if c.needs(peer) {
			c.seek(peer)
		}
	})
}

// sayLost tells a peer that our half of the circuit is lost.
func (c *child) sayLost(peer wire.VCI) {
	c.send(&ring.Frame{Type: ring.FrameDetach, Src: c.cfg.vci, Dst: peer, N: ring.LostHalf})
}

// needs reports whether anything waits for the circuit to a peer.
func (c *child) needs(peer wire.VCI) bool {
	return len(c.moving[peer])+len(c.waiting[peer]) > 0
}

// seek begins a circuit to a peer, unless there is one.
func (c *child) seek(peer wire.VCI) {
	if _, _, err := c.circuitTo(peer); err != nil {
		c.goWithout(peer)
	}
}

// collect frees the circuits of peers that are gone, whose last connection has ended
// since: what we had sent to them lies there still.
func (c *child) collect() {
	found := false
	c.bottom.Change(func() { found = c.driver.Collectable() })
	if !found {
		return
	}
	c.circuits.Lock()
	defer c.circuits.Unlock()
	c.bottom.Change(c.driver.Collect)
	c.forgetCircuits()
}
