package child

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// waitingSyn is a SYN that waits for the circuit to its sender.
type waitingSyn struct {
	id  uint32
	pdu []byte
}

// maxWaiting bounds the SYNs of one peer that wait for a circuit; more are
// dropped, and come again.
const maxWaiting = 256

// fromServer takes the server's messages: a SYN for a port of this application.
func (c *child) fromServer(m *message.Message) {
	switch m.Type {
	case message.Keep:
		c.inherit(m)
	case message.Sockets, message.End:
		c.answer(m)
	case message.Limits:
		c.heedLimits(m)
	case message.TimeWait:
		c.deviceLeases.comeAlong(m.PDU)
	}
	if m.Type == message.TakeOver {
		c.taker(m)
	}
	if m.Type != message.Syn {
		return
	}
	select {
	case <-c.began:
	default:
		return // it comes again
	}
	c.circuits.Lock()
	defer c.circuits.Unlock()
	i, up, err := c.circuitTo(m.VCI)
	switch {
	case err != nil || up:
		// Without a circuit the handshake goes through the servers.
		c.take(waitingSyn{m.ID, m.PDU}, i)
	case len(c.waiting[m.VCI]) < maxWaiting:
		pdu := append([]byte(nil), m.PDU...)
		c.waiting[m.VCI] = append(c.waiting[m.VCI], waitingSyn{m.ID, pdu})
	default:
		c.divert(m.ID, unix.ENOBUFS)
	}
	c.wake()
}

// take gives a SYN to the bottom half and tells the server so.
func (c *child) take(s waitingSyn, circuit uint16) {
	c.bottom.Arrive(s.pdu, circuit)
	c.divert(s.id, 0)
	if circuit == pool.NoCircuit {
		if flow, ok := flowOf(s.pdu); ok {
			go c.forward(wire.Flow{Local: flow.Remote, Remote: flow.Local})
		}
	}
}

// forward has the server forward the packets of a connection without a circuit
// to this child, even when nobody listens any more (paper appendix A.3).
func (c *child) forward(flow wire.Flow) {
	m := message.Message{Type: message.Forward, Op: message.OpOpen, Socket: message.NoSocket, Local: flow.Local, Remote: flow.Remote}
	if _, errno := c.agree(&m, func(*message.Message) { c.record.forward(message.NoSocket, flow, nil) }); errno != 0 {
		return
	}
	if !c.bottom.RegisterFlow(flow) {
		c.giveBack(message.NoSocket, half.RegisteredFlow, flow)
	}
}

// divert tells the server what has become of a SYN.
func (c *child) divert(id uint32, errno unix.Errno) {
	c.tell(message.Message{Type: message.Divert, ID: id, Errno: uint32(errno)})
}

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
	ro, err := mem.ReadOnly()
	if err != nil {
		return pool.NoCircuit, false, err
	}
	defer unix.Close(ro)
	bell, err := c.bell.ReadOnly()
	if err != nil {
		return pool.NoCircuit, false, err
	}
	defer unix.Close(bell)
	f := ring.Frame{
		Type: ring.FrameAttach, Src: c.cfg.vci, Dst: peer, N: c.offerVersion(),
		Files: ring.Peer{Memory: ro, Bell: bell, Top: c.doors[0].Fd(), Bottom: c.doors[1].Fd()}.Files(),
	}
	return i, false, ring.SendFrame(c.link.Load().frames, &f)
}

// receiveFrames takes the server's frames until it has gone: connections that
// have a circuit go on then.
func (c *child) receiveFrames(l *link) {
	buf := make([]byte, ring.MaxFrame)
	for {
		var f ring.Frame
		if err := ring.RecvFrame(l.frames, buf, &f); err != nil {
			if ring.IsBadFrame(err) {
				continue
			}
			return
		}
		c.frame(&f)
		c.wake()
	}
}

func (c *child) frame(f *ring.Frame) {
	switch f.Type {
	case ring.FrameAttach:
		c.attach(f)
		return
	case ring.FrameDetach:
		c.detach(f.Src)
	case ring.FrameLease:
		c.peerLeases(f)
	case ring.FrameLeased:
		c.leasesKnown(f)
	case ring.FrameMoved:
		c.peerMoved(f)
	case ring.FramePDU:
		c.bottom.Arrive(f.Packet(), pool.NoCircuit)
	case ring.FrameUnreachable:
		if flow, ok := flowOf(f.PDU); ok {
			c.bottom.Fail(flow, tcp.ErrUnreachable)
		}
	}
	message.CloseFiles(f.Files)
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
		p.Close()
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

// flowOf returns the connection that the beginning of a packet of ours belongs
// to.
func flowOf(b []byte) (wire.Flow, bool) {
	var ip wire.IP
	var t wire.TCP
	if wire.ParseIP(b, &ip) != nil {
		return wire.Flow{}, false
	}
	if _, err := wire.ParseTCP(b[ip.HeaderLen:], &t); err != nil {
		return wire.Flow{}, false
	}
	return wire.Flow{
		Local:  wire.Endpoint{Addr: ip.Src, Port: t.SrcPort},
		Remote: wire.Endpoint{Addr: ip.Dst, Port: t.DstPort},
	}, true
}

var _ half.Outside = outside{}

// offerVersion is what both ends of a circuit must agree on: the layout of its
// memory, and whether PDUs carry a CRC.
func (c *child) offerVersion() uint32 {
	if c.cfg.crc {
		return ring.Version ^ 1
	}
	return ring.Version
}

// detach ends the circuit to a peer that is gone, or does not want one. SYNs that
// waited for it go on without.
func (c *child) detach(peer wire.VCI) {
	c.circuits.Lock()
	defer c.circuits.Unlock()
	c.bottom.Change(func() {
		i, _, there := c.driver.Find(peer)
		c.driver.Close(peer)
		if there {
			c.bottom.Prod(i)
		}
		c.driver.Collect()
	})
	c.forgetCircuits()
	for _, s := range c.waiting[peer] {
		c.take(s, pool.NoCircuit)
	}
	delete(c.waiting, peer)
	delete(c.moving, peer)
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

// send sends a frame to the server; one that gets lost is as a packet that does.
func (c *child) send(f *ring.Frame) {
	_ = ring.SendFrame(c.link.Load().frames, f)
}
