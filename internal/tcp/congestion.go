package tcp

import "usertcp/internal/seq"

// Congestion controls, for ConnOptions.Congestion.
const (
	CongestionCubic = iota // the default
	CongestionReno
	CongestionBBR
	numCongestion
)

// controller decides how much may be in flight, and how fast it leaves. It keeps
// its state in Conn.cc, whose private words are its own. Loss recovery calls it,
// through the methods of Conn below; it calls nothing.
type controller interface {
	// name is what TCP_CONGESTION calls it.
	name() string
	// start is called when the connection is established, with cwnd and ssthresh
	// set, and when the program chooses it later on.
	start(c *Conn, now Time)
	// acked says what an acknowledgement has delivered.
	acked(c *Conn, now Time, a ack)
	// lost says that a loss was found, other than by a timeout: set ssthresh.
	lost(c *Conn, now Time, flight uint32)
	// marked says that the peer has told of so many more packets of ours that were
	// marked with CE (RFC 9768). If it returns false they are answered like a loss, once
	// for each round trip.
	marked(c *Conn, now Time, packets uint32) bool
	// timedOut says that the retransmission timer found a loss: set ssthresh and cwnd.
	timedOut(c *Conn, now Time, flight uint32)
	// recovered says that all that was in flight at the loss is acknowledged.
	recovered(c *Conn, now Time)
	// undone says that the last loss was none. cwnd and ssthresh are back.
	undone(c *Conn, now Time)
	// resumed says that data leaves now and nothing was in flight. It is called
	// where there is a pace.
	resumed(c *Conn, now Time)
	// ownsWindow reports whether cwnd during recovery is the controller's own: then
	// loss recovery only says what may be sent again, and leaves cwnd alone.
	ownsWindow() bool
}

var controllers = [numCongestion]controller{
	CongestionCubic: cubic{},
	CongestionReno:  newReno{},
	CongestionBBR:   bbr{},
}

// controller returns the congestion control that runs.
func (c *Conn) controller() controller {
	if id := int(c.cc.running); id < len(controllers) {
		return controllers[id]
	}
	return controllers[CongestionCubic]
}

// CongestionName returns the name of a congestion control, "" if there is none
// with this id.
func CongestionName(id uint8) string {
	if int(id) >= len(controllers) {
		return ""
	}
	return controllers[id].name()
}

// CongestionByName returns the id of a congestion control.
func CongestionByName(name string) (id uint8, ok bool) {
	for i, x := range controllers {
		if x.name() == name {
			return uint8(i), true
		}
	}
	return 0, false
}

// CongestionNames lists the congestion controls that are built in, the default
// first.
func CongestionNames() []string {
	var names []string
	for _, x := range controllers {
		names = append(names, x.name())
	}
	return names
}

// Window returns the congestion window and the slow-start threshold in octets.
func (c *Conn) Window() (cwnd, ssthresh uint32) { return c.cc.cwnd, c.cc.ssthresh }

// startCongestion begins congestion control on a connection that has just been
// established.
func (c *Conn) startCongestion(now Time) {
	c.cc.cwnd = c.initialCwnd()
	c.cc.ssthresh = maxBuffer
	c.cc.running = c.Opt.Congestion
	c.controller().start(c, now)
}

// chooseCongestion lets the congestion control that the program has chosen take
// over. The windows stay as they are. Pacing that is not wanted any more ends.
func (c *Conn) chooseCongestion(now Time) {
	if !c.State.Synchronized() {
		return
	}
	if c.Opt.Pacing == 0 && !c.ownsWindow() {
		c.rate.pace, c.rate.paceAt = 0, 0
	}
	if c.cc.running == c.Opt.Congestion {
		return
	}
	c.cc.running = c.Opt.Congestion
	c.cc.private = [privateWords]uint64{}
	c.rate.pace, c.rate.every = 0, 0
	c.controller().start(c, now)
}

