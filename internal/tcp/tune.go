package tcp

import "usertcp/internal/wire"

// Buffers grow by themselves with what the path can carry (dynamic right-sizing,
// Fisk and Feng 2001, as Linux does it): the receive buffer with what the
// program reads in one round trip, the send buffer with the congestion window.
// They never shrink, nor does a window that was offered; what the program has
// set itself is left alone, and when the pool's memory runs short nothing grows.

// tunesReceive reports whether the receive buffer may grow.
func (c *Conn) tunesReceive() bool { return c.Opt.RcvLock == 0 && c.Opt.RcvMax > c.Opt.RcvBuf }

// tunesSend reports whether the send buffer may grow.
func (c *Conn) tunesSend() bool { return c.Opt.SndLock == 0 && c.Opt.SndMax > c.Opt.SndBuf }

// tuneOptions takes the sizes of buffers that the program has set: what is
// measured of its reading begins anew.
func (c *Conn) tuneOptions() {
	c.tuning.begun, c.tuning.at = c.tuning.read, 0
}

// watchRTT estimates the round-trip time as a receiver: by the echo of our
// timestamps in full-sized segments, or by the time that one window takes to
// come.
func (c *Conn) watchRTT(now Time, seg *Segment) {
	t := &c.tuning
	if c.has(flagTimestamps) {
		if o := &seg.Options; o.Present&wire.HasTimestamps != 0 && o.TSEcr != 0 && seg.Len >= c.rcv.mss {
			ms := int32(c.tsNow(now) - o.TSEcr)
			t.sample(Time(max(ms, 1)) * Millisecond)
		}
		return
	}
	if t.rttAt != 0 && c.rcv.nxt.Before(t.rttSeq) {
		return
	}
	if t.rttAt != 0 {
		// It takes a round trip at least, and longer if the sender has paused.
		if d := max(now-t.rttAt, 1); t.rtt == 0 || d < t.rtt {
			t.rtt = d
		}
	}
	t.rttAt = now
	t.rttSeq = c.rcv.nxt.Add(max(c.rcv.edge.From(c.rcv.nxt), 1))
}

// sample smooths the receiver's round-trip time.
func (t *tuning) sample(d Time) {
	if t.rtt == 0 {
		t.rtt = d
		return
	}
	t.rtt += (d - t.rtt) / 8
}

// tuneReceive lets the receive buffer grow once for each round trip: it is to
// hold what the program reads in one, twice, since while one window is read the
// next one comes, and still more while the sender's slow start doubles that.
func (c *Conn) tuneReceive(m *Memory, now Time) {
	t := &c.tuning
	if t.rtt == 0 {
		t.rtt = c.rtt.srtt
	}
	if t.at == 0 || t.rtt == 0 || now-t.at < t.rtt {
		if t.at == 0 {
			t.at, t.begun = now, t.read
		}
		return
	}
	n := t.read - t.begun
	t.begun, t.at = t.read, now
	if n <= uint64(t.space) {
		return
	}
	n = min(n, maxBuffer)
	want := 2*n + 16*uint64(c.rcv.mss)
	if old := uint64(t.space); old > 0 {
		want += 2 * want * min(n-old, 4*old) / old
	}
	t.space = uint32(n)
	if !m.Tight {
		c.Opt.RcvBuf = max(c.Opt.RcvBuf, uint32(min(want, uint64(c.Opt.RcvMax))))
	}
}

// tuneSend lets the send buffer grow to two congestion windows: what is in
// flight, and what the program writes meanwhile.
func (c *Conn) tuneSend(m *Memory) {
	if want := 2 * uint64(c.cc.cwnd); want > uint64(c.Opt.SndBuf) && !m.Tight {
		c.Opt.SndBuf = uint32(min(want, uint64(c.Opt.SndMax)))
	}
}
