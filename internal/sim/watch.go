package sim

import (
	"fmt"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// watch sees every packet when it is sent and when it arrives, and checks what
// the wire shows of the rules on windows: "a TCP receiver SHOULD NOT shrink the
// window" (RFC 9293 section 3.8.6), and nobody sends beyond one.
type watch struct {
	ways   map[wire.Flow]*way // by flow as the sender sees it
	exact  bool               // every packet arrives
	forged bool               // damage may change the ECN field and pass
}

// way is one direction of a connection.
type way struct {
	scaled bool // its SYN offered window scaling
	scale  uint8
	iss    seq.Number

	promised    seq.Number // right edge of what the receiving program may be sent
	hasPromised bool
	allowed     seq.Number // how far the sender was told that it may go
	hasAllowed  bool
	synAck      seq.Number // that the last SYN-ACK acknowledged
	early       seq.Size   // what the peer's SYN offers: a server may use it at once

	ecn ecnWay
}

// seen is a packet as the watch sees it.
type seen struct {
	ip  wire.IP
	tcp wire.TCP
	n   int // octets of payload
}

func (s *seen) flow() wire.Flow {
	return wire.Flow{
		Local:  wire.Endpoint{Addr: s.ip.Src, Port: s.tcp.SrcPort},
		Remote: wire.Endpoint{Addr: s.ip.Dst, Port: s.tcp.DstPort},
	}
}

// read reads a packet; ok is false if it is damaged.
func (s *seen) read(b []byte) (ok bool) {
	if wire.ParseIP(b, &s.ip) != nil || s.ip.TotalLen != len(b) || s.ip.Proto != wire.ProtoTCP || s.ip.IsFragment() {
		return false
	}
	n, err := wire.ParseTCP(b[s.ip.HeaderLen:], &s.tcp)
	if err != nil {
		return false
	}
	s.n = len(b) - s.ip.HeaderLen - n
	return wire.TCPChecksumOK(&s.ip.Src, &s.ip.Dst, b[s.ip.HeaderLen:], nil)
}

func reverse(f wire.Flow) wire.Flow { return wire.Flow{Local: f.Remote, Remote: f.Local} }

func (w *watch) way(f wire.Flow) *way {
	x := w.ways[f]
	if x == nil {
		x = &way{}
		w.ways[f] = x
	}
	return x
}

// edge returns the right edge that a packet promises on way x, and the unit in
// which its window counts.
func (w *watch) edge(s *seen, x, back *way) (edge seq.Number, unit seq.Size) {
	shift := uint8(0)
	if s.tcp.Flags&wire.SYN == 0 && x.scaled && back.scaled {
		shift = min(x.scale, 14)
	}
	return s.tcp.Ack.Add(seq.Size(s.tcp.Window) << shift), 1 << shift
}

// sent checks a packet that leaves its host.
func (w *watch) sent(s *seen) error {
	f := s.flow()
	x, back := w.way(f), w.way(reverse(f))
	if s.tcp.Flags&wire.RST != 0 {
		return nil
	}
	if s.tcp.Flags&wire.SYN != 0 {
		// A connection that data in a SYN has opened can be over at once, and a copy of
		// the SYN open another: its SYN-ACK has the number of the first, and knows less.
		again := s.tcp.Flags&wire.ACK != 0 && s.tcp.Ack.Before(x.synAck)
		if s.tcp.Seq != x.iss || again { // an old SYN that came late begins a connection of its own
			*x = way{iss: s.tcp.Seq, early: x.early}
		}
		x.synAck = s.tcp.Ack
		x.scaled, x.scale = s.tcp.Options.Has(wire.HasWindowScale), s.tcp.Options.WindowScale
	}
	if err := w.feedback(s, x, back); err != nil {
		return err
	}
	if err := w.notBeyond(s, x); err != nil || s.tcp.Flags&wire.ACK == 0 {
		return err
	}
	edge, unit := w.edge(s, x, back)
	// "the window field … rounded down" can take back less than a unit (RFC 7323
	// section 2.4): what is sent up to the edge is still taken.
	// A SYN's window is not scaled and can't say more than 65,535 octets, in whole
	// segments: a SYN-ACK that goes again after data, which Fast Open lets go before, says
	// less than that did.
	full := s.tcp.Flags&wire.SYN != 0 && uint32(s.tcp.Window)+uint32(s.tcp.Options.MSS) >= 65535
	if x.hasPromised && !full && edge.Add(unit).AtOrBefore(x.promised) {
		return fmt.Errorf("the window shrinks by %d octets, its unit is %d", x.promised.From(edge), unit)
	}
	if !x.hasPromised || edge.After(x.promised) {
		x.promised, x.hasPromised = edge, true
	}
	return nil
}

// notBeyond checks that what a packet carries lies in the window that its sender
// knows of.
func (w *watch) notBeyond(s *seen, x *way) error {
	n := seq.Size(s.n)
	if s.tcp.Flags&wire.FIN != 0 {
		n++
	}
	if n == 0 || s.tcp.Flags&wire.SYN != 0 {
		return nil
	}
	end := s.tcp.Seq.Add(n)
	if !x.hasAllowed && x.early > 0 && end.AtOrBefore(x.iss.Add(1+x.early)) {
		return nil
	}
	if !x.hasAllowed {
		return fmt.Errorf("data is sent before any window is known")
	}
	if end.After(x.allowed) {
		return fmt.Errorf("a segment goes %d octets beyond the window", end.From(x.allowed))
	}
	return nil
}

// arrived takes note of a packet that a host is about to take.
func (w *watch) arrived(s *seen) {
	if s.tcp.Flags&wire.RST != 0 || s.tcp.Flags&(wire.ACK|wire.SYN) == 0 {
		return
	}
	f := s.flow()
	x, back := w.way(f), w.way(reverse(f))
	if s.tcp.Flags&wire.ACK == 0 {
		back.early = seq.Size(s.tcp.Window)
		return
	}
	w.countMark(s, back)
	edge, _ := w.edge(s, x, back)
	if !back.hasAllowed || edge.After(back.allowed) {
		back.allowed, back.hasAllowed = edge, true
	}
}
