package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// The path's MTU. Segments are made for the largest packet that the link and the
// peer's MSS allow, until a router says that it is too large (RFC 1191, RFC 8201)
// or packets of that size vanish without a word: then sizes are searched for
// with probes, segments of data like any other (RFC 4821, RFC 8899).
//
//	low           mtu = low         probe            high       max
//	-|----------------|---------------|----------------|----------|
//	 gets through      what is sent    is tried         does not

// Sizes of packets in octets, and times of the search.
const (
	minPath4  = 552  // no router may make us send smaller ones (Linux's min_pmtu)
	minPath6  = 1280 // RFC 8201 section 4: no path has less
	basePath  = 1200 // RFC 8899 section 5.1.2: BASE_PLPMTU
	pathStep  = 16   // the search ends when it is that close
	pathTries = 3    // RFC 8899 section 5.1.2: MAX_PROBES
	pathRaise = 600 * Second
	holeTries = 3 // timeouts in a row that make a black hole: R1 of RFC 9293
)

// plateaus are the sizes that routers are likely to have, for those which do not
// say (RFC 1191 section 7).
var plateaus = [...]uint16{65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 552}

// headers returns how many octets of a packet are not payload.
func (c *Conn) headers() uint32 {
	n := uint32(wire.IPv6Len + 20)
	if c.Flow.Remote.Addr.Is4() {
		n = wire.IPv4Len + 20
	}
	if c.has(flagTimestamps) {
		n += timestampsLen
	}
	return n
}

// minPath returns the smallest MTU that is believed.
func (c *Conn) minPath() uint16 {
	if c.Flow.Remote.Addr.Is4() {
		return minPath4
	}
	return minPath6
}

// startPath begins with what the link and the peer allow.
func (c *Conn) startPath() {
	p := &c.path
	p.max = uint16(min(c.snd.mss+c.headers(), 65535))
	p.mtu, p.low = p.max, min(p.max, c.basePath())
	if c.Opt.MTUProbe == MTUProbeOn {
		p.hole = 1
		c.setPath(p.low)
	}
}

// basePath returns a size that nearly every path carries.
func (c *Conn) basePath() uint16 { return max(basePath, c.minPath()) }

// setPath makes segments for packets of n octets.
func (c *Conn) setPath(n uint16) {
	c.path.mtu = n
	c.snd.mss = max(uint32(n)-c.headers(), minMSS-timestampsLen)
	c.cc.cwnd = max(c.cc.cwnd, c.snd.mss)
}

// PathMTU says that a router could not pass on a packet of ours with sequence
// number quoted, as it was larger than mtu octets; 0 if the router does not say.
// Who can't see our packets can't guess a number that is in flight (RFC 5927
// section 4.1): other messages are ignored, and so are those that would make
// segments larger.
func (c *Conn) PathMTU(m *Memory, now Time, mtu uint32, quoted seq.Number) {
	c.begin()
	p := &c.path
	if !c.State.Synchronized() || quoted.Before(c.snd.una) || quoted.AtOrAfter(c.snd.nxt) {
		return
	}
	if mtu == 0 {
		mtu = c.plateau()
	}
	mtu = max(mtu, uint32(c.minPath()))
	if p.probe != 0 && quoted == p.probeAt && mtu < uint32(p.probe) {
		p.high = max(p.mtu, uint16(mtu)) + 1
		c.resendAll(m, now)
	}
	if mtu >= uint32(p.mtu) {
		return
	}
	c.Stats.PathMTUs++
	c.setPath(uint16(mtu))
	p.low, p.high = uint16(mtu), uint16(mtu)+1
	p.again = now + pathRaise
	c.resendAll(m, now)
}

// plateau returns the largest likely size below the present one.
func (c *Conn) plateau() uint32 {
	for _, n := range plateaus {
		if n < c.path.mtu {
			return uint32(n)
		}
	}
	return minPath4
}

