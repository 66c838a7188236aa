package sim

import (
	"fmt"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// ecnWay is accurate ECN in one direction, as the wire shows it (RFC 9768).
type ecnWay struct {
	asked  bool   // its SYN was (1,1,1)
	agreed bool   // its SYN-ACK said yes
	marks  uint32 // packets with CE that arrived at its sender
	third  bool   // the acknowledgement of the SYN-ACK, which says something else, was made out
	opened int    // SYN-ACKs that its peer has sent: each may be acknowledged so
}

const aceFlags = wire.AE | wire.CWR | wire.ECE

// countMark takes note of a packet that a host is about to take: back is the
// direction in which that host sends.
func (w *watch) countMark(s *seen, back *way) {
	if s.ip.TOS&3 == tcp.CE && s.tcp.Flags&wire.SYN == 0 {
		back.ecn.marks++
	}
}

// feedback checks the count of marks that a packet on way x tells, where nothing is
// lost or late: it is then that of the network, to the packet.
func (w *watch) feedback(s *seen, x, back *way) error {
	f := s.tcp.Flags
	ace := f & aceFlags
	switch {
	case f&(wire.SYN|wire.ACK) == wire.SYN:
		x.ecn.asked = ace == aceFlags
	case f&wire.SYN != 0:
		x.ecn.agreed = back.ecn.asked && ace != 0 && ace != wire.ECE && ace != aceFlags
		back.ecn.opened++
	case f&wire.RST != 0 || !x.ecn.agreed && !back.ecn.agreed:
	case x.ecn.asked && !x.ecn.third && s.n == 0:
		x.ecn.third = true
		// No checksum covers the ECN field of IPv6: damage may be a mark there.
		if ace != wire.CWR && !w.forged {
			return fmt.Errorf("the acknowledgement of the SYN-ACK, which nobody marked, says %s", ace)
		}
	case x.ecn.opened > 1 && s.n == 0 && ace == wire.CWR:
		// The device may have refused the acknowledgement that was made out first, so that
		// the peer is in SYN-RECEIVED still and reads this one as that of its SYN-ACK.
	default:
		if want := (5 + x.ecn.marks) % 8; w.exact && uint32(ace/wire.ECE) != want {
			return fmt.Errorf("it tells of %d marks modulo 8, %d have arrived", (uint32(ace/wire.ECE)+3)%8, x.ecn.marks)
		}
	}
	return nil
}

// Exact reports whether every packet arrives, once, whole and in order.
func (p *Plan) Exact() bool {
	return p.Loss == 0 && p.Dup == 0 && p.Reorder == 0 && p.Corrupt == 0 && p.Jitter == 0 && p.Rate == 0 &&
		!p.SmallMTU && !p.Partition && !p.Stop && !p.Kill
}
