package tcp

// Constants of the model.
const (
	bbrMinSegments    = 4   // BBR.MinPipeCwnd
	bbrFullGrowth     = 320 // 1.25: growth that says that the pipe is not full, in 1/256
	bbrFullRounds     = 3
	bbrExtraRounds    = 5 // half of the window of the extra_acked filter
	bbrUpMoreSegments = 2
)

// maxBandwidth is BBR.max_bw.
func (b *bbrState) maxBandwidth() uint64 { return max(b.maxBw[0], b.maxBw[1]) }

// bw is the bandwidth that the model believes in, 0 while there is none.
func (b *bbrState) bw() uint64 {
	if b.bwShort != 0 {
		return min(b.maxBandwidth(), b.bwShort)
	}
	return b.maxBandwidth()
}

// inflight returns gain times the product of bandwidth and delay, in octets; the
// initial window while there is no model.
func (b *bbrState) inflight(c *Conn, gain uint32) uint32 {
	bw := b.bw()
	if bw == 0 || b.minRTT == 0 {
		return c.initialCwnd()
	}
	// In microseconds and at most 2^34 octets a second, so that it fits.
	n := min(bw, 1<<34) * uint64(min(max(b.minRTT, 0), 100*Second)>>10) / (uint64(Second) >> 10)
	return uint32(min(n, maxBuffer) * uint64(gain) / bbrUnit)
}

// quantized is BBRQuantizationBudget: enough for the bursts that leave.
func (b *bbrState) quantized(c *Conn, n uint32) uint32 {
	pace := c.rate.pace
	n = max(n, 3*uint32(min(pace>>10, mostBurst)), bbrMinSegments*c.snd.mss)
	if b.state == bbrUp {
		n += bbrUpMoreSegments * c.snd.mss
	}
	return min(n, maxBuffer)
}

// takeSample is BBRUpdateLatestDeliverySignals, BBRUpdateRound, BBRUpdateMaxBw
// and BBRUpdateCongestionSignals.
func (b *bbrState) takeSample(c *Conn, now Time, a *ack) {
	clock := c.rate.clock(c.cc.lost)
	b.put(bbrRoundStart, int32(clock-b.roundEnd) >= 0)
	if b.has(bbrRoundStart) {
		b.startRound(c)
		b.round++
		if b.sinceProbe < 255 {
			b.sinceProbe++
		}
	}
	b.put(bbrLossRound, int32(clock-b.lossRoundEnd) >= 0)
	if a.span < b.minRTT {
		// Faster than the path can be: something was acknowledged that had been given
		// up.
		a.rate, a.since = 0, 0
	}
	b.bwLatest = max(b.bwLatest, a.rate)
	b.inflightLatest = max(b.inflightLatest, a.since)
	if a.rate != 0 && (a.rate >= b.maxBandwidth() || !a.limited) {
		b.maxBw[0] = max(b.maxBw[0], a.rate)
	}
	if b.has(bbrLossRound) {
		b.lossRoundEnd = clock + c.pipe()
		b.adaptLower(c)
		b.checkHighLoss(c)
		b.put(bbrLossInRound, false)
		b.lossEvents, b.lossSegs = 0, 0
	}
}

// startRound begins a round trip.
func (b *bbrState) startRound(c *Conn) { b.roundEnd = c.rate.clock(c.cc.lost) + c.pipe() }

// advanceMaxBw forgets what was measured before the last cycle.
func (b *bbrState) advanceMaxBw() {
	if b.maxBw[0] != 0 {
		b.maxBw[1], b.maxBw[0] = b.maxBw[0], 0
	}
}

// countExtra is BBRUpdateACKAggregation: by how much more is acknowledged at
// times than the bandwidth explains.
func (b *bbrState) countExtra(c *Conn, now Time, n uint32) {
	expected := uint32(min(min(b.bw(), 1<<34)*uint64(min(max(now-b.extraAt, 0), Second)>>10)/(uint64(Second)>>10), maxBuffer))
	if b.extraSum <= expected {
		b.extraSum, b.extraAt, expected = 0, now, 0
	}
	b.extraSum = min(b.extraSum+n, maxBuffer)
	if b.round-b.extraRound >= bbrExtraRounds || !b.has(bbrFullReached) && b.has(bbrRoundStart) {
		b.extra[1], b.extra[0], b.extraRound = b.extra[0], 0, b.round
	}
	b.extra[0] = max(b.extra[0], min(b.extraSum-expected, c.cc.cwnd))
}

func (b *bbrState) extraAcked() uint32 { return min(max(b.extra[0], b.extra[1]), maxBuffer) }

// checkFull is BBRCheckFullBWReached: the pipe is full when three rounds did not
// bring a quarter more.
func (b *bbrState) checkFull(a *ack) {
	if b.has(bbrFullNow) || !b.has(bbrRoundStart) || a.limited {
		return
	}
	if bw := b.maxBandwidth(); bw >= b.fullBw*bbrFullGrowth/bbrUnit {
		b.fullBw, b.fullCount = bw, 0
		return
	}
	if b.fullCount++; b.fullCount >= bbrFullRounds {
		b.flags |= bbrFullNow | bbrFullReached
	}
}

// resetFull begins to look anew whether the pipe is full, from bandwidth bw on.
func (b *bbrState) resetFull(bw uint64) {
	b.fullBw, b.fullCount = bw, 0
	b.put(bbrFullNow, false)
}

// checkHighLoss is BBRCheckStartupHighLoss, at the end of a round trip in
// recovery: with many losses in it, at several places, the pipe is full.
func (b *bbrState) checkHighLoss(c *Conn) {
	lost := uint64(b.lossSegs) * uint64(c.snd.mss)
	if b.state == bbrStartup && c.loss.phase != phaseOpen && b.lossEvents >= bbrStartupLosses &&
		(b.lossSegs == 255 || lost*100 > uint64(b.inflightLatest)*bbrLossPercent) {
		b.flags |= bbrFullReached
		b.inflightLong = max(b.inflight(c, bbrUnit), b.inflightLatest)
	}
}

func (b *bbrState) checkStartup() {
	if b.state == bbrStartup && b.has(bbrFullReached) {
		b.state = bbrDrain
	}
}

func (b *bbrState) checkDrain(c *Conn, now Time) {
	if b.state == bbrDrain && c.pipe() <= b.inflight(c, bbrUnit) {
		b.startDown(c, now)
	}
}
