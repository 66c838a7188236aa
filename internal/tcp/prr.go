package tcp

// prr is proportional rate reduction (RFC 9937): what may leave in a recovery,
// in octets.
type prr struct {
	delivered uint32 // since the recovery began
	out       uint32 // sent since then
	flight    uint32 // in flight when it began: RecoverFS
}

// prrBegin begins a recovery with flight octets in flight.
func (c *Conn) prrBegin(flight uint32) { c.prr = prr{flight: max(flight, 1)} }

// prrAck sets cwnd after a segment in a recovery: in proportion to what is
// delivered until the flight has shrunk to ssthresh, then so that it stays
// there (RFC 9937 section 6.2).
func (c *Conn) prrAck(x *news) {
	if c.ownsWindow() {
		return
	}
	p, cc := &c.prr, &c.cc
	p.delivered += x.delivered
	pipe := c.pipe()
	room := int64(0)
	if pipe > cc.ssthresh {
		share := (uint64(p.delivered)*uint64(cc.ssthresh) + uint64(p.flight) - 1) / uint64(p.flight)
		room = int64(share) - int64(p.out)
	} else {
		room = max(int64(p.delivered)-int64(p.out), int64(x.delivered))
		if x.acked > 0 && x.lost == 0 {
			// A hole was filled and no other one found: slow start back to ssthresh
			// (PRR-SSRB). Else no more leaves than arrives (PRR-CRB).
			room += int64(c.snd.mss)
		}
		room = min(room, int64(cc.ssthresh-pipe))
	}
	room = max(room, 0)
	if p.out == 0 {
		// The first retransmission leaves at once.
		room = max(room, int64(c.snd.mss))
	}
	cc.cwnd = max(min(pipe+uint32(room), maxBuffer), c.snd.mss)
}

// prrSent counts what leaves in a recovery.
func (c *Conn) prrSent(n uint32) {
	if c.loss.phase == phaseRecovery {
		c.prr.out += n
	}
}

// prrEnd ends a recovery at the window that the congestion control wants.
func (c *Conn) prrEnd() {
	if !c.ownsWindow() {
		c.cc.cwnd = max(c.cc.ssthresh, c.snd.mss)
	}
}
