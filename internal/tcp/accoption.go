package tcp

import "usertcp/internal/wire"

// The AccECN option (RFC 9768 section 3.2.3): how many octets of payload came with
// each codepoint. It is a supplement of the ACE field, and goes with an
// acknowledgement when there is something to tell: a codepoint other than before,
// marks, and now and then that a counter goes on to grow.

// Fields of the option, in order 0. Order 1 is the reverse.
const (
	fieldE0 = iota
	fieldCE
	fieldE1
	ecnFields
)

// firstCounters are what the counters of octets begin with: not zero, so that it
// shows who zeroes them.
var firstCounters = [ecnFields]uint32{fieldE0: 1, fieldCE: 0, fieldE1: 1}

const (
	ecnBeacon  = 32      // acknowledgements after which a counter that grows is told again
	ecnOverdue = 1 << 22 // octets after which it must be
	newsShift  = 4       // in ecn.seen
	allFields  = 1<<ecnFields - 1
)

// fieldOf is the field of each codepoint; of NotECT there is none.
var fieldOf = [...]int{ECT1: fieldE1, ECT0: fieldE0, CE: fieldCE}

// countOctets counts the payload of a segment. "If an arriving packet increments a
// different byte counter to that incremented by the previous packet, the Data
// Receiver SHOULD feed it back in an AccECN Option on the next scheduled ACK", and
// on the one after that (RFC 9768 section 3.2.3.3).
func (c *Conn) countOctets(seg *Segment) {
	e := &c.ecn
	if seg.ECN == NotECT {
		return
	}
	f := fieldOf[seg.ECN&CE]
	old := e.recv[f]
	e.recv[f] += seg.Len
	e.seen |= 1<<f | 1<<(f+newsShift)
	switch {
	case seg.ECN != e.lastData || seg.ECN == CE:
		e.demand = 2
	case (old^e.recv[f])&^(ecnOverdue-1) != 0:
		e.demand = max(e.demand, 1)
	}
	e.lastData = seg.ECN
}

// tellsCounters reports whether an option is due.
func (c *Conn) tellsCounters() bool {
	e := &c.ecn
	return e.on == ecnAccurate && (e.demand != 0 || e.beacon >= ecnBeacon)
}

// counterFields returns how many fields the next segment's option has, and in
// which order; 0 if there is no option. "an AccECN TCP option MAY be truncated to
// omit one or two fields from the end of the option …, provided that the counter(s)
// that have changed since the previous AccECN TCP option are not omitted", and if
// two SACK blocks would not find room beside it, SACK goes first.
func (c *Conn) counterFields() (n, order int) {
	e := &c.ecn
	if !c.tellsCounters() || e.traits&ecnOptOff != 0 {
		return 0, 0
	}
	seen := e.seen & allFields
	if seen&(1<<fieldE1) != 0 && seen&(1<<fieldE0) == 0 {
		order = 1
	}
	room := optionsLen
	if c.has(flagTimestamps) {
		room -= timestampsLen
	}
	if blocks := min(c.sackBlocks(), 2); blocks > 0 {
		room -= sackHeadLen + blocks*sackBlockLen
	}
	for n = ecnFields; n > 0 && (counterLen(n) > room || seen != 0 && seen&(1<<fieldAt(n-1, order)) == 0); n-- {
		if e.seen>>newsShift&(1<<fieldAt(n-1, order)) != 0 {
			return 0, 0
		}
	}
	return n, order
}

// fieldAt returns which field is at place i of an option.
func fieldAt(i, order int) int {
	if order != 0 {
		return ecnFields - 1 - i
	}
	return i
}

// counterLen returns the octets that an option with n fields takes in a header.
func counterLen(n int) int {
	if n == 0 {
		return 0
	}
	return (2 + 3*n + 3) &^ 3
}

// counterRoom returns the octets of options that the counters take in the next
// segment.
func (c *Conn) counterRoom() int {
	if !c.tellsCounters() {
		return 0
	}
	n, _ := c.counterFields()
	return counterLen(n)
}

// tellCounters adds the option to a segment that leaves, if it is due.
func (c *Conn) tellCounters(o *wire.Options) {
	e := &c.ecn
	if !c.tellsCounters() {
		if e.seen>>newsShift != 0 {
			e.beacon++
		}
		return
	}
	n, order := c.counterFields()
	if n == 0 {
		if e.traits&ecnOptOff != 0 {
			e.demand, e.beacon = 0, 0
		}
		return
	}
	c.putCounters(o, order, n)
	e.seen &= allFields
	e.demand -= min(e.demand, 1)
	e.beacon = 0
}

// putCounters puts n fields into a header.
func (c *Conn) putCounters(o *wire.Options, order, n int) {
	o.Present |= wire.HasAccECN
	o.AccECNOrder, o.AccECNCount = uint8(order), uint8(n)
	for i := range n {
		o.AccECN[i] = c.ecn.recv[fieldAt(i, order)] & (1<<24 - 1)
	}
}

// synAckFields returns how many fields the SYN-ACK's option has: what a cookie of
// Fast Open leaves room for. One that is empty tries the path as well.
func (c *Conn) synAckFields(o *wire.Options) int {
	switch {
	case c.fast.state&fastGranting == 0:
		return ecnFields
	case o.Has(wire.HasUserTimeout):
		return 0
	}
	return ecnFields - 1
}

// trialData lets the first data take an option along, to find out whether options
// get through.
func (c *Conn) trialData() {
	if e := &c.ecn; e.traits&ecnOptTrial != 0 {
		e.demand = max(e.demand, 1)
	}
}

// trialLost is called when something is sent again: if it is the first data, which
// had an option, "it SHOULD fall back to no AccECN Option on the retransmission"
// (RFC 9768 section 3.2.3.2.2).
func (c *Conn) trialLost() {
	if e := &c.ecn; e.on == ecnAccurate && !c.has(flagPassive) && c.snd.una == c.snd.iss.Add(1) {
		e.traits |= ecnOptOff
	}
}

// takeCounters takes the option of an arriving segment. It returns how many more
// octets were marked, and whether it says. Of an option that begins with zero,
// where no counter does, nothing is believed (RFC 9768 section 3.2.3.2.4).
func (c *Conn) takeCounters(o *wire.Options) (octets uint32, told bool) {
	e := &c.ecn
	n := min(int(o.AccECNCount), ecnFields)
	if !o.Has(wire.HasAccECN) || n == 0 || e.traits&ecnOptBad != 0 {
		return 0, false
	}
	if e.traits&ecnOptSeen == 0 {
		e.traits |= ecnOptSeen
		if o.AccECN[0] == 0 || n == ecnFields && o.AccECN[n-1] == 0 {
			e.traits |= ecnOptBad
			return 0, false
		}
	}
	for i, v := range o.AccECN[:n] {
		f := fieldAt(i, int(o.AccECNOrder))
		more := (v - e.sent[f]) & (1<<24 - 1)
		if more >= 1<<23 {
			continue // older than what was heard already
		}
		e.sent[f] += more
		if f == fieldCE {
			octets = more
		}
	}
	return octets, true
}
