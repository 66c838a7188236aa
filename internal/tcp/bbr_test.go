package tcp

import (
	"math/rand/v2"
	"slices"
	"testing"
)

var bbrNames = [...]string{"Startup", "Drain", "Down", "Cruise", "Refill", "Up", "ProbeRTT"}

func (p bbrPhase) String() string { return bbrNames[p] }

// tenMbit is a path of 10 Mbit/s and 40 ms, with room for four times the product.
var tenMbit = link{rate: 1_250_000, delay: 40 * Millisecond, buffer: 200_000, seed: 1}

// phases runs b for d and returns the states that BBR went through.
func phases(b *bottleneck, d Time) (all []bbrPhase) {
	for end := b.now + d; b.now < end; {
		b.run(5 * Millisecond)
		if b.snd.c.State != Established {
			continue
		}
		s := b.snd.c.loadBBR()
		if len(all) == 0 || all[len(all)-1] != s.state {
			all = append(all, s.state)
		}
	}
	return all
}

// bbrConn returns a connection on which BBR runs, in a given state, with a model
// of 1 MB/s and 100 ms, and so of 100 segments in flight.
func bbrConn(state bbrPhase) (*Conn, bbrState) {
	c := &Conn{State: Established}
	c.snd.mss = 1000
	c.cc.running = CongestionBBR
	c.cc.cwnd, c.cc.ssthresh = 200_000, maxBuffer
	c.snd.nxt = 100_000
	b := bbrState{
		bbrWide{maxBw: [2]uint64{1_000_000, 900_000}, minRTT: 100 * Millisecond, probeMin: 100 * Millisecond},
		bbrNarrow{state: state},
	}
	return c, b
}

// sample is an acknowledgement at the end of a round trip of the model's path.
func sample(rate uint64) ack {
	return ack{n: 2000, flight: 200_000, rtt: 100 * Millisecond, rate: rate, since: uint32(rate / 10), span: 100 * Millisecond, sent: 100_000}
}

func TestBBRGoesThroughItsStates(t *testing.T) {
	b := newBottleneck(t, tenMbit, CongestionBBR)
	got := phases(b, 4900*Millisecond)
	// Draining is done: Down, with which the cycle begins, lasts no time at first.
	want := []bbrPhase{bbrStartup, bbrDrain, bbrCruise, bbrRefill, bbrUp, bbrDown, bbrCruise}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("it goes through %v, want first %v", got, want)
	}
	if slices.Contains(got, bbrProbeRTT) {
		t.Error("ProbeRTT before 5 s")
	}
	if got = phases(b, 2*Second); !slices.Contains(got, bbrProbeRTT) {
		t.Errorf("no ProbeRTT in 7 s: %v", got)
	}
	if b.dropped > 0 {
		t.Errorf("%d segments dropped although there is room", b.dropped)
	}
}

func TestBBRFindsTheModel(t *testing.T) {
	for _, mbit := range []uint64{1, 10, 100} {
		p := tenMbit
		p.rate = mbit * 125_000
		p.buffer = uint32(p.rate / 6)
		b := newBottleneck(t, p, CongestionBBR)
		b.run(4 * Second)
		s := b.snd.c.loadBBR()
		payload := p.rate * 1448 / 1500
		if bw := s.maxBandwidth(); bw < payload*95/100 || bw > payload*105/100 {
			t.Errorf("%d Mbit/s: the model has %d octets a second, want %d", mbit, bw, payload)
		}
		if most := p.delay + takes(3*1500, p.rate); s.minRTT < p.delay || s.minRTT > most {
			t.Errorf("%d Mbit/s: the model has %d µs, want %d to %d", mbit, s.minRTT/Microsecond, p.delay/Microsecond, most/Microsecond)
		}
		if share := float64(b.got) / float64(payload*4); share < 0.85 {
			t.Errorf("%d Mbit/s: %.0f %% of it used", mbit, share*100)
		}
	}
}

func TestBBRKeepsTheQueueShort(t *testing.T) {
	delay := func(congestion uint8) float64 {
		p := tenMbit
		p.buffer = 500_000
		_, b := goodput(t, p, congestion, 10*Second)
		return float64(b.queued) / float64(b.sent) / 1e6
	}
	if x, y := delay(CongestionBBR), delay(CongestionReno); x > y/4 || x > 15 {
		t.Errorf("segments wait %.1f ms with BBR and %.1f ms with Reno", x, y)
	}
}

