package tcp

// Constants of BBR's answer to losses.
const (
	bbrStartupLosses = 6   // losses in a round of Startup that say that the pipe is full
	bbrBeta          = 179 // 0.7 of 1/256: what is left of a bound after losses
	bbrLossPercent   = 2   // BBR.LossThresh
)

// noteLoss takes note that n octets more were lost in this round.
func (b *bbrState) noteLoss(c *Conn, n uint32) {
	if !b.has(bbrLossInRound) {
		b.undoLong = b.inflightLong
		b.lossRoundEnd = c.rate.clock(c.cc.lost) + c.pipe()
	}
	b.put(bbrLossInRound, true)
	b.lossEvents = min(b.lossEvents, 254) + 1
	b.lossSegs = uint8(min(uint32(b.lossSegs)+max(n/max(c.snd.mss, 1), 1), 255))
}

// adaptLower is BBRAdaptLowerBoundsFromCongestion: what came through in a round
// with losses bounds what the model hopes for, until the next probe.
func (b *bbrState) adaptLower(c *Conn) {
	if !b.has(bbrLossInRound) || b.state == bbrStartup || b.state == bbrRefill || b.state == bbrUp {
		return
	}
	if b.bwShort == 0 {
		b.bwShort = b.maxBandwidth()
	}
	if b.inflightShort == 0 {
		b.inflightShort = c.cc.cwnd
	}
	b.bwShort = max(b.bwLatest, b.bwShort*bbrBeta/bbrUnit)
	b.inflightShort = max(b.inflightLatest, uint32(uint64(b.inflightShort)*bbrBeta/bbrUnit))
}

// adaptLong is BBRAdaptLongTermModel: it learns how much may be in flight, from
// the echo of what probing has sent.
func (b *bbrState) adaptLong(c *Conn, now Time, a *ack) {
	if b.has(bbrRoundStart) {
		switch b.acks {
		case acksProbeStarting:
			b.acks = acksProbeFeedback
		case acksProbeStopping:
			b.put(bbrProbeSamples, false)
			b.acks = acksInit
			if b.probing() && !a.limited {
				b.advanceMaxBw()
			}
		}
	}
	if a.rate == 0 {
		return
	}
	if tooHigh(a) {
		if b.has(bbrProbeSamples) {
			b.tooHigh(c, now, a)
		}
		return
	}
	if b.inflightLong == 0 {
		return
	}
	b.inflightLong = max(b.inflightLong, a.sent)
	if b.state == bbrUp {
		b.raiseLong(c, a)
	}
}

// tooHigh reports whether more than 2 % of what was in flight was lost.
func tooHigh(a *ack) bool { return uint64(a.lost)*100 > uint64(a.sent)*bbrLossPercent }

// tooHigh is BBRHandleInflightTooHigh.
func (b *bbrState) tooHigh(c *Conn, now Time, a *ack) {
	b.put(bbrProbeSamples, false)
	if !a.limited {
		target := min(b.inflight(c, bbrUnit), c.cc.cwnd)
		b.inflightLong = max(a.sent, uint32(uint64(target)*bbrBeta/bbrUnit))
	}
	if b.state == bbrUp {
		b.startDown(c, now)
	}
}

// raiseSlope doubles, in each round of probing, how fast inflightLong grows.
func (b *bbrState) raiseSlope(c *Conn) {
	growth := uint64(c.snd.mss) << min(b.upRounds, 30)
	b.upRounds = min(b.upRounds+1, 30)
	b.upCount = uint32(max(uint64(c.cc.cwnd)/max(growth, 1), 1))
}

// raiseLong is BBRProbeInflightLongtermUpward.
func (b *bbrState) raiseLong(c *Conn, a *ack) {
	if !limitedByCwnd(c, a) || c.cc.cwnd < b.inflightLong {
		return
	}
	b.upAcks += a.n
	if n := max(b.upCount, 1); b.upAcks >= n {
		b.inflightLong = min(b.inflightLong+b.upAcks/n, maxBuffer)
		b.upAcks %= n
	}
	if b.has(bbrRoundStart) {
		b.raiseSlope(c)
	}
}

func (b *bbrState) saveCwnd(c *Conn) {
	if c.loss.phase == phaseOpen && b.state != bbrProbeRTT {
		b.priorCwnd = c.cc.cwnd
	} else {
		b.priorCwnd = max(b.priorCwnd, c.cc.cwnd)
	}
}

func (b *bbrState) restoreCwnd(c *Conn) { c.cc.cwnd = min(max(c.cc.cwnd, b.priorCwnd), maxBuffer) }

func (bbr) lost(c *Conn, _ Time, _ uint32) {
	b := c.loadBBR()
	b.saveCwnd(c)
	c.storeBBR(&b)
}

// timedOut begins with one segment; the model stays.
func (bbr) timedOut(c *Conn, _ Time, _ uint32) {
	b := c.loadBBR()
	b.saveCwnd(c)
	c.cc.cwnd = c.snd.mss
	c.storeBBR(&b)
}

func (bbr) recovered(c *Conn, _ Time) {
	b := c.loadBBR()
	b.restoreCwnd(c)
	c.storeBBR(&b)
}

// undone takes back what a loss has taught that was none.
func (bbr) undone(c *Conn, _ Time) {
	b := c.loadBBR()
	b.put(bbrLossInRound, false)
	b.resetFull(0)
	// The short bounds last until the next probe at most: they need no memory.
	b.bwShort, b.inflightShort = 0, 0
	switch {
	case b.undoLong == 0:
		b.inflightLong = 0
	case b.inflightLong != 0:
		b.inflightLong = max(b.inflightLong, b.undoLong)
	}
	c.storeBBR(&b)
}
