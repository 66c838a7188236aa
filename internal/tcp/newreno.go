package tcp

// newReno is the congestion control of RFC 5681, whose loss recovery is RFC 6582.
type newReno struct{}

// renoCount is the private word that counts octets acknowledged since cwnd last
// grew in congestion avoidance.
const renoCount = 0

func (newReno) name() string { return "reno" }

func (newReno) start(c *Conn, _ Time) {
	c.cc.private[renoCount] = 0
	c.rate.every = noMarks
}

// acked grows cwnd, if it was what limited the sender: an idle program proves
// nothing about the path.
func (newReno) acked(c *Conn, _ Time, a ack) {
	cc := &c.cc
	n := c.growth(a.n)
	if n == 0 {
		return
	}
	if cc.cwnd < cc.ssthresh {
		// Slow start. Counted in octets (RFC 3465), as the peer may acknowledge
		// many segments at once.
		if c.mayDouble() {
			cc.cwnd = min(cc.cwnd+n, maxBuffer)
		}
		return
	}
	if !c.full() {
		return
	}
	// "cwnd is incremented by roughly 1 full-sized segment per round-trip time"
	// (RFC 5681 section 3.1)
	cc.private[renoCount] += uint64(n)
	if cc.private[renoCount] >= uint64(cc.cwnd) {
		cc.private[renoCount] -= uint64(cc.cwnd)
		cc.cwnd = min(cc.cwnd+c.snd.mss, maxBuffer)
	}
}

func (newReno) lost(c *Conn, _ Time, flight uint32) {
	// "ssthresh = max (FlightSize / 2, 2*SMSS)" (RFC 5681 (4))
	c.cc.ssthresh = max(flight/2, 2*c.snd.mss)
	c.cc.private[renoCount] = 0
}

func (r newReno) timedOut(c *Conn, now Time, flight uint32) {
	r.lost(c, now, flight)
	// "cwnd MUST be set to no more than the loss window, LW, which equals 1
	// full-sized segment" (RFC 5681 section 3.1)
	c.cc.cwnd = c.snd.mss
}

func (newReno) recovered(*Conn, Time) {}
func (newReno) undone(*Conn, Time)    {}
func (newReno) resumed(*Conn, Time)   {}
func (newReno) ownsWindow() bool      { return false }

func (newReno) marked(*Conn, Time, uint32) bool { return false }
