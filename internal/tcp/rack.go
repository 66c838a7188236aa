package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// rack is what RACK (RFC 8985) remembers. It means something only if the peer
// sends selective acknowledgements.
type rack struct {
	at  stamp      // when the segment was sent that is the youngest of those delivered
	end seq.Number // behind that segment
	rtt span       // its round-trip time

	low, lowBefore span   // least round-trip time of this period and of the one before; 0 for none
	period         uint32 // number of this period
	grain          span   // what is sent within this time counts as sent at once

	fack       seq.Number // behind the highest octet that is known to have arrived
	dsackRound seq.Number // when this is acknowledged, a D-SACK may widen the window again, if widened
	mult       uint8      // of the reordering window, in quarters of the least round-trip time
	persist    uint8      // recoveries until mult is 1 again
	seen       uint8      // 1: at, end and rtt are valid
	reordered  uint8      // 1: segments have arrived out of order
	widened    uint8      // 1: dsackRound is valid
	_          [3]uint8
}

const (
	// rackPeriod is how long the least round-trip time counts at least (RFC 8985
	// section 6.2 leaves it open; Linux takes 300 s).
	rackPeriod = 150 * Second

	rackPersist = 16 // recoveries that a wider window lasts: RFC 8985 section 6.2
	rackMaxMult = 200
)

// minRTT returns the least round-trip time of the last minutes, 0 for unknown.
func (k *rack) minRTT() span {
	if k.lowBefore != 0 && k.lowBefore < k.low {
		return k.lowBefore
	}
	return k.low
}

// MinRTT returns the least round-trip time of the last minutes, zero while there
// is no measurement.
func (c *Conn) MinRTT() Time { return c.rack.minRTT().time() }

// noteRTT takes a sample of the round-trip time that is surely one.
func (c *Conn) noteRTT(now, t Time) {
	k := &c.rack
	low := max(spanOf(t), 1)
	if period := uint32(now / rackPeriod); k.low == 0 || period != k.period {
		k.lowBefore = k.low
		if period > k.period+1 {
			k.lowBefore = 0
		}
		k.low, k.period = low, period
	}
	k.low = min(k.low, low)
	k.grain = k.minRTT() / 16
}

// sentAfter orders segments by the time of sending, and those of the same time
// by their numbers.
func sentAfter(at stamp, end seq.Number, at2 stamp, end2 seq.Number) bool {
	return at.since(at2) > 0 || at2.since(at) == 0 && end.After(end2)
}

// rackDeliver takes note of the delivery of [start, end), which is in run r
// (RFC 8985 section 6.2, steps 1 to 3).
func (c *Conn) rackDeliver(now Time, seg *Segment, r sent, start, end seq.Number) {
	k := &c.rack
	rtt := stampOf(now).since(r.at)
	if r.at&sentResent == 0 {
		if end.Before(k.fack) {
			k.reordered = 1
			c.late = max(c.late, uint32(k.fack.From(start)))
		}
	} else if rtt+span(sentBits) < k.minRTT() || c.echoesBefore(seg, now-rtt.time()) {
		return // it is the first copy that has arrived
	}
	if end.After(k.fack) {
		k.fack = end
	}
	k.rtt = rtt
	if k.seen == 0 || sentAfter(r.at, end, k.at, k.end) {
		k.at, k.end, k.seen = r.at&^sentBits, end, 1
	}
}

// echoesBefore reports whether the segment echoes a timestamp from before t.
func (c *Conn) echoesBefore(seg *Segment, t Time) bool {
	return c.has(flagTimestamps) && seg.Options.Has(wire.HasTimestamps) && seg.Options.TSEcr != 0 &&
		int32(seg.Options.TSEcr-c.tsNow(t)) < 0
}

// reorderWindow returns how much later than its successors a segment may arrive
// before it counts as lost (step 4).
func (c *Conn) reorderWindow() span {
	k := &c.rack
	if k.reordered == 0 {
		// Without a sign of reordering there is nothing to wait for, once there is
		// proof enough of a loss: three segments that came after it.
		if c.loss.phase != phaseOpen || c.board.sacked > (dupThreshold-1)*c.snd.mss ||
			c.loss.dupAcks >= dupThreshold {
			return 0
		}
	}
	wnd := span(max(k.mult, 1)) * k.minRTT() / 4
	return min(wnd, spanOf(c.rtt.srtt))
}

