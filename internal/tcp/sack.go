package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// news is what one arriving segment tells of what was sent.
type news struct {
	acked     uint32     // octets that its acknowledgement number newly covers
	delivered uint32     // octets that are now known to have arrived, and were not before
	sacked    uint32     // … of those, by a SACK block
	lost      uint32     // octets that are believed lost because of it
	dsackEnd  seq.Number // end of its D-SACK block
	dsack     bool       // it has a D-SACK block
	original  bool       // some of what arrived was in flight at the loss and was sent only once
	undone    bool       // by now all that was sent again is known to have come twice
}

// weigh takes in what a segment says of what was sent, when the peer sends
// selective acknowledgements. Of flight octets before it acked are acknowledged;
// twin says that it is a duplicate acknowledgement.
func (c *Conn) weigh(m *Memory, now Time, seg *Segment, acked, flight uint32, twin bool) {
	b := &c.board
	x := news{acked: acked}
	before := flight - b.sacked
	pipe := before - b.lost
	calm := b.sacked|b.lost == 0 && c.loss.phase == phaseOpen && c.probing == probeNone
	switch {
	case acked > 0 && calm:
		c.takeInTurn(m, now, seg, &x)
	case acked > 0:
		c.takeAcked(m, now, seg, &x)
	}
	if seg.Options.SACKBlocks > 0 {
		c.takeBlocks(m, now, seg, &x)
		calm = calm && x.sacked == 0 && !x.dsack
	}
	if twin {
		if c.snd.una != c.snd.nxt {
			c.Stats.DupAcks++
		}
		twin = !x.dsack && x.sacked == 0
	}
	if x.delivered > 0 {
		c.onAck(now, x.delivered, pipe)
	}
	if !calm {
		c.consider(m, now, seg, &x, before)
		c.probeAnswered(now, seg, &x, twin)
	}
	if c.snd.una == c.snd.nxt {
		return
	}
	if acked > 0 {
		// "When an ACK is received that acknowledges new data, restart the
		// retransmission timer" (RFC 6298 (5.3))
		c.armResend(now)
	}
	if !calm || !c.armed(timerLoss) {
		c.armProbe(now)
	}
}

// takeInTurn takes off the scoreboard what is acknowledged, if nothing is amiss:
// then only the youngest of it matters.
func (c *Conn) takeInTurn(m *Memory, now Time, seg *Segment, x *news) {
	b := &c.board
	rs := b.view(m)
	k := 0
	for k+1 < len(rs) && rs[k].end.Before(seg.Ack) {
		k++
	}
	x.delivered = x.acked
	c.rackDeliver(now, seg, rs[k], b.una, seg.Ack)
	c.rack.fack = seq.Max(c.rack.fack, seg.Ack)
	b.shift(m, seg.Ack)
	c.loss.dupAcks = 0
}

// takeAcked takes off the scoreboard what is acknowledged.
func (c *Conn) takeAcked(m *Memory, now Time, seg *Segment, x *news) {
	b := &c.board
	from := b.una
	for _, r := range b.view(m) {
		end := seq.Min(r.end, seg.Ack)
		if end.AtOrBefore(from) {
			break
		}
		c.arrived(now, seg, r, from, end, x)
		from = end
	}
	b.shift(m, seg.Ack)
	c.rack.fack = seq.Max(c.rack.fack, seg.Ack)
	if b.sacked == 0 {
		c.loss.dupAcks = 0
	}
}

// arrived takes note that [start, end) of run r is known to have arrived.
func (c *Conn) arrived(now Time, seg *Segment, r sent, start, end seq.Number, x *news) {
	if r.at&sentSacked != 0 {
		return
	}
	x.delivered += uint32(end.From(start))
	if r.at&sentResent == 0 && start.Before(c.loss.recover) {
		x.original = true
	}
	c.rackDeliver(now, seg, r, start, end)
}

