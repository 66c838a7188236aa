package tcp

import "usertcp/internal/seq"

// SendSpace returns how many octets Append and Extend may add now: zero if the
// connection is not established or the program has closed it.
func (c *Conn) SendSpace() uint32 {
	if !c.sends() {
		return 0
	}
	queued := c.queuedNow()
	if goal := c.goal(); goal > 0 {
		return c.trainSpace(goal)
	}
	if queued >= c.Opt.SndBuf {
		return 0
	}
	room := c.Opt.SndBuf - queued
	if low := c.Opt.NotSentLowat; low != 0 {
		unsent := c.unsent()
		if unsent >= low {
			return 0
		}
		// What fills a segment is let in, however low the mark is.
		room = min(room, max(low-unsent, c.snd.mss))
	}
	return room
}

// Unacknowledged returns how many octets that the program wrote the peer has not
// acknowledged, sent or not.
func (c *Conn) Unacknowledged() uint32 { return c.queuedNow() }

// queuedNow returns how many octets wait to be sent or acknowledged.
func (c *Conn) queuedNow() uint32 { return c.SndQ.Bytes - c.snd.head }

// goal returns how much makes a long train, as far as the peer's window goes: half
// of it. It is 0 if the driver takes no trains.
func (c *Conn) goal() uint32 {
	mss := c.snd.mss
	if c.trains.most < leastTrain*mss {
		return 0
	}
	return whole(max(min(c.trains.most, c.snd.maxWnd/2), mss), mss)
}

// trainSpace is SendSpace where trains leave: as in Linux what a program writes is
// taken a whole train at a time, so that none is cut short by the end of the buffer
// or by TCP_NOTSENT_LOWAT.
func (c *Conn) trainSpace(goal uint32) uint32 {
	unsent := c.unsent()
	if begun := unsent % goal; begun != 0 {
		return goal - begun
	}
	low := c.Opt.NotSentLowat
	if c.queuedNow() >= c.Opt.SndBuf || low != 0 && unsent >= low {
		return 0
	}
	return goal
}

// Stuck reports whether a full segment at least has to wait: for the peer's window, the
// congestion window, or its time.
func (c *Conn) Stuck() bool { return c.unsent() >= c.snd.mss }

// roomy reports whether it is worth while to wake a writer: a third of the buffer
// is free, and of TCP_NOTSENT_LOWAT's octets a half.
func (c *Conn) roomy() bool {
	if low := c.Opt.NotSentLowat; low != 0 && 2*uint64(c.unsent()) >= uint64(low) {
		return false
	}
	return c.sends() && c.queuedNow() <= c.Opt.SndBuf-c.Opt.SndBuf/3
}

// Writable reports whether a program that waits for room should go on: with little
// room it would only wait again.
func (c *Conn) Writable() bool { return c.roomy() }

// sends reports whether the program may send.
func (c *Conn) sends() bool {
	return (c.State == Established || c.State == CloseWait || c.sendsEarly()) && !c.has(flagFinQueued)
}

// Append is the SEND call: fresh chunks, filled and linked, go to the end of
// SndQ. If the connection sends no more they come back in Freed.
func (c *Conn) Append(m *Memory, now Time, chunks Queue) {
	c.begin()
	if chunks.Count == 0 {
		return
	}
	if !c.sends() {
		c.Freed[freedRest].join(m, chunks)
		return
	}
	c.queued()
	s := &c.snd
	chunks.number(m, s.end)
	if c.SndQ.Count == 0 {
		s.next = cursor{chunk: chunks.Head}
		s.head = 0
	}
	c.SndQ.join(m, chunks)
	s.end = s.end.Add(seq.Size(chunks.Bytes))
	c.LetFast()
}

