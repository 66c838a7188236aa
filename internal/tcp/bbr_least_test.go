package tcp

import "testing"

// After many losses on a narrow path the model believed in 6 octets a second: the
// next segment would have left after 24 minutes, and all that the connection still
// had to send waited for it (seed 102276 of the simulator).
func TestBBRGoesOnWhateverTheModelSays(t *testing.T) {
	c, b := bbrConn(bbrCruise)
	c.rtt.srtt = 70 * Millisecond
	b.put(bbrFullReached, true)
	b.maxBw, b.bwShort = [2]uint64{6, 6}, 6
	b.setPace(c)
	if wait := takes(c.snd.mss, c.rate.pace); wait > c.rtt.srtt*11/10 {
		t.Errorf("a segment waits for %d ms, the round trip is %d ms", wait/Millisecond, c.rtt.srtt/Millisecond)
	}
	fast := uint64(1_000_000)
	b.maxBw, b.bwShort = [2]uint64{fast, fast}, fast
	b.setPace(c)
	if c.rate.pace > fast || c.rate.pace < fast/2 {
		t.Errorf("the pace is %d, the model says %d", c.rate.pace, fast)
	}
}