// onAck is to be called once for each segment that delivers something: n octets
// that it acknowledges, cumulatively or selectively, and that were not known to
// have arrived; flight octets were in flight before it. It is called in every
// phase of recovery, before the segment ends the phase.
func (c *Conn) onAck(now Time, n, flight uint32) {
	a := ack{n: n, flight: flight}
	last := c.snd.una
	if c.has(flagSACK) {
		last = seq.Max(last, c.rack.fack)
	}
	c.rate.noteAck(now, last, c.cc.lost, &a)
	x := c.controller()
	x.acked(c, now, a)
	if (c.Opt.Pacing != 0 || c.rate.pace != 0) && !x.ownsWindow() {
		c.setPace()
	}
}

// onLoss is to be called when a recovery begins that no timeout began. It sets
// ssthresh; cwnd is for loss recovery to bring there, unless the controller owns
// it.
func (c *Conn) onLoss(now Time, flight uint32) {
	c.remember()
	c.controller().lost(c, now, flight)
}

// onRTO is to be called when the retransmission timer expires for the first time
// for what is in flight: it sets ssthresh and cwnd.
func (c *Conn) onRTO(now Time, flight uint32) {
	c.remember()
	c.rate.forgetMarks()
	c.controller().timedOut(c, now, flight)
}

// onRecoveryExit is to be called when una has reached loss.recover, in the phase
// in which cwnd is already what loss recovery wants it to be from now on.
func (c *Conn) onRecoveryExit(now Time) { c.controller().recovered(c, now) }

// onUndo is to be called when the loss of the last onLoss or onRTO turns out to
// have been none. It puts the windows back.
func (c *Conn) onUndo(now Time) {
	cc := &c.cc
	cc.cwnd = max(cc.cwnd, cc.priorCwnd)
	cc.ssthresh = cc.priorSsthresh
	c.controller().undone(c, now)
}

// onMarked is to be called when n octets are marked as lost, before onLoss if
// that begins a recovery.
func (c *Conn) onMarked(n uint32) { c.cc.lost += n }

// ownsWindow reports whether cwnd is not loss recovery's to change.
func (c *Conn) ownsWindow() bool { return c.controller().ownsWindow() }

// remember keeps the windows for onUndo. A timeout during a recovery keeps those
// from before the recovery.
func (c *Conn) remember() {
	if c.loss.phase == phaseOpen {
		c.cc.priorCwnd, c.cc.priorSsthresh = c.cc.cwnd, c.cc.ssthresh
	}
}

// growth returns by how many of n octets delivered a window may grow that grows
// by acknowledgements: none in recovery, or while the peer has a gap that looks
// like a loss; after a timeout, when what is acknowledged may have arrived long
// ago, as if they came segment by segment.
func (c *Conn) growth(n uint32) uint32 {
	switch c.loss.phase {
	case phaseRecovery:
		return 0
	case phaseLoss:
		return min(n, c.snd.mss)
	}
	if c.board.sacked > 0 && c.rack.reordered == 0 {
		return 0
	}
	return n
}

// usage is how much of cwnd the program used in one round trip, for who decides
// whether cwnd may grow: acknowledgements of a sender that is held back by
// something else say nothing about the path.
type usage struct {
	most  uint32     // octets in flight, at most
	until seq.Number // sndNxt when that was so: then it is found anew
}

// noteUse takes note that data has left, or would have if cwnd were not full.
func (c *Conn) noteUse(full bool) {
	u, flight := &c.usage, c.flight()
	if !full && c.snd.una.Before(u.until) && (c.has(flagFull) || flight <= u.most) {
		return
	}
	*u = usage{flight, c.snd.nxt}
	c.clear(flagFull)
	if full {
		c.set(flagFull)
	}
}

// full reports whether cwnd was what limited the sender, in this round trip.
func (c *Conn) full() bool { return c.has(flagFull) }

// mayDouble reports whether slow start goes on: it may double what was used, so
// that a program which nearly fills cwnd does not stop it.
func (c *Conn) mayDouble() bool { return c.full() || c.cc.cwnd < 2*c.usage.most }

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
	if c.flight() != 0 || c.snd.lastData == 0 || c.snd.wnd == 0 {
		return
	}
	if c.rate.pace != 0 {
		c.controller().resumed(c, now)
	}
	if c.Opt.KeepWindow == 0 && now-c.snd.lastData > c.rtt.rto && !c.ownsWindow() {
		c.cc.cwnd = min(c.cc.cwnd, c.initialCwnd())
	}
}