// resendAll sends again what is in flight, in segments that fit. The network is
// not congested: congestion control stays as it is.
func (c *Conn) resendAll(m *Memory, now Time) {
	c.path.probe = 0
	if c.flight() == 0 || c.loss.phase == phaseLoss {
		return
	}
	before := c.cc
	c.startLoss(m, now)
	before.lost = c.cc.lost
	c.cc = before
	c.cc.cwnd = max(c.cc.cwnd, c.snd.mss)
	c.frtoBegin(false)
}

// suspectHole is called at a retransmission timeout: if several in a row get no
// answer, perhaps small packets would.
func (c *Conn) suspectHole(now Time) {
	p := &c.path
	if c.Opt.MTUProbe == MTUProbeOff || c.snd.retries+1 < holeTries || p.mtu <= c.minPath() || c.flight() <= 1 {
		return
	}
	p.probe = 0
	p.hole = 1
	p.high = p.mtu
	c.setPath(max(min(c.basePath(), p.mtu/2), c.minPath()))
	p.low = p.mtu
	p.again = now + c.rtt.rto
}

// searching reports whether probes may be sent, and begins the search anew when
// a long time has passed.
func (c *Conn) searching(now Time) bool {
	p := &c.path
	if p.probe != 0 || p.again > now || c.loss.phase != phaseOpen {
		return false
	}
	if p.again != 0 && c.Opt.MTUProbe == MTUProbeOff {
		p.again = 0
		c.setPath(p.max) // routers say if it is still too much
		return false
	}
	if p.again != 0 {
		p.again, p.tries = 0, 0
		p.high = p.max + 1
		if p.max == 65535 {
			p.high = p.max
		}
	}
	return true
}

// probeData returns the payload of the next segment of new data: most, or more if
// it is to be a probe. There must be enough behind it to notice its loss.
func (c *Conn) probeData(now Time, most uint32) uint32 {
	p := &c.path
	if !c.searching(now) || most != c.snd.mss {
		return most
	}
	high := p.high
	if high == 0 {
		high = p.max
	}
	if high <= p.mtu+pathStep || p.mtu >= p.max {
		p.again = now + pathRaise
		return most
	}
	size := p.mtu + (high-p.mtu+1)/2
	if p.tries == 0 && p.high == 0 {
		size = p.max // mostly it is what the link has
	}
	n := uint32(size) - c.headers()
	room := uint32(0)
	if edge := c.sndEdge(); edge.After(c.snd.nxt) {
		room = uint32(edge.From(c.snd.nxt))
	}
	if c.unsent() < n+dupThreshold*most || room < n+dupThreshold*most || c.flight()+n+dupThreshold*most > c.cc.cwnd {
		return most
	}
	return n
}

// noteProbe remembers the probe that leaves: n octets from s on.
func (c *Conn) noteProbe(s seq.Number, n uint32) {
	p := &c.path
	p.probe = uint16(n + c.headers())
	p.probeAt, p.probeEnd = s, s.Add(seq.Size(n))
	c.Stats.MTUProbes++
}

// probeAcked ends a probe that has got through, and was not sent again.
func (c *Conn) probeAcked() {
	p := &c.path
	if c.snd.una.Before(p.probeEnd) {
		return
	}
	size := p.probe
	p.probe, p.tries = 0, 0
	p.low = size
	c.setPath(size)
}

// probeLost ends a probe of which something is to be sent again from s on. That
// says nothing about congestion, if nothing else was lost (RFC 8899 section 3).
func (c *Conn) probeLost(now Time, s seq.Number) {
	p := &c.path
	if s.Before(p.probeAt) || s.AtOrAfter(p.probeEnd) {
		return
	}
	alone := c.snd.una == p.probeAt && c.board.lost <= uint32(p.probeEnd.From(p.probeAt))
	if c.loss.phase == phaseRecovery && alone {
		c.onUndo(now)
	}
	if p.tries++; p.tries >= pathTries {
		p.high, p.tries = p.probe, 0
	}
	p.probe = 0
}

// Oldest returns the number of the oldest octet that is not acknowledged.
func (c *Conn) Oldest() seq.Number { return c.snd.una }
