package tcp

import "usertcp/internal/seq"

// Segmentation offload. A driver may take one segment with the payload of many,
// a train, and cut it into segments of Segment.SegSize octets: that costs the
// connection as much as one segment does. What is in a train was sent at one
// time; acknowledgements, selective ones too, know nothing of it.
//
// A train is no longer than what leaves in about a millisecond at the
// connection's pace, so that it is no burst that a router would notice, and no
// longer than half the window, so that the next one can be made while this one
// is on its way. These sizes, and when it is worth to wait for a longer train, are
// Linux's.

// trains is what is remembered of them.
type trains struct {
	most uint32     // octets of payload in one, at most; 0: the driver cuts nothing
	from seq.Number // from here on all trains had the same length
	each uint32     // that length in octets
	_    uint32
}

const (
	leastTrain = 2  // segments, whatever the pace, if Opt.LeastTrain does not say more
	paceShift  = 10 // of octets a second: those of 1/1024 s
	bonusShift = 9  // of the least round-trip time in microseconds, see trainMost
	trainWait  = 1 * Millisecond
	trainParts = 3 // of the window one is worth sending, if Opt.TrainParts does not say otherwise
)

// SetOffload says that the driver takes segments of up to n octets of payload
// and cuts them into segments of the right size; 0 that it does not. It may be
// called at any time.
func (c *Conn) SetOffload(n uint32) { c.trains.most = n }

// trainMost returns the payload of the longest train of segments of size octets
// that the pace allows. Where the round trip is short, of some milliseconds, the
// pace says little, and trains are longer.
func (c *Conn) trainMost(size uint32) uint32 {
	most := c.trains.most
	n := c.likelyPace() >> paceShift
	if low := c.MinRTT(); low != 0 {
		n += uint64(most) >> min(uint64(low/Microsecond)>>bonusShift, 63)
	}
	n = min(n, uint64(most)) / uint64(size)
	return min(max(uint32(n), leastTrain, uint32(c.Opt.LeastTrain))*size, whole(most, size))
}

// likelyPace returns at how many octets a second data leaves: the pace, or what
// it would be.
func (c *Conn) likelyPace() uint64 {
	if c.rate.pace != 0 {
		return c.rate.pace
	}
	if c.rtt.srtt == 0 {
		return 1<<63 - 1
	}
	return c.windowPace()
}

// mayTrain reports whether segments of size octets may leave as a train. A probe
// of the path's MTU goes alone, and where an urgent pointer has to be counted from
// each segment's own beginning, so does each segment; and so it does while CWR is
// part of a count, which devices leave to the first segment of a train alone.
func (c *Conn) mayTrain(size uint32) bool {
	return c.trains.most >= leastTrain*size && size <= c.snd.mss && c.urgent.sending == 0 && c.pending&pendTail == 0 && !c.tellsByCWR()
}

// whole cuts n down to whole segments of size octets.
func whole(n, size uint32) uint32 { return n - n%size }

// train decides how many octets of new data leave as one train of segments of
// size octets; avail is what is written and lies in the window, more than size.
// If no train should leave, it returns size, and 0 if it is better to wait.
func (c *Conn) train(m *Memory, now Time, size, avail uint32) uint32 {
	cwnd, pipe := c.cc.cwnd, c.pipe()
	if cwnd < pipe+leastTrain*size {
		return c.orWait(m, now, size, size)
	}
	room := cwnd - pipe
	most := c.trainMost(size)
	n := min(most, whole(room, size), max(whole(cwnd/2, size), size))
	if n >= avail {
		n = avail
		// The last segment goes along if it might go alone.
		if part := n % size; part != 0 && !c.maySendSmall(part, n == c.unsent(), false) {
			n -= part
		}
	}
	return c.orWait(m, now, n, size)
}

// orWait returns n, or 0 if a longer train can leave soon: when the
// acknowledgement that is due within a millisecond has come.
func (c *Conn) orWait(m *Memory, now Time, n, size uint32) uint32 {
	if c.loss.phase != phaseOpen || !c.has(flagSACK) || c.board.n == 0 || n == c.unsent() || now-c.snd.lastData > trainWait {
		return n
	}
	cwnd, pipe := c.cc.cwnd, c.pipe()
	if cwnd < pipe+size {
		return n // nothing may leave anyhow
	}
	room := min(cwnd-pipe, uint32(c.sndEdge().From(c.snd.nxt)))
	parts := uint32(c.Opt.TrainParts)
	if parts == 0 {
		parts = trainParts
	}
	if room >= c.trainMost(size) || room >= min(cwnd, c.snd.wnd)/parts || room >= c.unsent() {
		return n
	}
	srtt := c.rtt.srtt
	if age := stampOf(now).since(c.board.view(m)[0].at).time(); srtt-age > min(srtt/2, trainWait) {
		return n
	}
	if room == cwnd-pipe {
		c.noteUse(true)
	}
	return 0
}

// trainAgain returns how many octets from start on may leave as one train of
// segments of size octets that were sent before; 0 if congestion control allows
// none. What is in flight is pipe octets.
func (c *Conn) trainAgain(start seq.Number, size, pipe uint32) uint32 {
	room := uint32(0)
	if pipe < c.cc.cwnd {
		room = c.cc.cwnd - pipe
	}
	if !c.mayTrain(size) || room < leastTrain*size {
		if pipe > 0 && room < size {
			return 0
		}
		return size
	}
	// The peer may have taken back what it offered; one segment tries it all the
	// same.
	offered := uint32(0)
	if edge := c.sndEdge(); edge.After(start) {
		offered = uint32(edge.From(start))
	}
	return max(min(whole(room, size), c.trainMost(size), whole(offered, size), c.trainRest(start)), size)
}

// noteTrain remembers that n octets of new data leave at once from nxt on.
func (c *Conn) noteTrain(n uint32) {
	t := &c.trains
	if n != t.each || c.snd.nxt.From(t.from)%seq.Size(n) != 0 || c.snd.nxt.From(t.from) > maxBuffer {
		t.from, t.each = c.snd.nxt, n
	}
}

// trainRest returns how many octets there are from start to the end of the train
// that start was in, as far as that is known. What is sent again is not sent
// together with what was in another train: so the segments are those of the first
// time, also where a train ended with a short one.
func (c *Conn) trainRest(start seq.Number) uint32 {
	t := &c.trains
	switch {
	case t.each == 0:
		return t.most
	case start.Before(t.from):
		return uint32(t.from.From(start))
	}
	return t.each - uint32(start.From(t.from))%t.each
}
