package tcp

import "usertcp/internal/seq"

// undoing is what is remembered of a recovery in case it was spurious: what it
// took for lost had only been late.
type undoing struct {
	from, to seq.Number // what was in flight when it began
	octets   uint32     // sent again, less those that came twice
	echo     uint32     // our timestamp of the first retransmission
	phase    undoPhase
	frto     frtoStep
	_        uint16
}

type undoPhase uint8

const (
	undoNone  undoPhase = iota
	undoArmed           // a recovery has begun, and nothing was sent again yet
	undoSent            // echo and octets are valid
)

// armUndo remembers that a recovery begins.
func (c *Conn) armUndo() { c.undo = undoing{from: c.snd.una, to: c.snd.nxt, phase: undoArmed} }

// undoResent takes note of n octets that are sent again.
func (c *Conn) undoResent(now Time, n uint32) {
	u := &c.undo
	if u.phase == undoNone || c.loss.phase == phaseOpen {
		return
	}
	if u.phase == undoArmed {
		u.phase = undoSent
		u.echo = c.tsNow(now)
	}
	u.octets += n
}

// undoTwice takes note that [start, end) came twice, and reports whether by now
// all that was sent again did: then nothing had been lost.
func (c *Conn) undoTwice(start, end seq.Number) bool {
	u := &c.undo
	if u.phase != undoSent || u.octets == 0 || start.Before(u.from) || end.After(u.to) {
		return false
	}
	u.octets -= min(u.octets, uint32(end.From(start)))
	return u.octets == 0
}

// echoesOriginal is the Eifel detection (RFC 3522): the acknowledgement of
// something new was provoked by a segment that left before the first
// retransmission.
func (c *Conn) echoesOriginal(seg *Segment) bool {
	u := &c.undo
	return u.phase == undoSent && c.has(flagTimestamps) && seg.Options.TSEcr != 0 &&
		int32(seg.Options.TSEcr-u.echo) < 0
}

// undoRecovery ends a recovery that was spurious, and puts the congestion window
// back (RFC 4015 section 3.2).
func (c *Conn) undoRecovery(m *Memory, now Time) {
	if c.loss.phase == phaseRecovery {
		c.rack.reordered = 1
	}
	c.undo = undoing{}
	c.loss.phase = phaseOpen
	c.loss.dupAcks = 0
	c.pending &^= pendResend
	if c.board.lost > 0 {
		c.board.forget(m, sentLost, c.rack.grain)
	}
	c.onUndo(now)
	c.Stats.Undone++
}
