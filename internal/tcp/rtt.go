package tcp

import "usertcp/internal/seq"

// startTiming times the segment that ends before s, unless one is being timed.
func (c *Conn) startTiming(now Time, s seq.Number) {
	if c.has(flagTiming) {
		return
	}
	c.set(flagTiming)
	c.rtt.seq = s
	c.rtt.at = now
}

// measure takes a sample of the round-trip time from a segment that acknowledges
// something new. It must come before the recovery that the segment may end.
func (c *Conn) measure(now Time, seg *Segment) {
	switch {
	case c.has(flagTiming):
		if seg.Ack.AtOrAfter(c.rtt.seq) {
			c.clear(flagTiming)
			c.rtt.sample(now - c.rtt.at)
			c.noteRTT(now, now-c.rtt.at)
		}
	case c.has(flagTimestamps) && seg.Options.TSEcr != 0 && (c.loss.phase != phaseOpen || c.rtt.shift > 0):
		// "RTT samples MUST NOT be made using segments that were retransmitted" (RFC 6298
		// section 3, Karn's algorithm), but by the timestamps option.
		if ms := int32(c.tsNow(now) - seg.Options.TSEcr); ms >= 0 && !c.answersSecondCopy(seg) {
			c.rtt.sample(Time(ms) * Millisecond)
		}
	}
}

// answersSecondCopy reports whether an acknowledgement of something new may answer a
// segment that the peer had already. It echoes what the peer took before (RFC 7323
// section 4.3), so that the sample would be the timeout that it follows, whenever an
// acknowledgement gets lost: the timeout would feed itself, up to maxRTO. D-SACK tells
// (RFC 2883). Without SACK the first copy may as well be late, which cannot be told.
func (c *Conn) answersSecondCopy(seg *Segment) bool {
	if !c.has(flagSACK) {
		return c.echoesOriginal(seg)
	}
	o := &seg.Options
	return o.SACKBlocks > 0 && o.SACK[0].Start.Before(seg.Ack)
}

// sample smooths the round-trip time (RFC 6298 section 2) and ends the back-off.
func (r *rtt) sample(t Time) {
	t = max(t, Microsecond)
	if r.srtt == 0 {
		// "SRTT <- R, RTTVAR <- R/2" (2.2)
		r.srtt = t
		r.rttvar = t / 2
	} else {
		// "RTTVAR <- (1 - beta) * RTTVAR + beta * |SRTT - R'|
		// SRTT <- (1 - alpha) * SRTT + alpha * R'", alpha 1/8, beta 1/4 (2.3)
		off := r.srtt - t
		if off < 0 {
			off = -off
		}
		r.rttvar += (off - r.rttvar) / 4
		r.srtt += (t - r.srtt) / 8
	}
	// Like Linux, the minimum is one of the variance and not of the whole.
	r.rto = min(r.srtt+max(4*r.rttvar, minRTO), maxRTO)
	r.shift = 0
}

// timeout returns the retransmission timeout with its back-off.
func (r *rtt) timeout() Time { return backOff(r.rto, r.shift) }

// backOff returns t doubled shift times, at most maxRTO.
func backOff(t Time, shift uint8) Time {
	if shift > 10 {
		return maxRTO
	}
	return min(t<<shift, maxRTO)
}

// tsNow returns the clock of the timestamps option: milliseconds.
func (c *Conn) tsNow(now Time) uint32 {
	return uint32(now/Millisecond) + c.snd.tsOffset
}

// SmoothedRTT returns the smoothed round-trip time and its variance, zero while
// there is no measurement.
func (c *Conn) SmoothedRTT() (srtt, rttvar Time) { return c.rtt.srtt, c.rtt.rttvar }

// RTO returns the retransmission timeout that holds now, back-off included.
func (c *Conn) RTO() Time { return c.rtt.timeout() }
