package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// OpenActive is the active OPEN call (RFC 9293 section 3.10.1): the connection
// goes from CLOSED to SYN-SENT. Only Opt is kept of what was there before; a
// zeroed Opt becomes DefaultOptions.
func (c *Conn) OpenActive(m *Memory, now Time, flow wire.Flow, iss seq.Number) {
	opt := c.Opt
	c.prepare(now, flow, iss, &opt)
	c.pending = pendSyn
	c.setState(m, now, SynSent)
}

// OpenPassive makes a fresh connection from the SYN that came for a listener:
// it goes to SYN-RECEIVED. Whether there is a listener, and whether the segment
// is a SYN without ACK or RST, is for the caller to check. Text of the SYN is
// left for the peer to send again.
func (c *Conn) OpenPassive(m *Memory, now Time, flow wire.Flow, iss seq.Number, opt *ConnOptions, syn *Segment) {
	c.prepare(now, flow, iss, opt)
	c.set(flagPassive)
	c.takeSyn(now, syn)
	c.Stats.SegsIn++
	c.pending = pendSyn
	c.setState(m, now, SynReceived)
}

// OpenListen is the passive OPEN call: the connection stands for a listener and
// never sees a segment. Opt is kept.
func (c *Conn) OpenListen(local wire.Endpoint) {
	opt := c.Opt
	c.prepare(0, wire.Flow{Local: local}, 0, &opt)
	c.setState(nil, 0, Listen)
}

// prepare makes a fresh transmission control block.
func (c *Conn) prepare(now Time, flow wire.Flow, iss seq.Number, opt *ConnOptions) {
	o := *opt
	if o == (ConnOptions{}) {
		o = DefaultOptions()
	}
	o.clamp()
	*c = Conn{Flow: flow, Opt: o, SndQ: noChunks, RcvQ: noChunks}

	s := &c.snd
	s.iss, s.una, s.nxt, s.end = iss, iss, iss, iss.Add(1)
	s.next = cursor{chunk: None}
	s.again = s.next
	s.tsOffset = tsOffset(now, iss)
	c.setPeerMSS(0)
	c.loss.recover = iss
	c.snd.small = iss
	c.rtt.rto = initialRTO
	c.rcv.quick = quickAcks
	c.rcv.lastSeg = now
	c.rcv.scale = windowScale(&o)
}

// tsOffset hides the uptime in timestamps, and yet lets them only grow from one
// connection of a flow to the next: iss less its clock (RFC 6528 section 3) is
// the same for all connections of a flow.
func tsOffset(now Time, iss seq.Number) uint32 {
	x := uint32(iss) - isnClock(now)
	x = (x ^ x>>16) * 0x85ebca6b
	x = (x ^ x>>13) * 0xc2b2ae35
	return x ^ x>>16
}

// windowScale chooses the shift of our window field.
func windowScale(o *ConnOptions) uint8 {
	if o.WindowScaling == 0 {
		return 0
	}
	scale := uint8(minScale)
	for most := max(o.RcvBuf, o.RcvMax); scale < maxScale && most>>scale > 65535; {
		scale++
	}
	return scale
}

// takeSyn takes the peer's initial sequence number and what its SYN offers. What
// it does not offer is off from now on.
func (c *Conn) takeSyn(now Time, syn *Segment) {
	o := &syn.Options
	r := &c.rcv
	promised := r.edge.From(r.nxt) // by our SYN, if it is out
	r.irs = syn.Seq
	r.nxt = syn.Seq.Add(1)
	r.acked = r.nxt
	r.edge = r.nxt.Add(promised)
	r.lastSeg = now
	c.agreeECN(syn)
	c.setPeerMSS(0)
	if o.Has(wire.HasMSS) {
		c.setPeerMSS(o.MSS)
	}
	if o.Has(wire.HasTimestamps) && c.Opt.Timestamps != 0 {
		c.set(flagTimestamps)
		r.tsRecent = o.TSVal
		r.tsRecentAt = now
		c.snd.mss -= timestampsLen
	}
	c.takeUserTimeout(now, o)
	if o.Has(wire.HasSACKPermitted) && c.Opt.SACK != 0 {
		c.set(flagSACK)
	}
	if o.Has(wire.HasWindowScale) && c.Opt.WindowScaling != 0 {
		c.set(flagScaling)
		// "If a Window Scale option is received with a shift.cnt value larger than
		// 14, the TCP … MUST use 14 instead of the specified value" (RFC 7323 section
		// 2.3)
		c.snd.scale = min(o.WindowScale, maxScale)
	} else {
		r.scale = 0
	}
	r.mss = min(defaultMSS4, c.snd.mss)
	c.startPath()
	// "The window field in a segment where the SYN bit is set … MUST NOT be scaled"
	// (RFC 7323 section 2.2)
	c.snd.wnd = uint32(syn.Window)
	c.snd.maxWnd = c.snd.wnd
	c.snd.wl1 = syn.Seq
	c.snd.wl2 = c.snd.una
}

// setPeerMSS takes the peer's MSS option, zero if there was none.
func (c *Conn) setPeerMSS(mss uint16) {
	if mss == 0 {
		// "If an MSS Option is not received at connection setup, TCP implementations
		// MUST assume a default send MSS of 536 (576 - 40) for IPv4 or 1220 (1280 -
		// 60) for IPv6" (RFC 9293 MUST-15)
		mss = defaultMSS6
		if c.Flow.Remote.Addr.Is4() {
			mss = defaultMSS4
		}
	}
	c.path.peer = max(mss, minMSS)
	c.snd.mss = uint32(min(c.path.peer, c.Opt.MSS))
}

// establish ends the handshake: our SYN is acknowledged.
func (c *Conn) establish(m *Memory, now Time, seg *Segment) {
	s := &c.snd
	c.measure(now, seg)
	s.una = s.iss.Add(1)
	c.board.begin(s.una)
	c.rack.fack = s.una
	s.retries = 0
	s.wl2 = seg.Ack
	c.rtt.shift = 0
	if c.has(flagSynResent) && c.rtt.srtt == 0 {
		// "If the timer expires awaiting the ACK of a SYN segment and the TCP
		// implementation is using an RTO less than 3 seconds, the RTO MUST be
		// re-initialized to 3 seconds when data transmission begins" (RFC 6298 (5.7))
		c.rtt.rto = fallbackRTO
	}
	c.stop(timerResend)
	c.pending &^= pendSyn
	c.loss.recover = s.iss
	if !c.FastPending() { // there it has begun
		c.startCongestion(now)
	}
	c.rcv.lastData = now // as in Linux: since then nothing has come
	c.openAccurate()
	c.fastEstablish(m, now, seg)
	c.Events |= EventEstablished | EventWritable
	c.setState(m, now, Established)
	c.keepAlive(now)
	if c.has(flagFinQueued) {
		c.setState(m, now, FinWait1)
	}
}
