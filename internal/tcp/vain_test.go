package tcp

import "testing"

// Segments that left within a sixteenth of the round-trip time were one run of the
// scoreboard, with the time of the first of them, also when something was sent
// again in between. When that arrived, RACK took those that had left behind it for
// sent before it, and so for lost: at 20 Mbit/s and 200 ms a recovery of 28 losses
// sent 176 segments again in vain.
func TestNothingIsSentAgainInVain(t *testing.T) {
	const rate = 20e6 / 8
	_, b := goodput(t, link{rate: rate, delay: 200 * Millisecond, buffer: rate / 5, seed: 1}, CongestionCubic, 14*Second)
	resent := int(b.snd.c.Stats.Resent)
	if b.dropped < 10 || resent > b.dropped {
		t.Errorf("%d segments were lost, %d were sent again", b.dropped, resent)
	}
}

// Slow start ends when the path is full: it loses nothing where there is a queue.
func TestSlowStartEndsBeforeALoss(t *testing.T) {
	const rate = 100e6 / 8
	mbit, b := goodput(t, link{rate: rate, delay: 50 * Millisecond, buffer: rate / 20, seed: 1}, CongestionCubic, 2*Second)
	if b.dropped != 0 || mbit < 75 {
		t.Errorf("%d segments were lost; %.1f Mbit/s", b.dropped, mbit)
	}
}
