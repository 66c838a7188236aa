package tcp

import "usertcp/internal/wire"

// Explicit congestion notification: routers mark packets instead of dropping
// them, and the receiver tells the sender. How it tells is agreed upon in the
// handshake: as RFC 3168 has it, with ECE until CWR comes, which says no more than
// that there was a mark; or as RFC 9768 has it, with counters (accecn.go). Either
// way the sender reduces its window at most once for each window of data.

// Codepoints of the ECN field in the IP header (RFC 3168 section 5), for
// Segment.ECN.
const (
	NotECT = 0 // of a transport that does not know ECN
	ECT1   = 1
	ECT0   = 2
	CE     = 3 // congestion experienced
)

// What both sides agreed upon: ecn.on.
const (
	ecnOff      = iota
	ecnClassic  // RFC 3168
	ecnAccurate // RFC 9768
)

// What our SYNs have asked for: ecn.asked.
const (
	askedClassic  = 1 << iota // the last one
	askedAccurate             // any of them
)

// setupFlags are the flags of an ECN-setup SYN, and accurateFlags those of a SYN
// that asks for accurate ECN.
const (
	setupFlags    = wire.ECE | wire.CWR
	accurateFlags = wire.AE | wire.CWR | wire.ECE
)

// asksAccurate and the others say what a value of ConnOptions.ECN allows.
func (o *ConnOptions) asksAccurate() bool    { return o.ECN == ECNAccurate }
func (o *ConnOptions) asksClassic() bool     { return o.ECN == ECNOn || o.ECN == ECNAcceptAccurate }
func (o *ConnOptions) acceptsAccurate() bool { return o.ECN >= ECNAccurate }

// askECN makes our SYN one that asks for ECN.
func (c *Conn) askECN(out *Segment) {
	e := &c.ecn
	first := c.snd.nxt == c.snd.iss
	switch {
	case c.Opt.asksAccurate() && (first || e.asked == askedAccurate && c.snd.retries <= 1):
		// The client "SHOULD attempt to negotiate the use of AccECN at least one more time
		// by continuing to set all three TCP ECN flags … on the first retransmitted SYN",
		// and clear them on those that follow (RFC 9768 section 3.1.4.1)
		e.asked = askedAccurate
		out.Flags |= accurateFlags
	case c.Opt.asksClassic() && first:
		// An ECN-setup SYN has ECE and CWR (RFC 3168 section 6.1.1); sent again it has
		// not, since some middleboxes drop such SYNs.
		e.asked = askedClassic
		out.Flags |= setupFlags
	default:
		e.asked &^= askedClassic
	}
}

// agreeECN finds out from the peer's SYN what kind of ECN both sides want.
func (c *Conn) agreeECN(syn *Segment) {
	e := &c.ecn
	e.recover = c.snd.iss
	if syn.Flags&wire.ACK != 0 {
		e.on = c.answeredECN(syn.Flags & accurateFlags)
	} else {
		e.on = c.requestedECN(syn.Flags & accurateFlags)
	}
	if e.on == ecnAccurate {
		c.startAccurate(syn)
	}
}

// answeredECN returns what the flags of a SYN-ACK agree to: the second and the
// fourth block of RFC 9768's table 2.
func (c *Conn) answeredECN(flags wire.Flags) uint8 {
	switch {
	case c.ecn.asked == askedAccurate && flags == wire.ECE:
		return ecnClassic
	case c.ecn.asked == askedAccurate && flags != 0 && flags != accurateFlags:
		// (1,0,1) is reserved: "the Client MUST enable AccECN mode as if the SYN/ACK
		// confirmed that the Server supported AccECN" (section 3.1.3)
		return ecnAccurate
	case c.ecn.asked == askedClassic && flags&setupFlags == wire.ECE:
		// An ECN-setup SYN-ACK has ECE and not CWR (RFC 3168 section 6.1.1): so the echo
		// of a confused peer is none.
		return ecnClassic
	}
	return ecnOff
}

// requestedECN returns what we agree to when a SYN has these flags. Where both
// sides have sent one it must be what both ask for.
func (c *Conn) requestedECN(flags wire.Flags) uint8 {
	accurate, classic := c.Opt.acceptsAccurate(), c.Opt.ECN != ECNOff
	if !c.has(flagPassive) {
		accurate, classic = c.ecn.asked == askedAccurate, c.ecn.asked != 0
	}
	switch {
	case accurate && flags != 0 && flags != setupFlags:
		// Combinations that mean nothing yet count as (1,1,1) (RFC 9768 section 3.1.3).
		return ecnAccurate
	case classic && flags&setupFlags == setupFlags:
		return ecnClassic
	}
	return ecnOff
}

// grantECN sets the flags of our SYN-ACK.
func (c *Conn) grantECN(out *Segment) {
	switch c.ecn.on {
	case ecnClassic:
		out.Flags |= wire.ECE
	case ecnAccurate:
		c.grantAccurate(out)
	}
}

// markECN says in a segment of new data that it may be marked, and that the
// window was reduced if it was since the last one. What is sent again, and what
// carries no data, does not: RFC 3168 sections 6.1.4 to 6.1.6.
func (c *Conn) markECN(out *Segment) {
	if c.ecn.traits&ecnNoECT != 0 {
		return
	}
	out.ECN = ECT0
	if c.ecn.reduced != 0 {
		c.ecn.reduced = 0
		out.Flags |= wire.CWR
	}
}

// arriveMark handles the ECN field and CWR of a segment with data that is in the
// window, as RFC 3168 has it.
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

// arriveEcho handles ECE in an acknowledgement.
func (c *Conn) arriveEcho(now Time) {
	if c.slowDown(now, c.flight()) {
		c.ecn.reduced = 1
	}
}

// slowDown answers the news of a mark: "TCP should not react to congestion
// indications more than once every window of data (or more loosely, more than once
// every round-trip time)" (RFC 3168 section 6.1.2). flight octets were in flight.
// It reports whether this was the once.
func (c *Conn) slowDown(now Time, flight uint32) bool {
	once := c.shrink(now, flight)
	if once {
		c.Stats.ECE++
	}
	return once
}

// shrink is slowDown for whatever tells of congestion without a loss.
func (c *Conn) shrink(now Time, flight uint32) bool {
	e := &c.ecn
	if !c.snd.una.After(e.recover) || c.loss.phase != phaseOpen || flight == 0 {
		return false
	}
	e.recover = c.snd.nxt
	c.onLoss(now, flight)
	if !c.ownsWindow() {
		c.cc.cwnd = max(min(c.cc.cwnd, c.cc.ssthresh), c.snd.mss)
	}
	return true
}
