package tcp

import "usertcp/internal/wire"

// Accurate ECN (RFC 9768): the receiver counts the packets that came marked with
// CE, and each segment says the last three bits of that count in the flags AE, CWR
// and ECE, the ACE field. Options tell of octets beside it (accoption.go).
//
//	r.cep  recvCEP   what came to us marked          -> ACE of what we send
//	s.cep  sentCEP   what the peer has told that way <- ACE of what arrives
//
// In the handshake the three flags say other things: what is asked for and agreed
// to, and how the SYN and the SYN-ACK arrived.

const (
	ecnFirstCEP = 5 // r.cep begins here, so that an ACE of zero shows who zeroes it
	aceBits     = 7
	aceStretch  = 4 // packets: acknowledgements of as many on the average are nothing unusual
)

// Traits of an AccECN connection: ecn.traits.
const (
	ecnNoECT     = 1 << iota // nothing that we send may be marked: something on the path mangles the field
	ecnDeaf                  // the peer's feedback can't be believed
	ecnHeard                 // there was feedback
	ecnSynMarked             // our SYN or SYN-ACK was marked: begin slowly
	ecnOptOff                // the options that we send do not get through
	ecnOptTrial              // the first data has not been sent yet: it takes an option along
	ecnOptSeen               // the peer's options get through
	ecnOptBad                // … but are mangled
)

// handshakeACE says how a SYN or SYN-ACK arrived: the first block of RFC 9768's
// table 2, and table 3.
var handshakeACE = [...]wire.Flags{
	NotECT: wire.CWR,
	ECT1:   wire.CWR | wire.ECE,
	ECT0:   wire.AE,
	CE:     wire.AE | wire.CWR,
}

// aceFlags puts the last three bits of a counter into the ACE field.
func aceFlags(n uint32) wire.Flags {
	return wire.Flags(n&1)*wire.ECE | wire.Flags(n>>1&1)*wire.CWR | wire.Flags(n>>2&1)*wire.AE
}

// aceOf returns the number in the ACE field.
func aceOf(f wire.Flags) uint32 { return uint32(f / wire.ECE & aceBits) }

// startAccurate enters AccECN mode, by a SYN or the SYN-ACK.
func (c *Conn) startAccurate(syn *Segment) {
	e := &c.ecn
	e.recvCEP, e.sentCEP = ecnFirstCEP, ecnFirstCEP
	e.recv, e.sent = firstCounters, firstCounters
	e.peerSyn = syn.ECN & CE
	if syn.Flags&wire.ACK == 0 {
		return
	}
	e.traits |= ecnOptTrial
	e.third, e.demand = 1, 1
	c.noteSynAckMark()
	c.judgeSyn(syn.Flags & accurateFlags)
	c.takeCounters(&syn.Options)
}

// noteSynAckMark counts the mark of the SYN-ACK: the client "MUST increment r.cep,
// but no more than once no matter how many CE-marked SYN/ACKs it receives" (RFC
// 9768 section 3.2.2.2).
func (c *Conn) noteSynAckMark() {
	if e := &c.ecn; e.peerSyn == CE && c.Stats.CE == 0 && e.recvCEP == ecnFirstCEP {
		e.recvCEP++
		c.Stats.CE++
	}
}

// judgeSyn looks at how our SYN or SYN-ACK arrived, which we sent as one that must
// not be marked. If it was changed all the same, "the Client is advised to send
// non-ECN-capable packets, but it still ought to respond to any feedback of CE
// markings" (RFC 9768 section 3.2.2.3), and so is the server.
func (c *Conn) judgeSyn(flags wire.Flags) {
	switch flags {
	case handshakeACE[CE]:
		c.ecn.traits |= ecnNoECT | ecnSynMarked
	case handshakeACE[ECT0], handshakeACE[ECT1]:
		c.ecn.traits |= ecnNoECT
	}
}

// grantAccurate makes our SYN-ACK say that we do AccECN and how the latest SYN
// arrived. If it had to be sent again it goes without the option, and then without
// any word of ECN, in case that is what the path does not like (RFC 9768 section
// 3.2.3.2.2).
func (c *Conn) grantAccurate(out *Segment) {
	e := &c.ecn
	switch {
	case c.snd.nxt == c.snd.iss:
		c.putCounters(&out.Options, 0, c.synAckFields(&out.Options))
	case c.snd.retries < 2 || c.held.acked != 0:
		e.traits |= ecnOptOff
	default:
		// A server "MUST NOT set ECT on any packet for the rest of the connection, if it
		// has received or sent at least one valid SYN or Acceptable SYN/ACK with
		// (AE,CWR,ECE) = (0,0,0) during the handshake" (section 3.1.5)
		e.traits |= ecnOptOff | ecnNoECT
		return
	}
	out.Flags |= handshakeACE[e.peerSyn]
}

