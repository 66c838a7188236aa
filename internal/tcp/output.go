package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// HasOutput reports whether NextSegment may have something. It errs on the side
// of true.
func (c *Conn) HasOutput() bool {
	return c.pending != 0 || (c.State >= Established || c.FastPending()) &&
		(c.unsent() > 0 || c.has(flagFinQueued) && !c.finSent() ||
			c.board.lost > 0 ||
			c.loss.phase == phaseLoss && !c.has(flagSACK) && c.snd.againSeq.Before(c.loss.recover))
}

// NextSegment makes out the segment that is to be sent next. When it returns
// true, the state is that after sending. The caller calls it until it returns
// false, at the latest before it lets go of the connection.
func (c *Conn) NextSegment(m *Memory, now Time, out *Segment) bool {
	c.unturned()
	c.heed(m)
	if c.pending&(pendReset|pendRefuse) != 0 {
		return c.emitReset(now, out)
	}
	switch c.State {
	case Closed, Listen:
		return false
	case SynSent, SynReceived:
		return c.nextHandshake(m, now, out)
	}
	switch {
	case c.owesThird():
		c.emitThird(now, out)
	case c.sendTail(m, now, out), !c.pacing(now) && (c.sendAgain(m, now, out) || c.sendNew(m, now, out)):
	case c.pending&pendProbe != 0:
		c.emitProbe(now, out)
	case c.pending&pendAck != 0:
		c.emit(now, out, c.snd.nxt, 0)
		c.tellUserTimeout(out)
	default:
		if !c.armed(timerPace) {
			c.watchWindow(now)
			c.noteLimited()
		}
		c.watchLimit(now)
		return false
	}
	return true
}

// nextHandshake makes out the SYN or SYN-ACK, or in SYN-RECEIVED the
// acknowledgement of something else.
func (c *Conn) nextHandshake(m *Memory, now Time, out *Segment) bool {
	switch {
	case c.pending&pendSyn != 0:
		c.emitSyn(m, now, out)
	case c.FastPending() && c.sendNew(m, now, out):
	case c.pending&pendAck != 0 && c.State == SynReceived:
		c.emit(now, out, c.snd.nxt, 0)
	default:
		return false
	}
	return true
}

// emitSyn makes out our SYN, with the acknowledgement of the peer's if it has
// come.
func (c *Conn) emitSyn(m *Memory, now Time, out *Segment) {
	s := &c.snd
	c.pending &^= pendSyn
	c.Stats.SegsOut++
	*out = Segment{Seq: s.iss, Flags: wire.SYN}
	o := &out.Options
	o.Present = wire.HasMSS
	o.MSS = c.Opt.MSS
	ours := c.State == SynSent
	if ours && c.Opt.SACK != 0 || c.has(flagSACK) {
		o.Present |= wire.HasSACKPermitted
	}
	if ours && c.Opt.WindowScaling != 0 || c.has(flagScaling) {
		o.Present |= wire.HasWindowScale
		o.WindowScale = c.rcv.scale
	}
	if ours && c.Opt.Timestamps != 0 || c.has(flagTimestamps) {
		c.timestamps(now, o)
	}
	c.tellUserTimeout(out)
	if ours {
		o.TSEcr = 0 // tsRecent is of the connection before
		c.askECN(out)
		out.Window = c.offerSyn()
		if c.fast.state&fastClient != 0 {
			c.fastSyn(m, out)
		}
	} else {
		out.Flags |= wire.ACK
		c.grantECN(out)
		out.Window = c.offerSyn()
		out.Ack = c.rcv.nxt
		c.ackSent()
		if c.fast.state&fastGranting != 0 {
			o.Present |= wire.HasFastOpen
			o.Cookie, o.CookieLen = c.fast.cookie, c.fast.n
		}
	}
	switch {
	case s.nxt == s.iss:
		s.nxt = fastEnd(s.iss, out)
		s.since = now
		c.startTiming(now, s.iss.Add(1)) // whatever is taken of data in it
	case c.State == SynSent || s.retries > 0:
		c.set(flagSynResent)
		c.clear(flagTiming)
		c.Stats.Resent++
	}
	if !c.armed(timerResend) {
		c.armResend(now)
	}
}

