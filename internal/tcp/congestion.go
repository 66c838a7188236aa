package tcp

// Congestion controls, for ConnOptions.Congestion.
const (
	CongestionNewReno = iota
)

// controller decides how much may be in flight. It keeps its state in Conn.cc,
// whose private words are its own. Loss recovery calls it; it calls nothing.
type controller interface {
	// start is called when the connection is established.
	start(c *Conn)
	// acked says that n octets, of flight octets in flight, have been acknowledged.
	acked(c *Conn, now Time, n, flight uint32)
	// lost says that a loss was found by duplicate acknowledgements: set ssthresh.
	lost(c *Conn, now Time, flight uint32)
	// timedOut says that the retransmission timer found a loss: set ssthresh and cwnd.
	timedOut(c *Conn, now Time, flight uint32)
}

var controllers = [...]controller{
	CongestionNewReno: newReno{},
}

// controller returns the congestion control that the program chose.
func (c *Conn) controller() controller {
	if id := int(c.Opt.Congestion); id < len(controllers) {
		return controllers[id]
	}
	return controllers[CongestionNewReno]
}

// Window returns the congestion window and the slow-start threshold in octets.
func (c *Conn) Window() (cwnd, ssthresh uint32) { return c.cc.cwnd, c.cc.ssthresh }

// initialCwnd is the initial window: RFC 6928, of which Linux keeps "10*MSS" for
// segments of all sizes.
func (c *Conn) initialCwnd() uint32 {
	// "If the SYN or SYN/ACK is lost, the initial window used by a sender after a
	// correctly transmitted SYN MUST be one segment" (RFC 5681 section 3.1)
	if c.has(flagSynResent) {
		return c.snd.mss
	}
	return initialWindow * c.snd.mss
}

// restartIdle shrinks the window after a pause, in which acknowledgements have
// stopped to say anything about the path.
func (c *Conn) restartIdle(now Time) {
	// "a TCP SHOULD set cwnd to no more than RW before beginning transmission if the
	// TCP has not sent data in an interval exceeding the retransmission timeout" (RFC
	// 5681 section 4.1)
	if c.snd.lastData != 0 && c.flight() == 0 && now-c.snd.lastData > c.rtt.rto {
		c.cc.cwnd = min(c.cc.cwnd, c.initialCwnd())
	}
}