func TestBBRIsNotMovedByRandomLosses(t *testing.T) {
	p := tenMbit
	p.loss = 0.01
	bbr, _ := goodput(t, p, CongestionBBR, 10*Second)
	reno, _ := goodput(t, p, CongestionReno, 10*Second)
	if bbr < 7 || bbr < 2*reno {
		t.Errorf("with 1 %% loss %.1f Mbit/s, Reno %.1f", bbr, reno)
	}
}

func TestBBRStartupEndsWhenThePipeIsFull(t *testing.T) {
	_, b := bbrConn(bbrStartup)
	b.maxBw = [2]uint64{}
	for i, x := range []struct {
		rate uint64
		full bool
	}{{1000, false}, {1250, false}, {1500, false}, {1560, false}, {1700, false}, {1800, false}, {1940, false}, {2000, true}} {
		b.maxBw[0] = x.rate
		b.put(bbrRoundStart, true)
		b.checkFull(&ack{rate: x.rate})
		if b.has(bbrFullReached) != x.full {
			t.Fatalf("round %d, %d octets a second: full is %v", i, x.rate, !x.full)
		}
		b.put(bbrRoundStart, false)
		b.checkFull(&ack{rate: x.rate})
		b.checkFull(&ack{rate: x.rate, limited: true})
	}
	b.checkStartup()
	if b.state != bbrDrain {
		t.Errorf("it is in %v", b.state)
	}
}

func TestBBRStartupEndsAfterManyLosses(t *testing.T) {
	for _, x := range []struct {
		events, segs int
		ends         bool
	}{{5, 50, false}, {6, 1, false}, {6, 12, true}} {
		c, b := bbrConn(bbrStartup)
		c.loss.phase = phaseRecovery
		for i := range x.events {
			n := x.segs / x.events
			if i == 0 {
				n += x.segs % x.events
			}
			b.noteLoss(c, uint32(n)*1000)
		}
		if x.segs < x.events {
			b.lossSegs = uint8(x.segs)
		}
		b.inflightLatest = 100_000
		b.checkHighLoss(c)
		if b.has(bbrFullReached) != x.ends {
			t.Errorf("%d losses of %d segments: Startup ends is %v", x.events, x.segs, !x.ends)
		}
		if x.ends && b.inflightLong != 100_000 {
			t.Errorf("inflight_longterm is %d", b.inflightLong)
		}
	}
}

func TestBBRLossesBoundTheModelUntilTheNextProbe(t *testing.T) {
	c, b := bbrConn(bbrCruise)
	b.noteLoss(c, 1000)
	b.bwLatest, b.inflightLatest = 500_000, 50_000
	b.adaptLower(c)
	// 0.7 of what was, in 256th: 179.
	if b.bwShort != 1_000_000*179/256 || b.inflightShort != 200_000*179/256 {
		t.Errorf("the bounds are %d octets a second and %d octets", b.bwShort, b.inflightShort)
	}
	b.bwLatest, b.inflightLatest = 650_000, 130_000
	b.adaptLower(c)
	if b.bwShort != 650_000 || b.inflightShort != 130_000 {
		t.Errorf("below what came through: %d, %d", b.bwShort, b.inflightShort)
	}
	if b.bw() != 650_000 || b.bound(c) != 130_000 {
		t.Errorf("bw %d, bound %d", b.bw(), b.bound(c))
	}
	b.startRefill(c)
	if b.bw() != 1_000_000 || b.bound(c) != maxBuffer {
		t.Errorf("after Refill: bw %d, bound %d", b.bw(), b.bound(c))
	}
	b.put(bbrLossInRound, true)
	b.adaptLower(c)
	if b.bwShort != 0 {
		t.Error("losses of a probe bound the present")
	}
}

func TestBBRProbeThatLosesTooMuchEnds(t *testing.T) {
	c, b := bbrConn(bbrUp)
	b.flags = bbrFullReached | bbrProbeSamples
	b.acks = acksProbeFeedback
	a := sample(1_000_000)
	a.lost = 1900
	b.adaptLong(c, Second, &a)
	if b.state != bbrUp || b.inflightLong != 0 {
		t.Fatalf("1.9 %% of loss: %v, inflight_longterm %d", b.state, b.inflightLong)
	}
	a.lost, a.sent = 2500, 120_000
	b.adaptLong(c, Second, &a)
	if b.state != bbrDown || b.inflightLong != 120_000 || b.has(bbrProbeSamples) {
		t.Errorf("2.1 %% of loss: %v, inflight_longterm %d", b.state, b.inflightLong)
	}
	if got := b.headroom(c); got >= 120_000*86/100 || got < 120_000*84/100 {
		t.Errorf("cruising leaves room for others: %d of 120000", got)
	}
	a.sent, a.lost = 140_000, 4000
	b.adaptLong(c, Second, &a)
	if b.inflightLong != 120_000 {
		t.Error("losses that no probe caused have moved inflight_longterm")
	}
	a.lost = 0
	b.adaptLong(c, Second, &a)
	if b.inflightLong != 140_000 {
		t.Errorf("what came through without losses does not raise it: %d", b.inflightLong)
	}
}