// emit makes out a segment without payload.
func (c *Conn) emit(now Time, out *Segment, s seq.Number, flags wire.Flags) {
	*out = Segment{Seq: s, Ack: c.rcv.nxt, Flags: flags | wire.ACK, Window: c.offer()}
	if c.has(flagTimestamps) {
		c.timestamps(now, &out.Options)
	}
	room := c.sackRoom()
	switch {
	case c.ecn.on == ecnAccurate:
		c.tellMarks(out)
	case c.ecn.echo != 0:
		out.Flags |= wire.ECE
	}
	if room > 0 {
		c.sack(&out.Options, room)
	}
	c.ackSent()
	c.Stats.SegsOut++
}

// timestamps fills in the timestamps option (RFC 7323 section 3.2).
func (c *Conn) timestamps(now Time, o *wire.Options) {
	o.Present |= wire.HasTimestamps
	o.TSVal = c.tsNow(now)
	o.TSEcr = c.rcv.tsRecent
}

// ackSent remembers that the peer is told of all that is here.
func (c *Conn) ackSent() {
	c.rcv.acked = c.rcv.nxt
	c.pending &^= pendAck
	c.stop(timerAck)
}

// mostData returns the largest payload of a segment that leaves now: "some options
// might not be included on all segments, but … for each segment sent, the sender
// should adjust the data length accordingly, within the Eff.snd.MSS" (RFC 9293
// section 3.7.1).
func (c *Conn) mostData() uint32 {
	n := c.counterRoom()
	if blocks := c.sackRoom(); blocks > 0 {
		n += sackHeadLen + blocks*sackBlockLen
	}
	return c.snd.mss - uint32(n)
}

// sendNew makes out a segment of new data, or the FIN.
func (c *Conn) sendNew(m *Memory, now Time, out *Segment) bool {
	s := &c.snd
	if s.nxt.After(s.end) {
		return false
	}
	c.restartIdle(now)
	c.trialData()
	size := c.mostData()
	if c.path.hole != 0 || c.path.again != 0 {
		size = c.probeData(now, size)
	}
	n, fin := c.sendable(m, now, size)
	if n == 0 && !fin {
		return false
	}
	c.emitData(m, now, out, spot{s.nxt, s.next}, n, size, fin)
	if c.flight() == 0 {
		s.since = now
	}
	if n > 0 {
		if c.ecn.on != ecnOff {
			c.markECN(out)
			c.ecn.traits &^= ecnOptTrial
		}
		s.next = c.SndQ.forward(m, cursor{out.First, out.Skip}, n)
		c.noteData(now)
		if size > s.mss {
			c.noteProbe(s.nxt, n)
		}
	}
	if c.trains.most != 0 && n > 0 {
		c.noteTrain(n)
	}
	was := c.pipe()
	s.nxt = s.nxt.Add(out.span())
	flight := c.pipe()
	c.noteUse(flight+s.mss > c.cc.cwnd)
	if c.wantsMarks(flight) {
		c.rate.noteSent(now, s.nxt, was, flight, c.cc.lost)
	}
	if n%size != 0 {
		s.small = s.nxt
	}
	if s.nxt.AtOrAfter(s.end) {
		c.watchLimit(now)
	}
	if c.Opt.NotSentLowat != 0 && c.roomy() {
		c.Events |= EventWritable
	}
	c.clear(flagOverride)
	s.probeShift = 0
	c.stop(timerPersist)
	c.startTiming(now, s.nxt)
	c.prrSent(uint32(out.span()))
	if !c.armed(timerResend) {
		// "Every time a packet containing data is sent … if the timer is not running,
		// start it running" (RFC 6298 (5.1))
		c.armResend(now)
	}
	if c.has(flagSACK) && c.State.Synchronized() {
		c.board.grow(m, s.nxt, stampOf(now), c.rack.grain)
		if !c.armed(timerLoss) || c.flight() <= 2*s.mss {
			c.armProbe(now) // else it is set already, and not too late
		}
	}
	return true
}

