package tcp

import (
	"encoding/binary"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// SYN cookies (RFC 4987 section 3.6): when a listener's backlog is full of half
// open connections, what a SYN said is put into the SYN-ACK instead of into
// memory, and found again in the acknowledgement of it.
//
// The initial sequence number holds a clock and the peer's MSS, under a hash of
// the flow that the peer can't compute:
//
//	iss = hash(flow, 0) + irs + count<<24 + (hash(flow, count) + index of MSS) mod 2^24
//
// The low bits of our timestamp hold the rest, as in Linux; without timestamps
// there is no window scale and no SACK.

const (
	cookieMinute = 64 * Second // the unit of count
	cookieAge    = 2           // units for which a cookie is good
	cookieMask   = 1<<24 - 1

	cookieTSMask  = 1<<6 - 1
	cookieNoScale = 0xf // in the low four bits
	cookieSACK    = 1 << 4
	cookieECN     = 1 << 5
)

// cookieMSS are the MSS that a cookie can hold; what lies between is rounded
// down. Those above Ethernet's are for rings and jumbo frames.
var cookieMSS = [...]uint16{minMSS, defaultMSS4, defaultMSS6, 1300, 1440, 1460, 8940, 16384, 32768, 65475}

// cookieHash is the hash of a flow, with a number.
func cookieHash(flow *wire.Flow, secret *[16]byte, n uint32) uint32 {
	var b [44]byte
	k := copy(b[:], "cookie")
	k += copy(b[k:], flow.Local.Addr[:])
	k += copy(b[k:], flow.Remote.Addr[:])
	binary.BigEndian.PutUint16(b[k:], flow.Local.Port)
	binary.BigEndian.PutUint16(b[k+2:], flow.Remote.Port)
	return uint32(sipHash(secret, binary.BigEndian.AppendUint32(b[:k+4], n)))
}

// cookieCount is the clock of cookies.
func cookieCount(now Time) uint32 { return uint32(now / cookieMinute) }

// makeCookie returns the initial sequence number for the answer to a SYN.
func makeCookie(now Time, flow *wire.Flow, secret *[16]byte, irs seq.Number, index uint32) seq.Number {
	count := cookieCount(now)
	return seq.Number(cookieHash(flow, secret, 0) + uint32(irs) + count<<24 +
		(cookieHash(flow, secret, count+1)+index)&cookieMask)
}

// readCookie finds the index of the MSS in an initial sequence number that should
// be a cookie.
func readCookie(now Time, flow *wire.Flow, secret *[16]byte, irs, iss seq.Number) (index uint32, ok bool) {
	x := uint32(iss) - cookieHash(flow, secret, 0) - uint32(irs)
	count := cookieCount(now)
	age := (count - x>>24) & 0xff
	if age >= cookieAge {
		return 0, false
	}
	index = (x - cookieHash(flow, secret, count-age+1)) & cookieMask
	return index, index < uint32(len(cookieMSS))
}

// CookieSynAck makes out the answer to a SYN for a listener with options opt
// that can't keep a connection for it.
func CookieSynAck(now Time, flow *wire.Flow, secret *[16]byte, opt *ConnOptions, syn *Segment, out *Segment) {
	var c Conn
	c.cookieConn(now, flow, secret, 0, opt, syn)
	if !c.has(flagTimestamps) { // the echo of ours is what would remember the rest
		c.clear(flagScaling | flagSACK)
		if c.ecn.on == ecnClassic { // that the peer does RFC 9768 shows in its acknowledgement
			c.ecn = ecn{}
		}
	}
	c.snd.iss = makeCookie(now, flow, secret, syn.Seq, c.cookieIndex(syn))
	c.snd.nxt = c.snd.iss
	c.emitSyn(nil, now, out)
	if c.has(flagTimestamps) {
		out.Options.TSVal = c.cookieStamp(out.Options.TSVal)
	}
}

// cookieConn makes a connection in SYN-RECEIVED from a SYN. The offset of its
// timestamps depends on the flow alone, so that it can be found again.
func (c *Conn) cookieConn(now Time, flow *wire.Flow, secret *[16]byte, iss seq.Number, opt *ConnOptions, syn *Segment) {
	c.prepare(now, *flow, iss, opt)
	c.snd.tsOffset = tsOffset(now, ISN(now, flow, secret))
	c.set(flagPassive)
	c.takeSyn(now, syn)
	c.setState(nil, now, SynReceived)
}

// cookieIndex returns where the peer's MSS is in cookieMSS, rounded down.
func (c *Conn) cookieIndex(syn *Segment) uint32 {
	mss := uint16(defaultMSS6)
	if c.Flow.Remote.Addr.Is4() {
		mss = defaultMSS4
	}
	if syn.Options.Has(wire.HasMSS) {
		mss = syn.Options.MSS
	}
	i := len(cookieMSS) - 1
	for i > 0 && cookieMSS[i] > mss {
		i--
	}
	return uint32(i)
}

// cookieStamp puts what else was agreed upon into the low bits of a timestamp,
// which must not run ahead of the clock.
func (c *Conn) cookieStamp(now uint32) uint32 {
	bits := uint32(cookieNoScale)
	if c.has(flagScaling) {
		bits = uint32(c.snd.scale)
	}
	if c.has(flagSACK) {
		bits |= cookieSACK
	}
	if c.ecn.on == ecnClassic {
		bits |= cookieECN
	}
	ts := now&^cookieTSMask | bits
	if int32(ts-now) > 0 {
		ts -= cookieTSMask + 1
	}
	return ts
}

// OpenCookie makes a fresh connection from a segment that acknowledges a cookie:
// it is in SYN-RECEIVED then, as if it had sent the SYN-ACK, and the segment must
// be given to Input. It returns false, with nothing changed, if the segment
// acknowledges no cookie of ours that is still good.
func (c *Conn) OpenCookie(m *Memory, now Time, flow wire.Flow, secret *[16]byte, opt *ConnOptions, ack *Segment) bool {
	if ack.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.ACK {
		return false
	}
	irs, iss := ack.Seq.Minus(1), ack.Ack.Minus(1)
	index, ok := readCookie(now, &flow, secret, irs, iss)
	if !ok {
		return false
	}
	syn := Segment{Seq: irs, Flags: wire.SYN, Window: ack.Window}
	syn.Options = wire.Options{Present: wire.HasMSS, MSS: cookieMSS[index]}
	recallSyn(&syn, ack)
	if opt.acceptsAccurate() {
		recallAccurate(&syn, ack)
	}
	c.cookieConn(now, &flow, secret, iss, opt, &syn)
	c.Stats.SegsIn++
	c.snd.nxt = iss.Add(1)
	c.offerSyn() // what the SYN-ACK offered
	c.armResend(now)
	return true
}

// recallSyn finds what the SYN offered in the echo of our timestamp.
func recallSyn(syn, ack *Segment) {
	if !ack.Options.Has(wire.HasTimestamps) {
		return
	}
	o := &syn.Options
	o.Present |= wire.HasTimestamps
	o.TSVal = ack.Options.TSVal
	bits := ack.Options.TSEcr
	if bits&cookieSACK != 0 {
		o.Present |= wire.HasSACKPermitted
	}
	if scale := bits & cookieNoScale; scale != cookieNoScale {
		o.Present |= wire.HasWindowScale
		o.WindowScale = uint8(scale)
	}
	if bits&cookieECN != 0 {
		syn.Flags |= wire.ECE | wire.CWR
	}
}

// recallAccurate finds in an acknowledgement that the SYN asked for accurate ECN:
// "if the ACK contains an ACE field with the value 0b010 to 0b111 (decimal 2 to 7),
// the Server can infer" it (RFC 9768 section 5.1).
func recallAccurate(syn, ack *Segment) {
	if aceOf(ack.Flags) >= 2 && syn.Flags&setupFlags == 0 {
		syn.Flags |= accurateFlags
	}
}
