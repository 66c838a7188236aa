package tcp

// Times of the probing.
const (
	bbrProbeWait     = 2 * Second // and up to a second more, by chance
	bbrMinRTTWindow  = 10 * Second
	bbrProbeRTTEvery = 5 * Second
	bbrProbeRTTFor   = 200 * Millisecond
	bbrMostRounds    = 63 // of Reno's cycle that BBR waits for
	bbrHeadroom      = 38 // 0.15 of 1/256: room that cruising leaves to others
)

// probing reports whether the state is one of ProbeBW.
func (b *bbrState) probing() bool { return b.state >= bbrDown && b.state <= bbrUp }

// startDown begins a cycle: what probing has put into the queue drains.
func (b *bbrState) startDown(c *Conn, now Time) {
	b.bwLatest, b.inflightLatest = 0, 0
	b.put(bbrLossInRound, false)
	b.upCount = ^uint32(0)
	b.pickWait(c, now)
	b.acks = acksProbeStopping
	b.startRound(c)
	b.state = bbrDown
}

// pickWait chooses how long the next probe has to wait: 2 to 3 s, so that flows
// do not probe in step.
func (b *bbrState) pickWait(c *Conn, now Time) {
	x := uint64(c.snd.iss)<<32 | uint64(b.round)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	b.sinceProbe = uint8(x >> 63)
	b.probeAt = now + bbrProbeWait + Time(x>>32%uint64(Second/Microsecond))*Microsecond
}

func (b *bbrState) startRefill(c *Conn) {
	b.bwShort, b.inflightShort = 0, 0
	b.upRounds, b.upAcks = 0, 0
	b.acks = acksRefilling
	b.startRound(c)
	b.state = bbrRefill
}

func (b *bbrState) startUp(c *Conn, a *ack) {
	b.acks = acksProbeStarting
	b.startRound(c)
	b.resetFull(a.rate)
	b.state = bbrUp
	b.raiseSlope(c)
}

// cycle is BBRUpdateProbeBWCyclePhase.
func (b *bbrState) cycle(c *Conn, now Time, a *ack) {
	if !b.has(bbrFullReached) {
		return
	}
	b.adaptLong(c, now, a)
	switch b.state {
	case bbrDown:
		if b.timeToProbe(c, now) {
			b.startRefill(c)
		} else if n := c.pipe(); n <= b.headroom(c) && n <= b.inflight(c, bbrUnit) {
			b.state = bbrCruise
		}
	case bbrCruise:
		if b.timeToProbe(c, now) {
			b.startRefill(c)
		}
	case bbrRefill:
		if b.has(bbrRoundStart) {
			b.put(bbrProbeSamples, true)
			b.startUp(c, a)
		}
	case bbrUp:
		if b.timeToGoDown(c, a) {
			b.startDown(c, now)
		}
	}
}

// timeToProbe reports whether a probe is due, by the clock or because a Reno flow
// with as much in flight would have grown by a window by now.
func (b *bbrState) timeToProbe(c *Conn, now Time) bool {
	rounds := min(b.inflight(c, bbrUnit), c.cc.cwnd) / max(c.snd.mss, 1)
	return now > b.probeAt || uint32(b.sinceProbe) >= min(rounds, bbrMostRounds)
}

// timeToGoDown reports whether probing has filled the pipe.
func (b *bbrState) timeToGoDown(c *Conn, a *ack) bool {
	if b.inflightLong != 0 && limitedByCwnd(c, a) && c.cc.cwnd >= b.inflightLong {
		b.resetFull(a.rate)
		return false
	}
	return b.has(bbrFullNow)
}

func limitedByCwnd(c *Conn, a *ack) bool { return a.flight+c.snd.mss > c.cc.cwnd }

// headroom is BBRInflightWithHeadroom: what losses allow, less room for others.
func (b *bbrState) headroom(c *Conn) uint32 {
	if b.inflightLong == 0 {
		return maxBuffer
	}
	room := max(uint32(uint64(b.inflightLong)*bbrHeadroom/bbrUnit), c.snd.mss)
	return max(b.inflightLong-min(room, b.inflightLong), bbrMinSegments*c.snd.mss)
}

// measureRTT is BBRUpdateMinRTT, but for the decision to probe.
func (b *bbrState) measureRTT(now, rtt Time) {
	if rtt > 0 && (b.probeMin == 0 || rtt < b.probeMin || now > b.probeMinAt+bbrProbeRTTEvery && b.state == bbrProbeRTT) {
		b.probeMin, b.probeMinAt = rtt, now
	}
	if b.probeMin != 0 && (b.minRTT == 0 || b.probeMin < b.minRTT || now > b.minRTTAt+bbrMinRTTWindow) {
		b.minRTT, b.minRTTAt = b.probeMin, b.probeMinAt
	}
}

// checkProbeRTT drains the pipe for a moment when the round-trip time of the path
// alone was not seen for 5 s.
func (b *bbrState) checkProbeRTT(c *Conn, now Time) {
	if b.state != bbrProbeRTT && now > b.probeMinAt+bbrProbeRTTEvery && !b.has(bbrIdleRestart) {
		b.state = bbrProbeRTT
		b.saveCwnd(c)
		b.probeDone = 0
		b.probeMin = 0
		b.acks = acksProbeStopping
		b.startRound(c)
	}
	if b.state == bbrProbeRTT {
		b.stayInProbeRTT(c, now)
	}
}

// stayInProbeRTT is BBRHandleProbeRTT: it lasts for 200 ms and a round trip from
// when the flight is small.
func (b *bbrState) stayInProbeRTT(c *Conn, now Time) {
	c.rate.limited = c.rate.delivered + max(c.pipe(), 1)
	switch {
	case b.probeDone == 0:
		if c.pipe() <= b.probeRTTCwnd(c) {
			b.probeDone = now + bbrProbeRTTFor
			b.put(bbrRTTRoundDone, false)
			b.startRound(c)
		}
	default:
		if b.has(bbrRoundStart) {
			b.put(bbrRTTRoundDone, true)
		}
		if b.has(bbrRTTRoundDone) {
			b.checkProbeRTTDone(c, now)
		}
	}
}

func (b *bbrState) checkProbeRTTDone(c *Conn, now Time) {
	if b.probeDone == 0 || now <= b.probeDone {
		return
	}
	b.probeMinAt = now
	b.restoreCwnd(c)
	b.bwShort, b.inflightShort = 0, 0
	if !b.has(bbrFullReached) {
		b.state = bbrStartup
		return
	}
	b.startDown(c, now)
	b.state = bbrCruise
}

func (b *bbrState) probeRTTCwnd(c *Conn) uint32 {
	return max(b.inflight(c, bbrProbeCwnd), bbrMinSegments*c.snd.mss)
}
