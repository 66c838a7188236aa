package server

import (
	"slices"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// segment is a TCP segment that came to the well-known VCI.
type segment struct {
	ip   wire.IP
	tcp  wire.TCP
	len  int      // octets of payload
	from wire.VCI // RxVCI of its AAL-5 trailer: where answers go
}

// flow returns its connection, as this host sees it.
func (s *segment) flow() wire.Flow {
	return wire.Flow{
		Local:  wire.Endpoint{Addr: s.ip.Dst, Port: s.tcp.DstPort},
		Remote: wire.Endpoint{Addr: s.ip.Src, Port: s.tcp.SrcPort},
	}
}

// isSyn reports whether it asks for a connection.
func (s *segment) isSyn() bool {
	return s.tcp.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN
}

// parse reads the segment in a frame. Its checksum is not looked at: between
// hosts of a ring it may be left out, memory having no line noise.
func (s *segment) parse(f *ring.Frame) bool {
	b := f.Packet()
	s.from = f.Src
	return s.parsePadded(b) && s.ip.TotalLen == len(b)
}

// parsePadded reads the segment in an IP packet, behind which there may be octets that
// fill a frame up.
func (s *segment) parsePadded(b []byte) bool {
	if err := wire.ParseIP(b, &s.ip); err != nil {
		return false
	}
	if s.ip.Proto != wire.ProtoTCP || s.ip.IsFragment() || s.ip.TotalLen > len(b) {
		return false
	}
	b = b[s.ip.HeaderLen:s.ip.TotalLen]
	n, err := wire.ParseTCP(b, &s.tcp)
	if err != nil {
		return false
	}
	s.len = len(b) - n
	return true
}

// packet deals with a packet that came to the well-known VCI: it goes to the
// child that has its connection, or its port. What nobody has is answered with
// RST; the paper gives it to the kernel, which would do the same (section
// 4.4.7), but has no way to a ring.
func (s *Server) packet(f *ring.Frame) {
	var seg segment
	if !seg.parse(f) || !s.ports.onRing(seg.ip.Dst) {
		s.counters.badPackets.Add(1)
		return
	}
	flow := seg.flow()
	if vci, ok := s.ports.owner(flow); ok && s.giveTo(vci, f) {
		return
	}
	id, ok := s.ports.listener(flow)
	if s.waits(flow, &seg, ok) {
		return
	}
	switch {
	case ok && seg.isSyn() && s.syn(id, &seg, f):
	case ok && !seg.isSyn() && s.giveTo(id.child, f):
	default:
		s.reset(&seg)
	}
}

// giveTo passes a frame that came to the well-known VCI on to a child.
func (s *Server) giveTo(vci wire.VCI, f *ring.Frame) bool {
	c := s.child(vci)
	if c == nil {
		return false // it has just gone
	}
	to := *f
	to.Dst = vci
	c.give(&to)
	return true
}

// syn tells the child that listens of a SYN, which is dropped if the child is
// too far behind: the connector sends it again.
func (s *Server) syn(id socketID, seg *segment, f *ring.Frame) bool {
	c := s.child(id.child)
	if c == nil {
		return false
	}
	synID, ok := c.syns.add(seg, time.Now())
	if !ok {
		s.counters.synsQueue.Add(1)
		return true
	}
	flow := seg.flow()
	err := c.channel().SendMessage(&message.Message{
		Type: message.Syn, ID: synID, VCI: seg.from, Socket: id.socket,
		Local: flow.Local, Remote: flow.Remote, PDU: f.Packet(),
	})
	if err != nil {
		c.syns.remove(synID)
		s.counters.stuck.Add(1)
		return true
	}
	s.counters.syns.Add(1)
	return true
}

// waits answers a segment of a connection in TIME-WAIT that a child has left.
func (s *Server) waits(flow wire.Flow, seg *segment, listened bool) bool {
	in := seg.engine()
	var out tcp.Segment
	mine, answer := s.timeWaits.input(flow, &in, &out, listened)
	if answer {
		s.send(ring.NewPDU(s.vci(), seg.from, answerPacket(seg, &out)))
	}
	return mine
}

// engine returns the segment as the engine takes it, less the payload.
func (s *segment) engine() tcp.Segment {
	return tcp.Segment{
		Seq: s.tcp.Seq, Ack: s.tcp.Ack, Flags: s.tcp.Flags, Window: s.tcp.Window,
		Options: s.tcp.Options, Len: uint32(s.len),
	}
}

// reset answers a segment with RST, if it is one that is answered at all.
func (s *Server) reset(seg *segment) {
	in := seg.engine()
	var out tcp.Segment
	if !tcp.ResetFor(&in, &out) {
		return
	}
	s.counters.resets.Add(1)
	s.send(ring.NewPDU(s.vci(), seg.from, answerPacket(seg, &out)))
}

// ttl is the time to live, or hop limit, of packets that the server makes.
const ttl = 64

// answerPacket returns the packet that carries out back to where seg came from.
func answerPacket(seg *segment, out *tcp.Segment) []byte {
	h := wire.TCP{
		SrcPort: seg.tcp.DstPort, DstPort: seg.tcp.SrcPort,
		Seq: out.Seq, Ack: out.Ack, Flags: out.Flags, Window: out.Window, Options: out.Options,
	}
	ip := wire.IP{Src: seg.ip.Dst, Dst: seg.ip.Src, Proto: wire.ProtoTCP, TTL: ttl, DontFragment: true}
	b := make([]byte, wire.IPv6Len+h.Len(), wire.IPv6Len+h.Len()+wire.AAL5Len)
	n := ip.Emit(b, h.Len())
	header := b[n : n+h.Len()]
	h.Emit(header)
	h.Checksum = wire.TCPChecksum(&ip.Src, &ip.Dst, header, nil)
	h.Emit(header)
	return slices.Clip(b[:n+h.Len()])
}