// noteData remembers that data leaves. If it answers data, the program converses,
// and acknowledgements can travel with its answers.
func (c *Conn) noteData(now Time) {
	c.snd.lastData = now
	if c.rcv.quick > 0 && c.Stats.DataSegsIn > 0 && now-c.rcv.lastData < delayedAck {
		c.rcv.quick = 0
	}
}

// spot is a place in the stream, and where in SndQ it is.
type spot struct {
	seq seq.Number
	cursor
}

// emitData makes out a segment of n octets from p on, or if that is more
// than size a train of such segments.
func (c *Conn) emitData(m *Memory, now Time, out *Segment, p spot, n, size uint32, fin bool) {
	var flags wire.Flags
	if fin {
		flags = wire.FIN
	}
	if n > size || n > 0 && p.seq.Add(seq.Size(n)) == c.snd.end && c.pushes() {
		// It "MUST set the PSH bit in the last buffered segment (i.e., when there is no
		// more queued data to be sent)" (RFC 9293 MUST-61). At the end of a train it
		// tells who puts segments together that there is nothing to wait for.
		flags |= wire.PSH
	}
	c.emit(now, out, p.seq, flags)
	c.accepted()
	if c.urgent.sending != 0 {
		c.markUrgent(out)
	}
	c.notePaced(now, n)
	if n > 0 {
		at := c.SndQ.forward(m, p.cursor, 0)
		out.First, out.Skip, out.Len = at.chunk, at.off, n
		c.Stats.DataSegsOut++
		c.Stats.BytesSent += uint64(n)
	}
	if n > size {
		out.SegSize = size
		more := (n - 1) / size
		c.Stats.SegsOut += uint64(more)
		c.Stats.DataSegsOut += more
	}
}

// sendAgain makes out a segment that was sent before.
func (c *Conn) sendAgain(m *Memory, now Time, out *Segment) bool {
	if c.has(flagSACK) {
		return (c.board.lost > 0 || c.pending&pendResend != 0) && c.sendLost(m, now, out)
	}
	s := &c.snd
	switch {
	case c.pending&pendResend != 0:
		c.pending &^= pendResend
		c.restartAgain()
		c.emitAgain(m, now, out, s.nxt, c.mostData())
		return true
	case c.loss.phase != phaseLoss || s.againSeq.AtOrAfter(c.loss.recover) || c.frtoHolds():
		return false
	}
	// After a timeout only what was sent since then is believed in flight.
	n := c.trainAgain(s.againSeq, c.mostData(), uint32(s.againSeq.From(s.una)))
	if n > 0 {
		c.emitAgain(m, now, out, s.nxt, n)
	}
	return n > 0
}

// emitAgain makes out a segment from againSeq on, or a train, of at most most
// octets, which ends before limit, and moves againSeq behind.
func (c *Conn) emitAgain(m *Memory, now Time, out *Segment, limit seq.Number, most uint32) {
	s := &c.snd
	var n uint32
	c.trialLost()
	if stop := seq.Min(limit, s.end); s.againSeq.Before(stop) {
		n = min(uint32(stop.From(s.againSeq)), most)
	}
	fin := limit.After(s.end) && s.againSeq.Add(seq.Size(n)) == s.end
	if c.path.probe != 0 {
		c.probeLost(now, s.againSeq)
	}
	size := c.mostData()
	c.emitData(m, now, out, spot{s.againSeq, s.again}, n, size, fin)
	if n > 0 {
		s.again = c.SndQ.forward(m, cursor{out.First, out.Skip}, n)
	}
	s.againSeq = s.againSeq.Add(out.span())
	c.clear(flagTiming)
	c.undoResent(now, uint32(out.span()))
	c.prrSent(uint32(out.span()))
	if c.rate.every != noMarks {
		c.rate.noteResent(now, c.pipe()+n, c.cc.lost)
	}
	c.Stats.Resent += max((n+size-1)/size, 1)
	c.Stats.BytesResent += uint64(n)
	if !c.armed(timerResend) {
		c.armResend(now)
	}
}
