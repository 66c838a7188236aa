package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// Urgent data (RFC 9293 section 3.8.5, RFC 6093): the sender marks a point in the
// stream. As in BSD and Linux the octet before that point is the urgent one. By
// default it is taken out of the stream when the program's reading comes to it,
// and handed over apart; with UrgentInline it stays where it is.
//
//	     read                   up
//	------|------------------[u]|-------------
//	       ordinary data     urgent octet

// urgentMark says where the peer's urgent octet is.
type urgentMark uint8

const (
	markNone  urgentMark = iota // there is none
	markAhead                   // before rcvUp: the program has neither read it nor what comes before it
	markSeen                    // the same, but the program has had the octet and reading passes over it
	markTaken                   // taken out of the stream: in urgent.octet
)

// farUrgent is how far the urgent pointer of a segment can point.
const farUrgent = 0xffff

// SendUrgent marks what was written last as urgent: it is what SEND with the
// urgent flag does after its data is queued ("SND.UP", RFC 9293 section 3.10.2).
func (c *Conn) SendUrgent(now Time) {
	c.begin()
	if !c.sends() || c.snd.end == c.snd.una {
		return
	}
	c.urgent.sending = 1
	c.urgent.sndUp = c.snd.end
	if c.sndEdge().AtOrBefore(c.snd.nxt) {
		// The peer is to know of it though its window is closed.
		c.pending |= pendProbe
	}
}

// markUrgent puts the urgent pointer into a segment that leaves. "The urgent
// pointer MUST point to the sequence number of the octet following the urgent
// data" (RFC 9293 MUST-62). Where the field can't reach that far the segment says
// at least, as long as nothing beyond its reach was sent, that there is urgent
// data ahead; later segments say where.
func (c *Conn) markUrgent(out *Segment) {
	u := &c.urgent
	if u.sending == 0 || !out.Seq.Before(u.sndUp) {
		return
	}
	switch n := u.sndUp.From(out.Seq); {
	case n <= farUrgent:
		out.Urgent = uint16(n)
	case out.Seq.Add(farUrgent).After(c.snd.nxt):
		out.Urgent = farUrgent
	default:
		return
	}
	out.Flags |= wire.URG
}

// urgentAcked ends urgent mode when the peer has all of the urgent data.
func (c *Conn) urgentAcked() {
	if c.snd.una.AtOrAfter(c.urgent.sndUp) {
		c.urgent.sending = 0
	}
}

// readSeq returns the number of the next octet that the program reads.
func (c *Conn) readSeq() seq.Number {
	n := seq.Size(c.RcvQ.Bytes - c.RcvHead)
	if c.has(flagFinReceived) {
		n++
	}
	return c.rcv.nxt.Minus(n)
}

// arriveUrgent handles the urgent pointer of a segment ("sixth, check the URG
// bit" in RFC 9293 section 3.10.7.4): "RCV.UP <- max(RCV.UP,SEG.UP), and signal
// the user that the remote side has urgent data if the urgent pointer (RCV.UP) is
// in advance of the data consumed". A pointer that points at nothing is ignored.
func (c *Conn) arriveUrgent(seg *Segment) {
	u := &c.urgent
	up := seg.Seq.Add(seq.Size(seg.Urgent))
	if seg.Urgent == 0 || up.AtOrBefore(c.readSeq()) || !c.receives() || c.has(flagReadClosed) {
		return
	}
	if (u.mark == markAhead || u.mark == markSeen) && up.AtOrBefore(u.rcvUp) {
		return
	}
	u.rcvUp, u.mark = up, markAhead
	// It "MUST (MUST-32) inform the application layer asynchronously whenever it
	// receives an urgent pointer and there was previously no pending urgent data, or
	// whenever the urgent pointer advances in the data stream".
	c.Events |= EventUrgent | EventReadable
}

// Urgent reports whether the peer has told of an urgent octet that the program
// has not come to, and how many octets that can be read come before it; here
// says whether the octet itself has arrived (RFC 9293 MUST-33).
func (c *Conn) Urgent() (before uint32, here, ahead bool) {
	u := &c.urgent
	if u.mark != markAhead && u.mark != markSeen {
		return 0, false, false
	}
	unread := c.RcvQ.Bytes - c.RcvHead
	before = uint32(u.rcvUp.Minus(1).From(c.readSeq()))
	if before >= unread {
		return unread, false, true
	}
	return before, true, true
}

// UrgentOctet returns the urgent octet if the program's reading has passed it.
func (c *Conn) UrgentOctet() (b byte, ok bool) {
	return c.urgent.octet, c.urgent.mark == markTaken
}

// UrgentSeen says that the program has had the urgent octet.
func (c *Conn) UrgentSeen() {
	c.begin()
	switch u := &c.urgent; u.mark {
	case markAhead:
		u.mark = markSeen
	case markTaken:
		u.mark = markNone
	}
}

// UrgentPending reports whether there is an urgent octet that the program has not
// had yet.
func (c *Conn) UrgentPending() bool {
	return c.urgent.mark == markAhead || c.urgent.mark == markTaken
}

// SkipUrgent takes the urgent octet, which is b and the next to be read, out of
// the stream.
func (c *Conn) SkipUrgent(m *Memory, now Time, b byte) {
	before, here, _ := c.Urgent()
	if !here || before != 0 {
		panic("BUG: no urgent octet to be skipped")
	}
	mark := markNone
	if c.urgent.mark == markAhead {
		mark = markTaken
	}
	c.Consume(m, now, 1)
	c.urgent.octet, c.urgent.mark = b, mark
}

// passUrgent ends urgent mode when the program has read on beyond the octet.
func (c *Conn) passUrgent() {
	if u := &c.urgent; u.mark != markTaken && c.readSeq().AtOrAfter(u.rcvUp) {
		u.mark = markNone
	}
}