// takeBlocks takes the SACK blocks of a segment (RFC 2018 section 5).
func (c *Conn) takeBlocks(m *Memory, now Time, seg *Segment, x *news) {
	o := &seg.Options
	blocks := o.SACK[:min(int(o.SACKBlocks), len(o.SACK))]
	if c.takeDSACK(seg, x) {
		blocks = blocks[1:]
	}
	for _, block := range blocks {
		c.takeBlock(m, now, seg, block, x)
	}
	if x.sacked > 0 {
		c.board.tidy(m, c.rack.grain)
		c.Stats.SackedBytes += uint64(x.sacked)
		c.loss.dupAcks = min(c.loss.dupAcks+1, 1<<15)
	}
}

// takeBlock marks what a SACK block names. A block that is partly about what was
// never sent, or is empty, is not believed, and one of less than the smallest
// segment in flight says of no segment that it has arrived.
func (c *Conn) takeBlock(m *Memory, now Time, seg *Segment, block wire.Block, x *news) {
	b := &c.board
	start := seq.Max(block.Start, b.una)
	if block.End.AtOrBefore(start) || block.Start.AtOrAfter(block.End) || block.End.After(c.snd.nxt) || b.n == 0 {
		return
	}
	if i, _ := b.find(m, start); b.view(m)[i].at&sentSacked != 0 && b.view(m)[i].end.AtOrAfter(block.End) {
		return // nothing new, as of most blocks
	}
	if n := uint32(block.End.From(block.Start)); n+optionsLen < c.snd.mss && c.snd.small.AtOrBefore(c.snd.una) {
		return
	}
	rs, i, j := b.isolate(m, start, block.End)
	for ; i < j; i++ {
		r := &rs[i]
		if r.at&sentSacked == 0 {
			c.timeSacked(now, start, r.end)
			x.sacked += uint32(r.end.From(start))
			c.arrived(now, seg, *r, start, r.end, x)
			r.at = r.at&^sentLost | sentSacked
		}
		start = r.end
	}
}

// timeSacked ends the timing of a segment that is acknowledged selectively: its
// cumulative acknowledgement may have to wait for others.
func (c *Conn) timeSacked(now Time, start, end seq.Number) {
	if c.has(flagTiming) && c.rtt.seq.After(start) && c.rtt.seq.AtOrBefore(end) {
		c.clear(flagTiming)
		c.rtt.sample(now - c.rtt.at)
		c.noteRTT(now, now-c.rtt.at)
	}
}

// consider decides what the news mean for loss recovery; before is what was in
// flight before them, what the peer had already told to have not counted.
func (c *Conn) consider(m *Memory, now Time, seg *Segment, x *news, before uint32) {
	if x.dsack {
		c.widenWindow()
	}
	spurious := x.undone || x.acked > 0 && c.echoesOriginal(seg)
	switch c.loss.phase {
	case phaseOpen:
		if x.undone {
			c.undoRecovery(m, now)
		}
	case phaseRecovery:
		if spurious {
			c.undoRecovery(m, now)
		}
	case phaseLoss:
		if c.frtoAck(x) || spurious {
			c.undoRecovery(m, now)
		}
	}
	if c.loss.phase != phaseOpen && c.allRepaired() {
		c.leaveRecovery(now)
	}
	if c.board.n > 0 {
		x.lost = c.detectLosses(m, now)
	}
	switch {
	case c.loss.phase == phaseOpen && c.board.lost > 0:
		c.enterRecovery(now, x, before)
	case c.loss.phase == phaseRecovery && x.delivered|x.lost > 0:
		c.prrAck(x)
	}
}

// enterRecovery begins fast recovery.
func (c *Conn) enterRecovery(now Time, x *news, before uint32) {
	// FlightSize counts what is acknowledged selectively (RFC 5681 section 2), but
	// not what limited transmit has added.
	c.onLoss(now, min(c.flight()+x.acked, c.cc.cwnd))
	c.loss.phase = phaseRecovery
	c.loss.recover = c.snd.nxt
	c.probing = probeNone
	c.armUndo()
	c.prrBegin(before)
	c.prrAck(x)
	c.pending |= pendResend
	c.armResend(now)
	c.Stats.FastRetransmits++
}