// repeatedSyn looks at the ECN of a SYN that comes again, and reports false if it
// contradicts the first one: a host "MUST reset the connection with a RST packet,
// if it receives a 'Classic' ECN-setup SYN with (AE,CWR,ECE) = (0,1,1) and a SYN
// requesting AccECN feedback during the same handshake" (RFC 9768 section 3.1.5).
func (c *Conn) repeatedSyn(syn *Segment) bool {
	e := &c.ecn
	flags := syn.Flags & accurateFlags
	switch {
	case e.on == ecnClassic:
		return flags == 0 || flags == setupFlags || !c.has(flagPassive) || !c.Opt.acceptsAccurate()
	case e.on != ecnAccurate:
		return true
	case flags == setupFlags:
		return false
	case flags == 0 && c.has(flagPassive):
		e.traits |= ecnNoECT
	}
	e.peerSyn = syn.ECN & CE
	return true
}

// repeatedSynAck notes a SYN-ACK that comes again when the connection is open: the
// acknowledgement of it was lost, and is owed as it was before.
func (c *Conn) repeatedSynAck(seg *Segment) {
	e := &c.ecn
	const synAck = wire.SYN | wire.ACK
	if e.on != ecnAccurate || c.has(flagPassive) || seg.Flags&synAck != synAck || seg.Seq != c.rcv.irs ||
		c.pending&pendAck == 0 || seg.Flags&accurateFlags == 0 {
		return
	}
	e.peerSyn = seg.ECN & CE
	c.noteSynAckMark()
	e.third = 1
}

// thirdAck reads the acknowledgement of our SYN-ACK, which says how that arrived
// (RFC 9768 table 4). What is left in the segment's flags adds nothing.
func (c *Conn) thirdAck(seg *Segment) {
	e := &c.ecn
	if e.on != ecnAccurate || seg.Len > 0 || seg.Flags&wire.FIN != 0 || seg.Options.SACKBlocks > 0 {
		return
	}
	switch flags := seg.Flags & accurateFlags; flags {
	case 0:
		// "for the rest of the connection the Server MUST NOT set ECT on outgoing packets
		// and MUST NOT respond to AccECN feedback" (note 1)
		e.traits |= ecnNoECT | ecnDeaf
	case handshakeACE[CE]:
		e.sentCEP = ecnFirstCEP + 1
		c.judgeSyn(flags)
	default:
		c.judgeSyn(flags)
	}
	c.muteACE(seg)
}

// muteACE makes the ACE field of a segment one that says nothing new.
func (c *Conn) muteACE(seg *Segment) {
	if c.ecn.on == ecnAccurate {
		seg.Flags = seg.Flags&^accurateFlags | aceFlags(c.ecn.sentCEP)
	}
}

// openAccurate is called when congestion control has begun. "The TCP Client still
// triggers the congestion control actions necessary to respond to the CE feedback"
// about its SYN (RFC 9768 section 3.2.2.2): half a window will do to begin with.
func (c *Conn) openAccurate() {
	if c.ecn.traits&ecnSynMarked != 0 && !c.ownsWindow() {
		c.cc.cwnd = max(c.cc.cwnd/2, c.snd.mss)
		c.cc.ssthresh = max(c.cc.cwnd, 2*c.snd.mss)
		c.Stats.ECE++
	}
}

// owesThird reports whether the SYN-ACK is to be acknowledged by a segment that
// says how it arrived: "If an AccECN TCP Client intends to acknowledge the SYN/ACK
// with a packet that does not satisfy these conditions (e.g., it has data to
// include on the ACK), it SHOULD first send a pure ACK that does" (RFC 9768 section
// 3.2.2.1).
func (c *Conn) owesThird() bool { return c.ecn.third != 0 && c.pending&pendAck != 0 }

// emitThird makes out that acknowledgement.
func (c *Conn) emitThird(now Time, out *Segment) {
	c.emit(now, out, c.snd.nxt, 0)
	c.tellUserTimeout(out)
	c.ecn.third = 0
	if out.Options.SACKBlocks == 0 {
		out.Flags = out.Flags&^accurateFlags | handshakeACE[c.ecn.peerSyn]
	}
}

