package tcp

// A keep-alive probe asks two things at once: whether the peer's host is there, and
// whether it still knows the connection. Where one way leads to the peer's whole stack,
// with all the connections that it has, whatever comes that way answers the first for
// each of them. So a connection whose probe is due may rest as long as others are
// heard of, and asks for itself only now and then, for the second. "Implementers MAY
// include 'keep-alives'" (RFC 9293 MAY-5): none is ever owed.

// Bounds of a rest.
const (
	restIdles = 8            // intervals after its own last segment that a connection rests at most
	restMost  = 120 * Second // … and no longer than that beyond the first: few probes are saved then
)

// MayRest reports whether the keep-alive probe that is due at now, or whatever else is,
// may be left out: the peer's stack was heard of at heard, by whatever connection. until
// is when the probe must leave if nothing else comes: the time in which a dead peer is
// noticed is counted from its last sign of life, and no longer than without rest.
// Nothing of the connection changes, so that its Deadline stays in the past.
func (c *Conn) MayRest(now, heard Time) (until Time, ok bool) {
	idle, silent := c.keepIdle(), now-c.rcv.lastSeg
	until = heard + idle
	switch {
	case c.snd.keepProbes > 0 || silent < idle || until <= now:
		return 0, false // it has asked already, or need not ask, or must
	case !c.onlyKeeps() || c.flight() > 0 || c.unsent() > 0 || c.userTimeoutSpan() != 0:
		return 0, false // a user timeout counts from the connection's own last segment
	}
	return until, silent < c.restSpan(idle)
}

// onlyKeeps reports whether the connection is synchronised and waits for nothing but its
// keep-alive timer.
func (c *Conn) onlyKeeps() bool {
	t := &c.timers
	for i, at := range t.at {
		if (at != 0) != (i == timerKeep) {
			return false
		}
	}
	return c.State.Synchronized() && c.State != TimeWait
}

// restSpan returns how long a connection rests after its own last segment: for those of
// one program, which may have begun together, not the same.
func (c *Conn) restSpan(idle Time) Time {
	more := (restIdles - 1) * min(idle, restMost)
	more = min(more, restMost)
	return idle + more - more/4*Time(c.snd.iss>>8&0xff)/256
}