func TestBBRProbesFasterAndFaster(t *testing.T) {
	c, b := bbrConn(bbrUp)
	b.inflightLong = 200_000
	c.cc.cwnd = 200_000
	b.raiseSlope(c)
	grown := make([]uint32, 4)
	for i := range grown {
		was := b.inflightLong
		for range 200 { // segments of a round trip
			a := ack{n: 1000, flight: 400_000}
			c.cc.cwnd = b.inflightLong
			b.put(bbrRoundStart, false)
			b.raiseLong(c, &a)
		}
		b.put(bbrRoundStart, true)
		c.cc.cwnd = b.inflightLong
		b.raiseLong(c, &ack{n: 0, flight: 400_000})
		grown[i] = b.inflightLong - was
	}
	for i, want := range []uint32{1000, 2000, 4000, 8000} {
		if grown[i] < want*9/10 || grown[i] > want*11/10 {
			t.Errorf("it grows by %v, want 1, 2, 4, 8 segments", grown)
			break
		}
	}
}

func TestBBRWaitsTwoToThreeSecondsBetweenProbes(t *testing.T) {
	c, b := bbrConn(bbrDown)
	seen := map[Time]bool{}
	for i := range 100 {
		b.round = uint16(i)
		b.pickWait(c, 7*Second)
		if wait := b.probeAt - 7*Second; wait < 2*Second || wait >= 3*Second || b.sinceProbe > 1 {
			t.Fatalf("%d ns, %d rounds", wait, b.sinceProbe)
		}
		seen[b.probeAt] = true
	}
	if len(seen) < 90 {
		t.Errorf("only %d different waits", len(seen))
	}
	b.sinceProbe = 62
	if b.timeToProbe(c, 8*Second) {
		t.Error("a probe after 62 rounds")
	}
	b.sinceProbe = 63
	if !b.timeToProbe(c, 8*Second) {
		t.Error("no probe after 63 rounds, when a Reno flow would have grown as much")
	}
	b.sinceProbe = 0
	if !b.timeToProbe(c, b.probeAt+1) {
		t.Error("no probe after the wait")
	}
}

func TestBBRIgnoresWhatIsFasterThanThePath(t *testing.T) {
	c, b := bbrConn(bbrCruise)
	a := sample(5_000_000)
	a.span = 20 * Millisecond
	b.takeSample(c, Second, &a)
	if b.maxBandwidth() != 1_000_000 {
		t.Errorf("bandwidth %d from an interval below the round-trip time", b.maxBandwidth())
	}
	a = sample(950_000)
	a.limited = true
	b.maxBw[0] = 0
	b.takeSample(c, Second, &a)
	if b.maxBw[0] != 950_000 {
		t.Error("a limited sample above all others is none")
	}
	a = sample(5_000)
	a.limited = true
	b.maxBw = [2]uint64{0, 900_000}
	b.takeSample(c, Second, &a)
	if b.maxBw[0] != 0 {
		t.Error("a program that is slow makes the path slow")
	}
}

func TestBBRProbeRTT(t *testing.T) {
	c, b := bbrConn(bbrCruise)
	b.flags = bbrFullReached
	b.probeMinAt, b.minRTTAt = Second, Second
	b.checkProbeRTT(c, 6*Second)
	if b.state != bbrCruise {
		t.Fatal("too early")
	}
	b.checkProbeRTT(c, 6*Second+1)
	if b.state != bbrProbeRTT || b.priorCwnd != 200_000 {
		t.Fatalf("%v, prior cwnd %d", b.state, b.priorCwnd)
	}
	b.setCwnd(c, 1000, 0)
	if c.cc.cwnd < 49_900 || c.cc.cwnd > 50_000 {
		t.Errorf("cwnd is %d, want half of what fits", c.cc.cwnd)
	}
	c.snd.nxt = 49_900
	b.checkProbeRTT(c, 7*Second)
	b.measureRTT(7*Second, 80*Millisecond)
	if b.minRTT != 80*Millisecond {
		t.Errorf("minRTT %d", b.minRTT)
	}
	b.put(bbrRoundStart, true)
	b.checkProbeRTT(c, 7*Second+bbrProbeRTTFor)
	if b.state != bbrProbeRTT {
		t.Fatal("it ends too early")
	}
	b.checkProbeRTT(c, 7*Second+bbrProbeRTTFor+1)
	if b.state != bbrCruise || c.cc.cwnd != 200_000 || b.probeMinAt <= 7*Second {
		t.Errorf("%v, cwnd %d", b.state, c.cc.cwnd)
	}
}