// countMark counts the ECN field of a segment that was acceptable, whatever it
// carries, and decides whether the peer must hear of it at once.
func (c *Conn) countMark(seg *Segment) {
	e := &c.ecn
	if seg.Len > 0 {
		c.countOctets(seg)
		if seg.ECN == CE && e.last != CE {
			// "An AccECN Data Receiver SHOULD emit an ACK whenever a data packet marked CE
			// arrives after the previous packet was not CE" (RFC 9768 section 3.2.2.5.1)
			c.pending |= pendAck
		}
	}
	e.last = seg.ECN
	if seg.ECN != CE {
		return
	}
	n := uint32(1)
	if seg.SegSize != 0 { // devices put together only what is marked alike
		n = max((seg.Len+seg.SegSize-1)/seg.SegSize, 1)
	}
	c.Stats.CE += n
	e.recvCEP += n
	e.fresh = uint8(min(uint32(e.fresh)+n, 3))
	// "MUST emit an ACK if 'n' CE marks have arrived since the previous ACK. If there
	// is unacknowledged data at the receiver, 'n' SHOULD be 2. If there is no
	// unacknowledged data at the receiver, 'n' SHOULD be 3"
	if e.fresh >= 3 || e.fresh == 2 && (seg.Len > 0 || c.rcv.nxt != c.rcv.acked) {
		c.pending |= pendAck
	}
}

// tellMarks adds the feedback to a segment that leaves.
func (c *Conn) tellMarks(out *Segment) {
	c.ecn.fresh = 0
	out.Flags |= aceFlags(c.ecn.recvCEP)
	c.tellCounters(&out.Options)
}

// tellsByCWR reports whether the ACE field has the bit that is CWR elsewhere: "with
// TSO hardware that supports [RFC3168], the CWR bit is usually masked out on the
// middle and last segment. If applied to an AccECN segment, this would change the
// ACE field" (RFC 9768 section 3.3.4).
func (c *Conn) tellsByCWR() bool {
	return c.ecn.on == ecnAccurate && aceFlags(c.ecn.recvCEP)&wire.CWR != 0
}

// arriveFeedback takes what a segment says of our marked packets. It has delivered
// so many octets, of flight; one that delivers nothing may be older than what was
// heard already, and has nothing to tell.
func (c *Conn) arriveFeedback(now Time, seg *Segment, delivered, flight uint32) {
	e := &c.ecn
	if delivered == 0 || e.traits&ecnDeaf != 0 {
		return
	}
	ace := aceOf(seg.Flags)
	if e.traits&ecnHeard == 0 {
		e.traits |= ecnHeard
		if ace == 0 && c.Stats.DataSegsOut < 3 {
			// Two marks do not make zero of five: somebody clears the field. "for the remainder
			// of the half-connection the Data Sender ought to send non-ECN-capable packets and
			// it is advised not to respond to any feedback of CE markings" (section 3.2.2.4)
			e.traits |= ecnNoECT | ecnDeaf
			return
		}
	}
	least := (ace - e.sentCEP) & aceBits
	octets, told := c.takeCounters(&seg.Options)
	n := c.markedPackets(least, delivered, octets, told)
	if octets > 0 && n == 0 && c.Stats.DataSegsOut <= aceBits {
		// "If either endpoint detects that the s.ceb counter has increased but the s.cep
		// has not (and by testing ACK coverage it is certain how much the ACE field has
		// wrapped) … the Data Sender MUST disable sending ECN-capable packets" (section
		// 3.2.3.2.5)
		e.traits |= ecnNoECT
	}
	if n > 0 {
		e.sentCEP += n
		if !c.controller().marked(c, now, n) {
			c.slowDown(now, flight)
		}
	}
}

// markedPackets returns how many packets the peer has newly seen marked: at least
// least, and as many more as ACE may have wrapped unseen, taking "the safest likely
// case under the prevailing conditions" (RFC 9768 section 3.2.2.5.2), much as its
// appendix A.2 does. octets are newly told of by option as marked, if told.
func (c *Conn) markedPackets(least, delivered, octets uint32, told bool) uint32 {
	e := &c.ecn
	mss := c.snd.mss
	packets := (delivered + mss - 1) / mss
	stretched := e.acked > 8*aceStretch
	e.acked = uint8((7*uint32(e.acked) + 8*min(packets, 31)) / 8)
	if packets <= aceBits {
		return least
	}
	safe := packets - (packets-least)&aceBits
	switch {
	case told && (octets == 0 || octets <= mss*least && octets/safe < mss/2):
		return least // more packets would have to have been small
	case told:
		return safe
	case stretched, e.traits&(ecnOptSeen|ecnOptBad) == ecnOptSeen && least == 0:
		return least // it is nothing new, or there would have been an option
	}
	return safe
}
