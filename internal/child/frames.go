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
		c.deviceLeases.comeAlong(m.PDU, clock()())
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
		c.detach(f)
	case ring.FrameLease:
		c.peerLeases(f)
	case ring.FrameLeased:
		c.leasesKnown(f)
	case ring.FrameMoved:
		c.peerMoved(f)
	case ring.FrameMovedKnown:
		c.movedKnown(f)
	case ring.FramePDU:
		c.bottom.Arrive(f.Packet(), pool.NoCircuit)
	case ring.FrameUnreachable:
		if flow, ok := flowOf(f.PDU); ok {
			c.bottom.Fail(flow, tcp.ErrUnreachable)
		}
	}
	message.CloseFiles(f.Files)
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

// send sends a frame to the server; one that gets lost is as a packet that does.
func (c *child) send(f *ring.Frame) {
	_ = ring.SendFrame(c.link.Load().frames, f)
}