func TestBBRMinRTTIsForgottenAfterTenSeconds(t *testing.T) {
	_, b := bbrConn(bbrProbeRTT)
	b.minRTTAt, b.probeMinAt, b.probeMin = Second, Second, 0
	b.measureRTT(9*Second, 150*Millisecond)
	if b.minRTT != 100*Millisecond {
		t.Errorf("minRTT is %d ms after 8 s", b.minRTT/Millisecond)
	}
	b.measureRTT(11*Second+1, 160*Millisecond)
	if b.minRTT != 150*Millisecond {
		t.Errorf("minRTT is %d ms after 10 s", b.minRTT/Millisecond)
	}
}

func TestBBRUndo(t *testing.T) {
	c, b := bbrConn(bbrCruise)
	b.inflightLong = 150_000
	b.noteLoss(c, 1000)
	b.adaptLower(c)
	b.inflightLong = 110_000
	c.storeBBR(&b)
	c.onLoss(Second, 100_000)
	c.cc.cwnd = 20_000
	c.onUndo(Second)
	b = c.loadBBR()
	if b.bwShort != 0 || b.inflightShort != 0 || b.inflightLong != 150_000 || c.cc.cwnd != 200_000 {
		t.Errorf("%+v, cwnd %d", b, c.cc.cwnd)
	}
}

func TestBBRTimeoutAndRecovery(t *testing.T) {
	c, b := bbrConn(bbrCruise)
	c.storeBBR(&b)
	c.onRTO(Second, 100_000)
	if c.cc.cwnd != 1000 {
		t.Errorf("after a timeout cwnd is %d", c.cc.cwnd)
	}
	c.loss.phase = phaseLoss
	c.onAck(Second, 1000, 1000)
	if c.cc.cwnd < 2000 || c.cc.cwnd > 4000 {
		t.Errorf("after the first acknowledgement it is %d", c.cc.cwnd)
	}
	c.loss.phase = phaseOpen
	c.onRecoveryExit(2 * Second)
	if c.cc.cwnd != 200_000 {
		t.Errorf("after the recovery it is %d", c.cc.cwnd)
	}
}

func TestBBRStateFitsIntoItsWords(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9438))
	c := &Conn{}
	for i := range c.cc.private {
		c.cc.private[i] = r.Uint64()
	}
	was := c.cc.private
	b := c.loadBBR()
	c.cc.private = [privateWords]uint64{}
	c.storeBBR(&b)
	if c.cc.private != was {
		t.Errorf("%x became %x", was, c.cc.private)
	}
}

// TestBBROfRubbish: its state may lie in a segment that somebody has spoiled.
func TestBBROfRubbish(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 9438))
	word := func() uint64 { return r.Uint64() >> r.IntN(64) }
	for range 5000 {
		c, b := bbrConn(bbrPhase(r.IntN(256)))
		b.flags = bbrFlags(r.IntN(256))
		b.upCount, b.inflightLong, b.inflightShort, b.priorCwnd = uint32(word()), uint32(word()), uint32(word()), uint32(word())
		b.extra = [2]uint32{uint32(word()), uint32(word())}
		b.upRounds, b.acks = uint8(word()), bbrAcks(word())
		c.storeBBR(&b)
		for i := range c.cc.private {
			c.cc.private[i] = word()
		}
		c.cc.cwnd, c.snd.nxt = r.Uint32N(maxBuffer)+1, peerSeq(int(r.Uint32N(maxBuffer)))
		c.rate.pace = word()
		a := ack{n: r.Uint32N(1 << 20), flight: uint32(word()), rtt: Time(word()), rate: word(), since: uint32(word()), sent: uint32(word())}
		c.cc.lost = uint32(word())
		bbr{}.acked(c, Time(word()), a)
		bbr{}.resumed(c, Time(word()))
		bbr{}.undone(c, 0)
		bbr{}.recovered(c, 0)
		if c.cc.cwnd > maxBuffer || c.cc.cwnd < c.snd.mss {
			t.Fatalf("cwnd is %d", c.cc.cwnd)
		}
	}
}