// Extend is the SEND call for n octets that were copied behind those of SndQ's
// tail chunk, in its buffer. It must not be called if Append would refuse.
func (c *Conn) Extend(m *Memory, now Time, n uint32) {
	c.begin()
	if !c.sends() || c.SndQ.Count == 0 {
		panic("BUG: nothing to extend")
	}
	c.queued()
	m.Chunks[c.SndQ.Tail].Len += n
	c.SndQ.Bytes += n
	c.snd.end = c.snd.end.Add(seq.Size(n))
}

// sendable decides how many octets of new data leave now, in a segment of at
// most size octets or in a train of such, and whether the FIN goes with them.
func (c *Conn) sendable(m *Memory, now Time, size uint32) (n uint32, fin bool) {
	s := &c.snd
	unsent := c.unsent()
	fin = c.has(flagFinQueued) && !c.finSent() && c.State.Synchronized()
	if unsent == 0 && !fin {
		return 0, false
	}
	edge := c.sndEdge()
	if edge.AtOrBefore(s.nxt) {
		return 0, false
	}
	room := uint32(edge.From(s.nxt))
	if n = min(unsent, room); n > size && c.mayTrain(size) {
		n = c.train(m, now, size, n)
	} else {
		n = min(n, size)
	}
	last := n == unsent
	fin = fin && last && room > n
	if n == 0 && unsent > 0 {
		return 0, false // a train that waits
	}
	if n == 0 || fin && c.mayFly(n) {
		return n, fin
	}
	if n < size && !c.maySendSmall(n, last, true) || !c.mayFly(n) {
		return 0, false
	}
	return n, false
}

// maySendSmall decides whether a segment that is less than full-sized may leave,
// with n octets, which are the last ones or all that the window allows; alone, or at the
// end of a train. This is Nagle's algorithm and the avoidance of silly windows (RFC 9293 sections 3.7.4
// and 3.8.6.2.1).
func (c *Conn) maySendSmall(n uint32, last, alone bool) bool {
	s := &c.snd
	switch {
	case c.has(flagOverride):
		return true
	case !last:
		// "or if at least a fraction Fs of the maximum window can be sent": 1/2.
		return n >= s.maxWnd/2
	case c.has(flagPush):
		return true
	case c.has(flagMore) && !c.has(flagFinQueued) && c.urgent.sending == 0:
		return false
	case c.Opt.NoDelay != 0 && c.Opt.Cork == 0, c.has(flagFinQueued), c.urgent.sending != 0:
		return true
	case c.Opt.Cork != 0:
		return false
	}
	// Nagle as Minshall refined it, and Linux does it: only a small segment in
	// flight holds back a small one; and one of its own behind a train, whose
	// acknowledgement is due, waits for that.
	return !s.small.After(s.una) && !(alone && c.behindTrain())
}

// behindTrain reports whether there is a train in flight of which two segments or
// more are yet to be acknowledged, so that it will be soon: "an ACK SHOULD be
// generated for at least every second full-sized segment" (RFC 9293 SHLD-19). A
// packet of its own for what a write leaves over would cost as much as the train. But
// behind half the window, which is what a train may have, it leaves: that may have been the
// whole of a request but for this rest, which should not wait for a round trip.
func (c *Conn) behindTrain() bool {
	mss := c.snd.mss
	return c.trains.most >= leastTrain*mss && c.flight() >= leastTrain*mss && c.trains.each != whole(c.cc.cwnd/2, mss)
}

// mayFly decides whether congestion control lets n more octets leave.
func (c *Conn) mayFly(n uint32) bool {
	flight := c.pipe()
	if flight == 0 || c.pending&pendTail != 0 || c.frtoRoom(n) {
		return true
	}
	cwnd := c.cc.cwnd
	if c.loss.phase == phaseOpen && !c.has(flagSACK) {
		// Limited transmit: a new segment for each of the first two duplicate
		// acknowledgements (RFC 3042).
		cwnd += uint32(min(c.loss.dupAcks, dupThreshold-1)) * c.snd.mss
	}
	return flight+n <= cwnd
}
