package tcp

// cubic is the congestion control of RFC 9438, with the slow start of RFC 9406.
// Windows are in octets where the RFC has segments, and time is in units of 1/1024
// s in the cubic function, so that whole numbers suffice.
type cubic struct{}

// The private words of CUBIC.
const (
	cubicWMax    = iota // octets: where the function has its plateau; 0 if unknown
	cubicK              // Time from the beginning of the epoch to the plateau
	cubicEpoch          // Time when this congestion avoidance began; 0 before its first acknowledgement
	cubicEst            // octets: what Reno's window would be
	cubicEstRest        // of its increments, in octets² that are not yet a full octet
	cubicRest           // the same of cwnd's
	cubicSeen           // Time of the last acknowledgement
	cubicPrior          // octets: cwnd before the last loss
	cubicUndo           // four words: WMax, K, Epoch and Est before the last loss

	// hystartWords are the words of HyStart++, which is done before there is a loss.
	hystartWords   = cubicUndo
	cubicUndoWords = 4
)

// cubicWords are the private words as CUBIC uses them.
type cubicWords [privateWords]uint64

func (c *Conn) cubic() *cubicWords { return (*cubicWords)(&c.cc.private) }

func (cubic) name() string { return "cubic" }

func (cubic) start(c *Conn, now Time) {
	c.rate.every = noMarks
	if c.cc.ssthresh == maxBuffer {
		c.startHystart()
	}
}

// acked grows cwnd, if it was what limited the sender.
func (cubic) acked(c *Conn, now Time, a ack) {
	cc := &c.cc
	n := c.growth(a.n)
	if n == 0 {
		return
	}
	if cc.cwnd < cc.ssthresh {
		if c.mayDouble() {
			cc.cwnd = min(cc.cwnd+c.hystart(now, n, a.rtt), maxBuffer)
		}
		return
	}
	w := c.cubic()
	w.pass(now, c.full())
	if c.full() {
		cc.cwnd = min(w.next(c, now, n), maxBuffer)
	}
}

// pass lets the time go on to now. What passes while the program limits the
// sender does not count: t "is the elapsed time from the beginning of the current
// congestion avoidance stage", less such periods (RFC 9438 section 5.8).
func (w *cubicWords) pass(now Time, limited bool) {
	if w[cubicEpoch] != 0 && !limited {
		w[cubicEpoch] += uint64(max(now-Time(w[cubicSeen]), 0))
	}
	w[cubicSeen] = uint64(now)
}

// next returns the window after n octets have been acknowledged in congestion
// avoidance.
func (w *cubicWords) next(c *Conn, now Time, n uint32) uint32 {
	cwnd, mss := uint64(c.cc.cwnd), uint64(c.snd.mss)
	if w[cubicEpoch] == 0 {
		w.begin(now, cwnd, mss)
	}
	est := w.reno(cwnd, mss, uint64(n))
	t := now - Time(w[cubicEpoch])
	if w.at(t, mss) < est {
		// The Reno-friendly region (section 4.3).
		return uint32(min(max(cwnd, est), maxBuffer))
	}
	// Sections 4.4 and 4.5: the window that the function has one round trip ahead,
	// within bounds, is reached step by step.
	target := min(max(w.at(t+c.rtt.srtt, mss), cwnd), cwnd*3/2)
	w[cubicRest] += uint64(n) * (target - cwnd)
	cwnd, w[cubicRest] = cwnd+w[cubicRest]/cwnd, w[cubicRest]%cwnd
	return uint32(min(cwnd, maxBuffer))
}

// begin begins an epoch: a stage of congestion avoidance.
func (w *cubicWords) begin(now Time, cwnd, mss uint64) {
	w[cubicEpoch] = uint64(max(now, 1))
	w[cubicEst], w[cubicEstRest], w[cubicRest] = cwnd, 0, 0
	if w[cubicWMax] <= cwnd {
		// Slow start ended without a loss, or has come beyond the old plateau: this is
		// the plateau now (section 4.2).
		w[cubicWMax], w[cubicK] = cwnd, 0
		return
	}
	// Equation 2: K is the cube root of (W_max - cwnd_epoch)/C, C being 0.4.
	k := cubeRoot((w[cubicWMax] - cwnd) * 5 << 29 / max(mss, 1))
	w[cubicK] = k * uint64(Second) >> 10
}

// at is equation 1: C*(t-K)^3 + W_max.
func (w *cubicWords) at(t Time, mss uint64) uint64 {
	d := t - Time(w[cubicK])
	below := d < 0
	if below {
		d = -d
	}
	x := min(uint64(d)<<7/(uint64(Second)>>3), 1<<18) // 1/1024 s, at most 256 s
	off := x * x * x >> 10 * mss * 2 / 5 >> 20
	if below {
		return w[cubicWMax] - min(off, w[cubicWMax])
	}
	return w[cubicWMax] + off
}

// reno is equation 4, W_est: what the window of an AIMD sender would be that
// shrinks to 0.7 of it and so gets the share of a Reno flow.
func (w *cubicWords) reno(cwnd, mss, n uint64) uint64 {
	// alpha is 3*(1-0.7)/(1+0.7), and 1 from where the window was before the loss.
	num, den := uint64(9), uint64(17)
	if w[cubicEst] >= w[cubicPrior] {
		num, den = 1, 1
	}
	w[cubicEstRest] += n * mss * num / den
	w[cubicEst] += w[cubicEstRest] / cwnd
	w[cubicEstRest] %= cwnd
	return w[cubicEst]
}

// lost is the multiplicative decrease of section 4.6 and the fast convergence of
// section 4.7.
func (cubic) lost(c *Conn, _ Time, flight uint32) {
	w := c.cubic()
	copy(w[cubicUndo:cubicUndo+cubicUndoWords], w[cubicWMax:])
	cwnd := uint64(c.cc.cwnd)
	if cwnd < w[cubicWMax] {
		// A flow that did not get back to where it was leaves room for newer ones:
		// (1+0.7)/2.
		w[cubicWMax] = cwnd * 17 / 20
	} else {
		w[cubicWMax] = cwnd
	}
	w[cubicPrior] = cwnd
	w[cubicEpoch] = 0
	c.rate.every = noMarks
	c.cc.ssthresh = max(uint32(uint64(flight)*7/10), 2*c.snd.mss)
}

// timedOut is section 4.8: as Reno, but for the factor. The next plateau is where
// the next congestion avoidance begins.
func (r cubic) timedOut(c *Conn, now Time, flight uint32) {
	r.lost(c, now, flight)
	c.cubic()[cubicWMax] = 0
	c.cc.cwnd = c.snd.mss
}

func (cubic) recovered(*Conn, Time) {}

// undone is section 4.9: the state goes back to what it was.
func (cubic) undone(c *Conn, _ Time) {
	w := c.cubic()
	copy(w[cubicWMax:], w[cubicUndo:cubicUndo+cubicUndoWords])
	if c.cc.ssthresh == maxBuffer {
		c.startHystart()
	}
}

func (cubic) resumed(*Conn, Time) {}
func (cubic) ownsWindow() bool    { return false }

// cubeRoot returns the largest r with r^3 <= x, for x up to 2^62.
func cubeRoot(x uint64) uint64 {
	var r uint64
	for bit := uint64(1) << 20; bit > 0; bit >>= 1 {
		if s := r | bit; s*s*s <= x {
			r = s
		}
	}
	return r
}

func (cubic) marked(*Conn, Time, uint32) bool { return false }
