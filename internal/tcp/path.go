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
//	low           mtu               probe            high       max
//	-|----------------|---------------|----------------|----------|
//	 gets through      what is sent    is tried         does not
//
// The search halves what lies between low and high. While nothing is known not to get
// through it tries max itself, which is mostly what there is, unless that is more than
// twice what is sent: the loss of a probe is made good with small segments.
//
// low begins as the base, which nearly every path carries: 1,200 octets (RFC 8899
// section 5.1.2: BASE_PLPMTU), in IPv6 what every path carries, 1,280 (RFC 8201 section
// 4). If that vanishes too, it is halved down to the floor: 552 octets, the least that
// Linux believes a router, or 1,280. A program can set both (ConnOptions).

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
	if c.has(flagTimestamps) {
		return c.bareHeaders() + timestampsLen
	}
	return c.bareHeaders()
}

// bareHeaders is headers without options.
func (c *Conn) bareHeaders() uint32 {
	if c.Flow.Remote.Addr.Is4() {
		return wire.IPv4Len + 20
	}
	return wire.IPv6Len + 20
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
func (c *Conn) basePath() uint16 {
	if c.Opt.BaseMSS != 0 {
		return uint16(min(uint32(c.Opt.BaseMSS)+c.headers(), 65535))
	}
	return max(basePath, c.minPath())
}

// floorPath returns the size at which the search for what gets through a black hole
// ends.
func (c *Conn) floorPath() uint16 {
	if c.Opt.FloorMSS != 0 {
		return uint16(min(uint32(c.Opt.FloorMSS)+c.headers(), 65535))
	}
	return c.minPath()
}

// TrustRoute says that the MTU which the connection was made with is what the host knows of
// this path, and not only its device's: with MTUProbeOn that is what is sent at first,
// instead of the base. It is called before the connection is open.
func (c *Conn) TrustRoute() {
	if !c.State.Synchronized() && c.State != Closed {
		c.setPath(c.path.max)
	}
}

// RouteMTU says that packets on the route to the peer may have mtu octets from now on.
// With less, what is in flight is sent again in segments that fit. What has become
// possible is used at once, or searched for by a connection that probes: all that was
// known before was of another route.
func (c *Conn) RouteMTU(m *Memory, now Time, mtu uint32) {
	c.begin()
	p := &c.path
	if !c.State.Synchronized() {
		return
	}
	mtu = max(min(mtu, c.mostPath()), uint32(c.minPath()))
	if mtu == uint32(p.max) {
		return
	}
	p.max, p.high, p.tries, p.again, p.wide = uint16(mtu), 0, 0, 0, 0
	switch {
	case p.mtu > p.max:
		c.setPath(p.max)
		p.low = min(p.low, p.mtu)
		c.resendLarge(m, now, c.noSegment())
	case p.hole == 0:
		c.setPath(p.max)
	}
}

// mostPath returns how large a packet the peer and the program allow.
func (c *Conn) mostPath() uint32 {
	most := uint32(c.path.peer)
	if c.Opt.UserMSS != 0 {
		most = min(most, uint32(c.Opt.UserMSS))
	}
	return min(most+c.bareHeaders(), 65535)
}

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
	tried := p.probe != 0 && quoted == p.probeAt && mtu < uint32(p.probe)
	if mtu >= uint32(p.mtu) {
		if tried {
			p.high = uint16(mtu) + 1
			c.resendProbe(m, now)
		}
		return
	}
	c.Stats.PathMTUs++
	c.setPath(uint16(mtu))
	p.low, p.high = uint16(mtu), uint16(mtu)+1
	p.again, p.wide = now+pathRaise, 0
	c.resendLarge(m, now, quoted)
}

// LocalMTU is PathMTU where it is the host itself that can't send the packet, since a
// device or a route of its own carries no more than mtu octets now. It will know when
// that is over, and call RouteGrew.
func (c *Conn) LocalMTU(m *Memory, now Time, mtu uint32, quoted seq.Number) {
	p := &c.path
	was, wide := p.mtu, p.wide
	if c.PathMTU(m, now, mtu, quoted); p.mtu == was {
		return
	}
	if p.wide = wide; wide == 0 {
		p.wide = was
	}
}

// MayGrow reports whether RouteGrew would change something.
func (c *Conn) MayGrow(most uint32) bool {
	return c.State.Synchronized() && (c.path.wide != 0 || uint32(c.path.max) < min(most, c.mostPath()))
}

// RouteGrew says that devices or routes of the host carry larger packets than before, up
// to most octets. What was only the host's own limit is forgotten; where the route to
// this peer is not one of those LocalMTU says so at once. What a router has said, or a
// search has found, lasts for its ten minutes (RFC 1191 section 6.3, RFC 8201 section 4).
func (c *Conn) RouteGrew(most uint32) {
	c.begin()
	p := &c.path
	if !c.MayGrow(most) {
		return
	}
	was, wide := p.max, p.wide
	p.max, p.wide = max(p.max, uint16(min(most, c.mostPath()))), 0
	switch {
	case wide == 0 && p.mtu < was:
	case wide != 0 && wide < was: // what was known before the host's own limit
		c.setPath(wide)
		p.low, p.high = wide, wide+1
	default:
		p.high, p.tries, p.again = 0, 0, 0
		if p.hole == 0 {
			c.setPath(p.max)
		}
	}
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

// suspectHole is called at a retransmission timeout: if several in a row get no
// answer, perhaps small packets would.
func (c *Conn) suspectHole(now Time) {
	p := &c.path
	if c.Opt.MTUProbe == MTUProbeOff || c.snd.retries+1 < holeTries || p.mtu <= c.floorPath() || c.flight() <= 1 {
		return
	}
	p.probe = 0
	p.hole = 1
	p.high = p.mtu
	next := c.basePath()
	if next >= p.mtu {
		next = p.mtu / 2
	}
	c.setPath(max(next, c.floorPath()))
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
	if p.mtu >= p.max || p.refuted() && p.high <= p.mtu+pathStep {
		p.again = now + pathRaise
		return most
	}
	n := uint32(p.nextSize()) - c.headers()
	room := uint32(0)
	if edge := c.sndEdge(); edge.After(c.snd.nxt) {
		room = uint32(edge.From(c.snd.nxt))
	}
	if c.unsent() < n+dupThreshold*most || room < n+dupThreshold*most || c.flight()+n+dupThreshold*most > c.cc.cwnd {
		return most
	}
	return n
}

// refuted reports whether it is known that packets of max octets do not get through.
func (p *path) refuted() bool { return p.high != 0 && p.high <= p.max }

// nextSize returns what is tried next, larger than mtu and no larger than max.
func (p *path) nextSize() uint16 {
	high := p.high
	if !p.refuted() {
		if p.high == 0 && p.tries == 0 && p.max/2 <= p.mtu || p.max-p.mtu <= pathStep {
			return p.max
		}
		high = p.max
	}
	if size := p.low + (high-p.low)/2; size > p.mtu {
		return size
	}
	return p.mtu + (high-p.mtu+1)/2
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
