package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// screen makes the checks that RFC 9293 section 3.10.7.4 orders for all states
// from SYN-RECEIVED on, before the acknowledgement is looked at. It returns
// false if nothing is left to be done with the segment.
func (c *Conn) screen(m *Memory, now Time, seg *Segment) bool {
	if c.has(flagTimestamps) && seg.Flags&wire.RST == 0 && !c.paws(now, seg) {
		return false
	}
	if !c.acceptable(seg) {
		c.Stats.DropWindow++
		c.answerUnacceptable(now, seg)
		return false
	}
	switch {
	case seg.Flags&wire.RST != 0:
		c.arriveReset(m, now, seg)
		return false
	case seg.Flags&wire.SYN != 0:
		// "TCP endpoints MUST send a 'challenge ACK' to the remote peer" (RFC 9293
		// section 3.10.7.4, from RFC 5961)
		c.challenge(now)
		return false
	case seg.Flags&wire.ACK == 0:
		// "if the ACK bit is off, drop the segment and return"
		c.Stats.DropAck++
		return false
	}
	if c.ecn.on == ecnAccurate {
		c.countMark(seg)
	}
	return true
}

// acceptable makes the test of the sequence number. Like Linux's it lets pass
// what begins right at the edge, so that an acknowledgement from a peer that has
// filled the window counts while some of its data is missing.
func (c *Conn) acceptable(seg *Segment) bool {
	n := seg.span()
	if n > 0 && seg.Seq.Add(n-1).Before(c.rcv.nxt) {
		return false
	}
	if n == 0 && seg.Seq.Before(c.rcv.nxt) {
		return false
	}
	return seg.Seq.AtOrBefore(c.rcv.edge)
}

// Plausible reports whether a segment is from the peer of this connection, and not from
// what is left of an earlier one between the same two ends: it acknowledges what was sent
// here, and begins no more than one octet, of a probe or a FIN that comes again, before
// the window.
func (c *Conn) Plausible(seg *Segment) bool {
	s := &c.snd
	if seg.Flags&wire.ACK == 0 {
		return c.State == SynSent && seg.Flags&wire.SYN != 0 // both ends open at once
	}
	if seg.Ack.After(s.nxt) || seg.Ack.Before(s.una.Minus(seq.Size(s.maxWnd))) {
		return false
	}
	switch c.State {
	case Closed, Listen:
		return false
	case SynSent:
		return seg.Ack.After(s.iss)
	}
	return seg.Seq.Add(seg.span()).AtOrAfter(c.rcv.nxt.Minus(1)) && seg.Seq.AtOrBefore(c.rcv.edge)
}

// answerUnacceptable answers a segment outside the window: "If an incoming
// segment is not acceptable, an acknowledgment should be sent in reply (unless
// the RST bit is set …)".
func (c *Conn) answerUnacceptable(now Time, seg *Segment) {
	if seg.Flags&wire.RST != 0 {
		return
	}
	if c.State == TimeWait && seg.Flags&wire.FIN != 0 {
		// "Acknowledge it, and restart the 2 MSL timeout."
		c.arm(timerLife, now+timeWait)
	}
	if seg.Len > 0 || seg.Flags&wire.FIN != 0 {
		c.Stats.DropDuplicate++
		c.noteDuplicateOf(seg)
		c.pending |= pendAck
		return
	}
	c.challenge(now)
	c.hearProbe(now, seg)
	c.repeatedSynAck(seg)
}

// challenge owes an acknowledgement for an odd segment, but not more often than
// each oddPause: the throttling that RFC 5961 section 7 asks for, which also ends
// a dialogue of two confused peers.
func (c *Conn) challenge(now Time) {
	if c.rcv.lastOdd != 0 && now-c.rcv.lastOdd < oddPause {
		return
	}
	c.rcv.lastOdd = max(now, 1)
	c.Stats.Challenges++
	c.pending |= pendAck
}

