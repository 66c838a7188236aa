package tcp

// bbr is the congestion control of draft-ietf-ccwg-bbr (version 3). It keeps a
// model of the path, of its bandwidth and its round-trip time, and from that
// makes both the pace and the window. Names are the draft's.
//
// bbr.go is what happens at each acknowledgement, bbr_model.go the model,
// bbr_probe.go the cycle that probes for bandwidth and for the round-trip time,
// bbr_loss.go what losses change.
type bbr struct{}

// bbrState is what BBR remembers from one acknowledgement to the next. It lies in
// two places: what is wide in the private words, the rest in Conn.bbr. A bound of
// zero is none.
type bbrState struct {
	bbrWide
	bbrNarrow
}

// bbrWide are bandwidths, in octets a second, and times.
type bbrWide struct {
	maxBw    [2]uint64 // most of the present and of the last cycle
	bwShort  uint64    // bw_shortterm
	bwLatest uint64
	fullBw   uint64

	minRTT     Time // 0 if unknown
	minRTTAt   Time
	probeMin   Time // probe_rtt_min_delay, 0 if unknown
	probeMinAt Time
	probeDone  Time // probe_rtt_done_stamp, 0 for not yet
	probeAt    Time // cycle_stamp and bw_probe_wait: when the next probe is due
	extraAt    Time // extra_acked_interval_start
}

// bbrNarrow are octets, rounds and states.
type bbrNarrow struct {
	extra      [2]uint32 // octets: most of the present five rounds and of the last
	extraSum   uint32    // extra_acked_delivered
	extraRound uint16    // round in which extra[0] began
	round      uint16    // round_count

	inflightLong   uint32 // octets: inflight_longterm
	inflightShort  uint32 // octets: inflight_shortterm
	inflightLatest uint32
	undoLong       uint32
	priorCwnd      uint32
	roundEnd       uint32 // the clock at which the round ends: see delivery.clock
	lossRoundEnd   uint32
	upCount        uint32 // octets acknowledged for each octet that inflightLong grows
	upAcks         uint32
	lostSeen       uint32 // congestion.lost at the last acknowledgement

	state      bbrPhase
	acks       bbrAcks
	fullCount  uint8
	upRounds   uint8
	sinceProbe uint8 // rounds_since_bw_probe
	lossEvents uint8
	lossSegs   uint8 // full-sized segments lost in the round of losses, 255 for more
	flags      bbrFlags
}

// loadBBR returns BBR's state.
func (c *Conn) loadBBR() bbrState {
	w := &c.cc.private
	return bbrState{bbrWide{
		maxBw: [2]uint64{w[0], w[1]}, bwShort: w[2], bwLatest: w[3], fullBw: w[4],
		minRTT: Time(w[5]), minRTTAt: Time(w[6]), probeMin: Time(w[7]), probeMinAt: Time(w[8]),
		probeDone: Time(w[9]), probeAt: Time(w[10]), extraAt: Time(w[11]),
	}, c.bbr}
}

// storeBBR puts it back.
func (c *Conn) storeBBR(b *bbrState) {
	c.cc.private = [privateWords]uint64{
		b.maxBw[0], b.maxBw[1], b.bwShort, b.bwLatest, b.fullBw,
		uint64(b.minRTT), uint64(b.minRTTAt), uint64(b.probeMin), uint64(b.probeMinAt),
		uint64(b.probeDone), uint64(b.probeAt), uint64(b.extraAt),
	}
	c.bbr = b.bbrNarrow
}

// bbrPhase is a state of BBR's machine.
type bbrPhase uint8

const (
	bbrStartup bbrPhase = iota
	bbrDrain
	bbrDown
	bbrCruise
	bbrRefill
	bbrUp
	bbrProbeRTT
)

// bbrAcks says what the acknowledgements that come now are the echo of.
type bbrAcks uint8

const (
	acksInit bbrAcks = iota
	acksRefilling
	acksProbeStarting
	acksProbeFeedback
	acksProbeStopping
)

type bbrFlags uint8

const (
	bbrFullReached  bbrFlags = 1 << iota // full_bw_reached
	bbrFullNow                           // full_bw_now
	bbrLossInRound                       // loss_in_round
	bbrIdleRestart                       // idle_restart
	bbrProbeSamples                      // bw_probe_samples
	bbrRTTRoundDone                      // probe_rtt_round_done
	bbrRoundStart                        // round_start, of this acknowledgement
	bbrLossRound                         // loss_round_start, of this acknowledgement
)

func (b *bbrState) has(f bbrFlags) bool { return b.flags&f != 0 }

func (b *bbrState) put(f bbrFlags, on bool) {
	b.flags &^= f
	if on {
		b.flags |= f
	}
}

// Gains in 1/256.
const (
	bbrUnit        = 256
	bbrStartupPace = 709 // 4*ln 2 = 2.77
	bbrDrainPace   = 128
	bbrDownPace    = 230 // 0.9
	bbrUpPace      = 320 // 1.25
	bbrStartupCwnd = 512
	bbrUpCwnd      = 576 // 2.25
	bbrProbeCwnd   = 128 // in ProbeRTT
)