// widenWindow adapts the reordering window to a D-SACK, once in a round trip: we
// have sent something again that had only been late.
func (c *Conn) widenWindow() {
	k := &c.rack
	if k.widened != 0 && c.snd.una.AtOrAfter(k.dsackRound) {
		k.widened = 0
	}
	if k.widened != 0 {
		return
	}
	k.widened = 1
	k.dsackRound = c.snd.nxt
	k.persist = rackPersist
	k.reordered = 1
	k.mult = min(max(k.mult, 1)+1, rackMaxMult)
}

// narrowWindow forgets the adaptation after a number of recoveries.
func (c *Conn) narrowWindow() {
	if k := &c.rack; k.persist > 0 {
		if k.persist--; k.persist == 0 {
			k.mult = 1
		}
	}
}

// detectLosses marks what was sent so long before something that has been
// delivered that it must be lost (step 5), and returns how many octets. For what
// is not yet late enough the timer is set.
func (c *Conn) detectLosses(m *Memory, now Time) (lost uint32) {
	k, b := &c.rack, &c.board
	if k.seen == 0 {
		return 0
	}
	wait := k.rtt + c.reorderWindow()
	rest := span(0)
	from := b.una
	for i, r := range b.view(m) {
		if r.at&(sentSacked|sentLost) == 0 && sentAfter(k.at, k.end, r.at, r.end) {
			if age := stampOf(now).since(r.at); age >= wait {
				b.edit(m)[i].at |= sentLost
				lost += uint32(r.end.From(from))
			} else {
				rest = max(rest, wait-age)
			}
		}
		from = r.end
	}
	if lost > 0 {
		b.tidy(m, k.grain)
		c.noteLost(lost)
	}
	c.setReorderTimer(now, rest)
	return lost
}

// setReorderTimer sets the timer for what is not yet late enough, or stops it.
func (c *Conn) setReorderTimer(now Time, rest span) {
	switch {
	case rest > 0:
		c.set(flagReorderTimer)
		c.arm(timerLoss, now+(rest+span(sentBits)+1).time())
	case c.has(flagReorderTimer):
		c.stopLossTimer()
	}
}

// stopLossTimer stops the timer of RACK-TLP.
func (c *Conn) stopLossTimer() {
	c.clear(flagReorderTimer)
	c.stop(timerLoss)
}

// lossTimeout is the expiry of the timer of RACK-TLP.
func (c *Conn) lossTimeout(m *Memory, now Time) {
	if !c.has(flagReorderTimer) {
		c.probeTimeout(now)
		return
	}
	c.clear(flagReorderTimer)
	before := c.flight() - c.board.sacked
	switch lost := c.detectLosses(m, now); {
	case lost == 0:
	case c.loss.phase == phaseOpen:
		c.enterRecovery(now, &news{lost: lost}, before)
	case c.loss.phase == phaseRecovery:
		c.prrAck(&news{lost: lost})
	}
	c.armProbe(now)
}

// RecoveryInfo says what loss recovery believes: for TCP_INFO and the like.
type RecoveryInfo struct {
	Sacked, Lost, InFlight uint32 // octets, of what is sent and not acknowledged
	Again                  uint32 // octets in flight that were sent again
	Recovering             bool   // a fast recovery is going on
	TimedOut               bool   // what follows a timeout is going on
	Disorder               bool   // neither, but something is sacked
	Reordering             bool   // segments have arrived out of order
	Late                   uint32 // octets that a segment came behind its successors, at most
	ReorderWindow          Time   // how much later a segment may come without being taken for lost
	MinRTT                 Time
}

// Recovery returns what loss recovery believes.
func (c *Conn) Recovery() RecoveryInfo {
	return RecoveryInfo{
		Sacked: c.board.sacked, Lost: c.board.lost, InFlight: c.pipe(),
		Recovering:    c.loss.phase == phaseRecovery,
		TimedOut:      c.loss.phase == phaseLoss,
		Disorder:      c.loss.phase == phaseOpen && (c.board.sacked > 0 || c.loss.dupAcks > 0),
		Reordering:    c.rack.reordered != 0,
		Late:          c.late,
		ReorderWindow: c.reorderWindow().time(),
		MinRTT:        c.MinRTT(),
		Again:         c.board.again,
	}
}
