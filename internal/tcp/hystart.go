package tcp

import "usertcp/internal/seq"

// HyStart++ (RFC 9406) leaves slow start when the round-trip time rises, before
// packets are lost. A rise may be chance: so it first slows the growth down, in
// conservative slow start (CSS), and goes back if the round-trip time does.
//
// A queue that only the bursts of slow start make is gone again when the next
// round begins, and the beginning of a round shows no rise until the window is up
// to twice what the path holds: then it is too late where the queue is no longer than
// that. So slow start also ends, as in Linux and in the first HyStart, when the
// acknowledgements of a round come without a pause for half a round-trip time:
// the path is full from here on.
//
// Its limit of 8 segments for each acknowledgement is left out: a peer that
// gathers what it receives would hold the window down, and pacing is what bounds
// bursts.

// The constants of RFC 9406 section 4.3.
const (
	hystartMinThresh = 4 * Millisecond
	hystartMaxThresh = 16 * Millisecond
	hystartDivisor   = 8
	hystartCSSGrowth = 4
	hystartCSSRounds = 5

	// hystartSamples is how many samples of a round's beginning count. The RFC has
	// 8; no more marks are in flight at a time than these.
	hystartSamples = 4
)

// hystartMostMSS is the largest segment that a network's frames carry, with room
// to spare. Where segments are larger the path is the memory of one machine, and
// what raises the round-trip time is the scheduler.
const hystartMostMSS = 16 << 10

// The words of HyStart++.
const (
	hystartState    = hystartWords + iota // see hystartRound
	hystartLast                           // Time: smallest of the last round, 0 for none
	hystartCurrent                        // Time: smallest of this one, 0 for none
	hystartBaseline                       // Time: smallest of the round in which CSS began, 0 outside CSS

	// Two words that CUBIC begins anew with each epoch.
	hystartTrain = cubicEst     // Time when the acknowledgements of this round began
	hystartAcked = cubicEstRest // Time of the last one that came without a pause
)

// hystartPause is how far apart the acknowledgements of a train are at most
// (Linux's hystart_ack_delta_us).
const hystartPause = 2 * Millisecond

// hystartRound is the round trip that is watched.
type hystartRound struct {
	end     seq.Number // the round ends when something behind this is acknowledged
	on      bool       // in the first slow start only
	samples uint8
	css     uint8 // rounds in CSS
}

func (w *cubicWords) round() hystartRound {
	x := w[hystartState]
	return hystartRound{end: seq.Number(x), on: x>>32&1 != 0, samples: uint8(x >> 40), css: uint8(x >> 48)}
}

func (w *cubicWords) setRound(r hystartRound) {
	w[hystartState] = uint64(r.end) | uint64(r.samples)<<40 | uint64(r.css)<<48
	if r.on {
		w[hystartState] |= 1 << 32
	}
}

// startHystart begins the first slow start.
func (c *Conn) startHystart() {
	w := c.cubic()
	w.setRound(hystartRound{end: c.snd.nxt, on: c.snd.mss <= hystartMostMSS})
	if c.snd.mss <= hystartMostMSS {
		c.rate.every = 0
	}
	w[hystartLast], w[hystartCurrent], w[hystartBaseline] = 0, 0, 0
}

// hystart returns by how much the window grows in slow start for n octets
// acknowledged; rtt is the round-trip time of what was acknowledged, if known. It
// may end slow start.
func (c *Conn) hystart(now Time, n uint32, rtt Time) uint32 {
	w := c.cubic()
	r := w.round()
	if !r.on || c.cc.ssthresh != maxBuffer {
		// After a loss ssthresh is known.
		return n
	}
	if c.snd.una.After(r.end) {
		c.nextRound(&r)
		w[hystartTrain], w[hystartAcked] = uint64(now), uint64(now)
	}
	if r.on && w.fills(now) {
		c.endHystart(&r)
	}
	if rtt > 0 {
		w.sample(&r, rtt)
	}
	w.setRound(r)
	if w[hystartBaseline] != 0 {
		return n / hystartCSSGrowth
	}
	return n
}

// fills takes note of an acknowledgement, and reports whether those of this round
// show that the path is full.
func (w *cubicWords) fills(now Time) bool {
	if now-Time(w[hystartAcked]) > hystartPause {
		return false
	}
	w[hystartAcked] = uint64(now)
	last := Time(w[hystartLast])
	return last != 0 && now-Time(w[hystartTrain]) > last/2
}

// sample takes a round-trip time, and goes into CSS or out of it.
func (w *cubicWords) sample(r *hystartRound, rtt Time) {
	if w[hystartCurrent] == 0 || rtt < Time(w[hystartCurrent]) {
		w[hystartCurrent] = uint64(rtt)
	}
	if r.samples < hystartSamples {
		r.samples++
	}
	last, current := Time(w[hystartLast]), Time(w[hystartCurrent])
	switch {
	case r.samples < hystartSamples:
	case w[hystartBaseline] != 0:
		if current < Time(w[hystartBaseline]) {
			// The rise was chance.
			w[hystartBaseline], r.css = 0, 0
		}
	case last != 0 && current >= last+min(max(last/hystartDivisor, hystartMinThresh), hystartMaxThresh):
		w[hystartBaseline], r.css = uint64(current), 0
	}
}

// nextRound begins a round. After enough of them in CSS slow start is over.
func (c *Conn) nextRound(r *hystartRound) {
	w := c.cubic()
	if w[hystartBaseline] != 0 {
		if r.css++; r.css >= hystartCSSRounds {
			c.endHystart(r)
		}
	}
	r.end, r.samples = c.snd.nxt, 0
	w[hystartLast], w[hystartCurrent] = w[hystartCurrent], 0
}

// endHystart ends slow start.
func (c *Conn) endHystart(r *hystartRound) {
	c.cc.ssthresh = c.cc.cwnd
	c.rate.every = noMarks
	r.on = false
}
