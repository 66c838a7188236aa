package tcp

import "usertcp/internal/seq"

// HyStart++ (RFC 9406) leaves slow start when the round-trip time rises, before
// packets are lost. A rise may be chance: so it first slows the growth down, in
// conservative slow start (CSS), and goes back if the round-trip time does.
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
)

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
func (c *Conn) hystart(n uint32, rtt Time) uint32 {
	w := c.cubic()
	r := w.round()
	if !r.on || c.cc.ssthresh != maxBuffer {
		// After a loss ssthresh is known.
		return n
	}
	if c.snd.una.After(r.end) {
		c.nextRound(&r)
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
			c.cc.ssthresh = c.cc.cwnd
			r.on = false
			c.rate.every = noMarks
		}
	}
	r.end, r.samples = c.snd.nxt, 0
	w[hystartLast], w[hystartCurrent] = w[hystartCurrent], 0
}