// bbrGains are the gains of the pace and of the window in each state.
var bbrGains = [...][2]uint32{
	bbrStartup:  {bbrStartupPace, bbrStartupCwnd},
	bbrDrain:    {bbrDrainPace, bbrStartupCwnd},
	bbrDown:     {bbrDownPace, bbrStartupCwnd},
	bbrCruise:   {bbrUnit, bbrStartupCwnd},
	bbrRefill:   {bbrUnit, bbrStartupCwnd},
	bbrUp:       {bbrUpPace, bbrUpCwnd},
	bbrProbeRTT: {bbrUnit, bbrProbeCwnd},
}

func (b *bbrState) gains() (pace, cwnd uint32) {
	g := bbrGains[min(int(b.state), len(bbrGains)-1)]
	return g[0], g[1]
}

func (bbr) name() string     { return "bbr" }
func (bbr) ownsWindow() bool { return true }

func (bbr) start(c *Conn, now Time) {
	b := bbrState{
		bbrWide{minRTT: c.rtt.srtt, probeMin: c.rtt.srtt, probeMinAt: now, minRTTAt: now, extraAt: now},
		bbrNarrow{roundEnd: c.rate.clock(c.cc.lost) + c.pipe(), lossRoundEnd: c.rate.clock(c.cc.lost) + c.pipe(), lostSeen: c.cc.lost},
	}
	c.storeBBR(&b)
	// A mark in each quarter of the window: see acked.
	c.rate.every = c.cc.cwnd / uint32(len(c.rate.marks))
	rtt := c.rtt.srtt
	if rtt == 0 {
		rtt = Millisecond
	}
	c.rate.pace = perSecond(c.cc.cwnd, rtt) * bbrStartupPace / bbrUnit
}

// acked is BBRUpdateOnACK.
func (bbr) acked(c *Conn, now Time, a ack) {
	b := c.loadBBR()
	if a.span > 0 {
		a.rate = perSecond(a.since, a.span)
	}
	newlyLost := c.cc.lost - b.lostSeen
	b.lostSeen = c.cc.lost
	if newlyLost > 0 {
		b.noteLoss(c, newlyLost)
	}
	b.takeSample(c, now, &a)
	b.countExtra(c, now, a.n)
	b.checkFull(&a)
	b.checkStartup()
	b.checkDrain(c, now)
	b.cycle(c, now, &a)
	b.measureRTT(now, a.rtt)
	b.checkProbeRTT(c, now)
	if b.has(bbrLossRound) {
		b.bwLatest, b.inflightLatest = a.rate, a.since
	}
	b.put(bbrIdleRestart, false)
	b.setPace(c)
	b.setCwnd(c, a.n, newlyLost)
	c.storeBBR(&b)
	c.rate.every = c.cc.cwnd / uint32(len(c.rate.marks))
}

// setPace sets the pace to a little less than what the model says, so that no
// queue builds up.
func (b *bbrState) setPace(c *Conn) {
	gain, _ := b.gains()
	bw := b.bw()
	if bw == 0 {
		return
	}
	pace := max(bw*uint64(gain)/bbrUnit*99/100, c.leastPace())
	if b.has(bbrFullReached) || pace > c.rate.pace {
		c.rate.pace = pace
	}
}

// leastPace is a segment in a round trip. A model that has seen little but losses
// can believe in a few octets a second, and then the next segment, from which it
// could learn better, would have to wait for half an hour.
func (c *Conn) leastPace() uint64 {
	return perSecond(c.snd.mss, max(c.rtt.srtt, Millisecond))
}

// setCwnd is BBRSetCwnd: the window goes to what the model wants in flight, as
// acknowledgements come.
func (b *bbrState) setCwnd(c *Conn, n, newlyLost uint32) {
	mss := c.snd.mss
	cwnd := c.cc.cwnd
	_, gain := b.gains()
	most := b.quantized(c, min(b.inflight(c, gain)+b.extraAcked(), maxBuffer))
	if c.loss.phase != phaseOpen && newlyLost > 0 {
		cwnd = max(cwnd-min(newlyLost, cwnd), mss)
	}
	switch {
	case b.has(bbrFullReached):
		cwnd = min(cwnd+n, most)
	case cwnd < most || c.Stats.BytesAcked < uint64(c.initialCwnd()):
		cwnd += n
	}
	cwnd = max(cwnd, bbrMinSegments*mss)
	if b.state == bbrProbeRTT {
		cwnd = min(cwnd, b.probeRTTCwnd(c))
	}
	c.cc.cwnd = max(min(cwnd, b.bound(c), maxBuffer), mss)
}

// bound is BBRBoundCwndForModel: what losses have taught.
func (b *bbrState) bound(c *Conn) uint32 {
	most := uint32(maxBuffer)
	switch {
	case b.inflightLong == 0:
	case b.state == bbrCruise || b.state == bbrProbeRTT:
		most = b.headroom(c)
	case b.probing():
		most = b.inflightLong
	}
	if b.inflightShort != 0 {
		most = min(most, b.inflightShort)
	}
	return max(most, bbrMinSegments*c.snd.mss)
}

// resumed is BBRHandleRestartFromIdle.
func (bbr) resumed(c *Conn, now Time) {
	if !c.rate.isLimited() {
		return
	}
	b := c.loadBBR()
	b.put(bbrIdleRestart, true)
	b.extraAt = now
	switch {
	case b.probing():
		if bw := b.bw(); bw != 0 {
			c.rate.pace = max(bw, c.leastPace())
		}
	case b.state == bbrProbeRTT:
		b.checkProbeRTTDone(c, now)
	}
	c.storeBBR(&b)
}

func (bbr) marked(*Conn, Time, uint32) bool { return false }