// paws protects against wrapped sequence numbers (RFC 7323 section 5). It
// returns false if the segment is to be dropped.
func (c *Conn) paws(now Time, seg *Segment) bool {
	o := &seg.Options
	if !o.Has(wire.HasTimestamps) {
		// "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently
		// drop the segment" (RFC 7323 section 3.2)
		c.Stats.DropPAWS++
		return false
	}
	// "R1) If there is a Timestamps option in the arriving segment, SEG.TSval <
	// TS.Recent … then treat the arriving segment as not acceptable"
	if int32(o.TSVal-c.rcv.tsRecent) >= 0 || now-c.rcv.tsRecentAt > pawsAge {
		return true
	}
	c.Stats.DropPAWS++
	if seg.Len > 0 {
		// It may be the first copy of what came sooner when it was sent again.
		c.noteDuplicateOf(seg)
		c.pending |= pendAck
	} else {
		c.challenge(now)
	}
	return false
}

// keepTimestamp remembers the timestamp to be echoed: if "SEG.TSval >= TS.Recent and
// SEG.SEQ <= Last.ACK.sent then SEG.TSval is copied to TS.Recent" (RFC 7323 section
// 4.3). The first was checked by paws. Like Linux it does so only when the
// acknowledgement has proved to be good: who guesses a number in the window should
// not be able to set TS.Recent beyond what the peer's clock will reach.
func (c *Conn) keepTimestamp(now Time, seg *Segment) {
	if !c.has(flagTimestamps) || seg.Seq.After(c.rcv.acked) {
		return
	}
	c.rcv.tsRecent = seg.Options.TSVal
	c.rcv.tsRecentAt = now
}

// MayReopen reports whether a SYN that arrives in TIME-WAIT may open the
// connection anew (RFC 6191 section 2, RFC 9293 section 3.6.1): its number or
// timestamp must show that it is younger than all that was. The caller then
// aborts this connection and gives the SYN to its listener.
func (c *Conn) MayReopen(syn *Segment) bool {
	if c.State != TimeWait || syn.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		return false
	}
	o := &syn.Options
	if c.has(flagTimestamps) && o.Has(wire.HasTimestamps) {
		if younger := int32(o.TSVal - c.rcv.tsRecent); younger != 0 {
			return younger > 0
		}
	}
	return syn.Seq.After(c.rcv.nxt)
}

// MayReuse reports whether the program may open a connection between the same two
// ends anew although this one is in TIME-WAIT, for at least that long: with timestamps
// its first segment will be known to be younger than all that was (RFC 6191 section 2).
func (c *Conn) MayReuse(now, least Time) bool {
	return c.State == TimeWait && c.has(flagTimestamps) && now-(c.timers.at[timerLife]-timeWait) >= least
}

// Follow says that the connection, which has just been opened, has the two ends of one
// that was in TIME-WAIT for a shorter time than the clock of a peer's timestamps may take
// for a tick, which is up to a second (RFC 7323 section 5.4). So the SYN-ACK has to show
// that this clock has gone on: only then PAWS tells the segments of the two apart. If it
// does not, the connection ends as if it had been refused. Its own clock of timestamps is
// that of the one before, which may have been another program's, for the peer to tell them
// apart: the same secret makes the same clock, another one need not make a later one.
func (c *Conn) Follow(was *Conn) {
	c.set(flagFollows)
	c.snd.tsOffset = was.snd.tsOffset
	c.rcv.tsRecent = was.rcv.tsRecent
}

// ISNAfter returns iss for a connection that follows this one, or if that is not above all
// that this one has sent, a number that is: who follows "assigns its initial sequence number
// for the new connection to be larger than the largest sequence number it used on the
// previous connection incarnation" (RFC 9293 section 3.6.1). It can't be foreseen any more
// than iss.
func (c *Conn) ISNAfter(iss seq.Number) seq.Number {
	if iss.After(c.snd.nxt) {
		return iss
	}
	return c.snd.nxt.Add(1 + seq.Size(iss)%maxISNGap)
}

// maxISNGap is how far beyond the last number of a connection the next one begins at most,
// if it does not begin elsewhere.
const maxISNGap = 1 << 24

// follows reports whether a SYN-ACK is younger than all of the connection before.
func (c *Conn) follows(seg *Segment) bool {
	o := &seg.Options
	return o.Has(wire.HasTimestamps) && int32(o.TSVal-c.rcv.tsRecent) > 0
}

// sndEdge returns the number behind the last one that the peer lets us send.
func (c *Conn) sndEdge() seq.Number { return c.snd.una.Add(seq.Size(c.snd.wnd)) }
