package tcp

import "usertcp/internal/wire"

// Explicit congestion notification (RFC 3168): routers mark packets instead of
// dropping them, the receiver echoes the mark with ECE until it sees CWR, and the
// sender halves its window at most once for each window of data.

// Codepoints of the ECN field in the IP header (RFC 3168 section 5), for
// Segment.ECN.
const (
	NotECT = 0 // of a transport that does not know ECN
	ECT1   = 1
	ECT0   = 2
	CE     = 3 // congestion experienced
)

// askECN makes our SYN an ECN-setup SYN, which has ECE and CWR (RFC 3168 section
// 6.1.1), unless it is sent again: some middleboxes drop such SYNs.
func (c *Conn) askECN(out *Segment) {
	e := &c.ecn
	e.asked = 0
	if c.Opt.ECN == ECNOn && c.snd.retries == 0 {
		e.asked = 1
		out.Flags |= wire.ECE | wire.CWR
	}
}

// agreeECN finds out from the peer's SYN whether both sides want ECN.
func (c *Conn) agreeECN(syn *Segment) {
	e := &c.ecn
	e.on = 0
	e.recover = c.snd.iss
	const both = wire.ECE | wire.CWR
	switch {
	case syn.Flags&wire.ACK != 0:
		// An ECN-setup SYN-ACK has ECE and not CWR (RFC 3168 section 6.1.1): so the echo
		// of a confused peer is none.
		if e.asked != 0 && syn.Flags&both == wire.ECE {
			e.on = 1
		}
	case syn.Flags&both == both && c.Opt.ECN != ECNOff && (c.has(flagPassive) || e.asked != 0):
		e.on = 1
	}
}

// markECN says in a segment of new data that it may be marked, and that the
// window was reduced if it was since the last one. What is sent again, and what
// carries no data, does not: RFC 3168 sections 6.1.4 to 6.1.6.
func (c *Conn) markECN(out *Segment) {
	out.ECN = ECT0
	if c.ecn.reduced != 0 {
		c.ecn.reduced = 0
		out.Flags |= wire.CWR
	}
}

// arriveMark handles the ECN field and CWR of a segment with data that is in the
// window.
func (c *Conn) arriveMark(seg *Segment) {
	e := &c.ecn
	if seg.Flags&wire.CWR != 0 {
		e.echo = 0
	}
	if seg.ECN == CE {
		c.Stats.CE++
		e.echo = 1
		c.rcv.quick = max(c.rcv.quick, 2) // the sender is to hear of it soon
	}
}

// arriveEcho handles ECE in an acknowledgement: "TCP should not react to
// congestion indications more than once every window of data (or more loosely,
// more than once every round-trip time)" (RFC 3168 section 6.1.2).
func (c *Conn) arriveEcho(now Time) {
	e := &c.ecn
	if !c.snd.una.After(e.recover) || c.loss.phase != phaseOpen || c.flight() == 0 {
		return
	}
	c.Stats.ECE++
	e.recover = c.snd.nxt
	e.reduced = 1
	c.onLoss(now, c.flight())
	if !c.ownsWindow() {
		c.cc.cwnd = max(min(c.cc.cwnd, c.cc.ssthresh), c.snd.mss)
	}
}