// leaveRecovery ends a recovery or what follows a timeout: all that was in
// flight when it began is acknowledged.
func (c *Conn) leaveRecovery(now Time) {
	if c.loss.phase == phaseRecovery {
		c.prrEnd()
	}
	c.loss.phase = phaseOpen
	c.loss.dupAcks = 0
	c.undo.frto = frtoNone
	c.pending &^= pendResend
	c.narrowWindow()
	c.onRecoveryExit(now)
}

// markTimeout marks what a timeout makes believe lost: the first segment, and
// what was sent so long ago that it should have been acknowledged (RFC 8985
// section 6.3).
func (c *Conn) markTimeout(m *Memory, now Time) {
	b := &c.board
	if b.n == 0 {
		return
	}
	wait := c.rack.rtt + c.reorderWindow()
	if b.view(m)[0].at&sentSacked != 0 {
		// What lies at una would be acknowledged if it were there. The peer has gone
		// back on its word, as RFC 2018 section 8 lets it.
		b.forget(m, sentSacked, c.rack.grain)
		wait = 0
		c.Stats.Reneged++
	}
	lost := b.lost
	rs := b.edit(m)
	for i := range rs[:b.n] {
		r := &rs[i]
		if r.at&sentSacked == 0 && (i == 0 || stampOf(now).since(r.at) >= wait) {
			r.at |= sentLost
		}
	}
	b.tidy(m, c.rack.grain)
	c.noteLost(b.lost - min(lost, b.lost))
}

// noteLost takes note that n octets have been marked as lost, and reports whether that is
// something.
func (c *Conn) noteLost(n uint32) bool {
	c.onMarked(n)
	c.Stats.LostBytes += uint64(n)
	return n > 0
}

// pipe returns how many octets are believed to be in the network (RFC 6675
// section 2).
func (c *Conn) pipe() uint32 { return c.flight() - c.board.sacked - c.board.lost }

// sendLost makes out a segment of what is believed lost, or of what is at una if
// that is owed.
func (c *Conn) sendLost(m *Memory, now Time, out *Segment) bool {
	owed := c.pending&pendResend != 0
	most := c.mostData()
	start, end, lost := c.board.firstLost(m)
	if !lost {
		start, end = c.snd.una, c.snd.nxt
	}
	c.pending &^= pendResend
	if start == end || !owed && (!lost || c.frtoHolds()) {
		return false
	}
	if lost {
		n := c.trainAgain(start, min(uint32(end.From(start)), most), c.pipe())
		if n == 0 && !owed {
			return false
		}
		most = max(n, most)
	}
	c.emitRun(m, now, out, start, end, most)
	return true
}

// emitRun makes out a segment of what was sent before and lies in [from, end), or
// a train, of at most most octets, and notes that it is in flight again.
func (c *Conn) emitRun(m *Memory, now Time, out *Segment, from, end seq.Number, most uint32) {
	c.seek(m, from)
	c.emitAgain(m, now, out, end, most)
	b := &c.board
	rs, i, j := b.isolate(m, from, from.Add(out.span()))
	for ; i < j; i++ {
		if rs[i].at&sentSacked == 0 {
			rs[i].at = stampOf(now) | sentResent
		}
	}
	b.resent = max(stampOf(now), sentBits+1)
	b.tidy(m, c.rack.grain)
}

// seek moves the cursor of what is sent again to s.
func (c *Conn) seek(m *Memory, s seq.Number) {
	if c.snd.again.chunk == None || c.snd.againSeq.AtOrBefore(c.snd.una) || s.Before(c.snd.againSeq) {
		c.restartAgain()
	}
	if n := uint32(s.From(c.snd.againSeq)); n > 0 && c.SndQ.Count > 0 {
		c.snd.again = c.SndQ.forward(m, c.snd.again, n)
	}
	c.snd.againSeq = s
}
