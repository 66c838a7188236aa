package tcp

import "usertcp/internal/seq"

// delivery is how much has been delivered, and how fast: the delivery rate as
// the BBR draft estimates it. Where the draft remembers something with every
// packet, this remembers it with a few of those in flight, the marks: a sample is
// taken when a marked segment is acknowledged.
type delivery struct {
	marks     [4]mark
	at        Time   // when delivered grew last
	firstSent Time   // when the marked segment was sent that was acknowledged last
	paceAt    Time   // when the next segment may leave, if there is a pace
	pace      uint64 // octets a second, 0 for no pacing
	delivered uint32 // octets that are known to have arrived, modulo 2^32
	limited   uint32 // the program limits the rate until delivered has come here
	every     uint32 // octets, at least, from one mark to the next; noMarks: see wantsMarks
	first, n  uint8  // of marks, which is a ring
	_         [2]uint8
}

// mark is what held when a segment was sent.
type mark struct {
	end       seq.Number // of the segment; if markResent the clock at which its flight has left
	delivered uint32     // delivery.delivered
	sent      uint32     // when the segment was sent, in units of 16 ns, modulo 2^32
	quiet     uint32     // from delivery.at to sent, in units of 16 ns
	span      uint32     // from delivery.firstSent to sent, in units of 16 ns
	lost      uint32     // congestion.lost
	flight    uint32     // octets in flight, the segment included, and the bits below
}

// Bits of mark.flight.
const (
	markLimited = 1 << 31 // the program, not the network, limited the rate
	markResent  = 1 << 30 // the segment was sent before: its acknowledgement says nothing of it
)

// noMarks is delivery.every of a congestion control that needs no samples.
const noMarks = ^uint32(0)

// wantsMarks reports whether a segment should be marked after whose departure
// flight octets are in flight. Where every is zero the samples are for slow
// start, which is interested in those in whose flight the window can grow.
func (c *Conn) wantsMarks(flight uint32) bool {
	every := c.rate.every
	return every != noMarks && (every != 0 || 2*flight >= c.cc.cwnd)
}

// ack is what an acknowledgement says to congestion control.
type ack struct {
	n      uint32 // octets delivered
	flight uint32 // octets in flight before it
	rtt    Time   // round-trip time of a segment that it acknowledges, 0 for none

	// Of that segment's flight, if span is not zero:
	span    Time   // in which since was delivered
	since   uint32 // octets delivered while it was in flight
	lost    uint32 // octets marked lost while it was in flight
	sent    uint32 // octets in flight when it left, itself included
	limited bool   // the program limited the rate
	rate    uint64 // octets a second; for who wants it to fill in
}

// isLimited reports whether the program limits the rate.
func (r *delivery) isLimited() bool { return int32(r.limited-r.delivered) > 0 }

// coarse returns t in units of 16 ns, as far as it fits: 68 s.
func coarse(t Time) uint32 { return uint32(min(max(t, 0)>>4, 1<<32-1)) }

// noteSent remembers what holds when new data up to nxt leaves; was is what was
// in flight before.
func (r *delivery) noteSent(now Time, end seq.Number, was, flight, lost uint32) {
	if was == 0 {
		// What has passed since the last flight says nothing about the path.
		r.at, r.firstSent = now, now
		r.n = 0
	}
	if r.n > 0 {
		m := r.newest()
		if int(r.n) == len(r.marks) || m.flight&markResent == 0 && end.Before(m.end.Add(seq.Size(r.every))) {
			return
		}
	}
	r.mark(now, end, flight, lost)
}

// noteResent is noteSent for what was sent before. As nothing will tell when it
// arrives, the clock tells: when as much has left the network, delivered or lost,
// as is in flight now.
func (r *delivery) noteResent(now Time, flight, lost uint32) {
	if r.n == 0 {
		r.mark(now, seq.Number(r.clock(lost)+flight), flight|markResent, lost)
	}
}

// clock counts the octets that have left the network. What is in flight now has
// left when it has gone on by the flight: so it tells round trips, also in a
// recovery, while una stands still.
func (r *delivery) clock(lost uint32) uint32 { return r.delivered + lost }

func (r *delivery) mark(now Time, end seq.Number, flight, lost uint32) {
	if r.isLimited() {
		flight |= markLimited
	}
	r.n++
	*r.newest() = mark{
		end: end, delivered: r.delivered, sent: uint32(now >> 4), quiet: coarse(now - r.at), span: coarse(now - r.firstSent),
		lost: lost, flight: flight,
	}
}

// newest returns the mark that was set last. There must be one.
func (r *delivery) newest() *mark { return &r.marks[(r.first+r.n-1)%uint8(len(r.marks))] }

// noteAck takes the samples out of an acknowledgement that delivered a.n octets,
// the last one of which before last.
func (r *delivery) noteAck(now Time, last seq.Number, lost uint32, a *ack) {
	if r.delivered += a.n; !r.isLimited() {
		r.limited = r.delivered
	}
	r.at = now
	var m *mark
	for r.n > 0 {
		x := &r.marks[r.first%uint8(len(r.marks))]
		at := last
		if x.flight&markResent != 0 {
			at = seq.Number(r.clock(lost))
		}
		if at.Before(x.end) {
			break
		}
		m = x
		r.first = (r.first + 1) % uint8(len(r.marks))
		r.n--
	}
	if m == nil {
		return
	}
	took := max(Time(uint32(now>>4)-m.sent)<<4, 1)
	if m.flight&markResent == 0 {
		a.rtt = took
	}
	a.lost = lost - m.lost
	a.sent = m.flight &^ (markLimited | markResent)
	a.limited = m.flight&markLimited != 0
	// Both the sending and the acknowledging of what was delivered took their time;
	// the longer one is not compressed.
	a.span = max(took+Time(m.quiet)<<4, Time(m.span)<<4)
	a.since = r.delivered - m.delivered
	r.firstSent = now - took
}

// forgetMarks gives the marks up: what is in flight is sent a second time.
func (r *delivery) forgetMarks() { r.n = 0 }

// perSecond returns the rate of n octets in t, at least 1.
func perSecond(n uint32, t Time) uint64 {
	return max(uint64(n)*uint64(Second)/uint64(max(t, 1)), 1)
}

// takes returns how long n octets take at a rate in octets a second.
func takes(n uint32, rate uint64) Time { return Time(uint64(n) * uint64(Second) / max(rate, 1)) }

// noteLimited remembers that the program has nothing more to send although the
// network could take it.
func (c *Conn) noteLimited() {
	if f := c.pipe(); c.unsent() == 0 && f < c.cc.cwnd {
		c.rate.limited = c.rate.delivered + max(f, 1)
	}
}
