package tcp

import "testing"

// Path MTU discovery had doubled the segment since ssthresh was set: the end of
// a fast recovery then left a congestion window of less than one segment, and
// nothing more could be sent. Found by the simulator, seed 205189.
func TestTheEndOfARecoveryLeavesRoomForASegment(t *testing.T) {
	c := &Conn{State: Established}
	c.Opt = DefaultOptions()
	c.Opt.Congestion, _ = CongestionByName("reno")
	c.snd.mss = 2960
	c.cc.ssthresh = 2 * 1160
	c.loss.phase = phaseRecovery
	c.endRecovery(Second)
	if c.cc.cwnd < c.snd.mss {
		t.Errorf("cwnd %d with segments of %d", c.cc.cwnd, c.snd.mss)
	}
}
