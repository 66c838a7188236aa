package tcp

import "usertcp/internal/seq"

// Readable returns how many octets the program can read, and whether the peer's
// FIN follows them.
func (c *Conn) Readable() (n uint32, fin bool) {
	return c.RcvQ.Bytes - c.RcvHead, c.has(flagFinReceived)
}

// Consume is the RECEIVE call: the program has read n octets from the front of
// RcvQ.
func (c *Conn) Consume(m *Memory, now Time, n uint32) {
	c.begin()
	if have, _ := c.Readable(); n > have {
		panic("BUG: more was read than was there")
	}
	c.read(m, now, n)
}

// read takes n octets from the front of RcvQ, which has them.
func (c *Conn) read(m *Memory, now Time, n uint32) {
	head := c.RcvHead + n
	for c.RcvQ.Count > 0 {
		size := m.Chunks[c.RcvQ.Head].Len
		if head < size {
			break
		}
		head -= size
		c.RcvQ.shed(m, &c.Freed[freedRead])
	}
	c.RcvHead = head
	c.tuning.read += uint64(n)
	if c.tunesReceive() {
		c.tuneReceive(m, now)
	}
	if c.urgent.mark != markNone {
		c.passUrgent()
	}
	c.heed(m)
	if c.receives() && c.worthUpdate() {
		c.pending |= pendAck
	}
}

// mostUnit is the unit of receiver.most, in octets.
const mostUnit = 4096

// heed notes how much the pool lets a connection have unread now.
func (c *Conn) heed(m *Memory) {
	if c.rcv.most = 0; m.Unread > 0 {
		c.rcv.most = uint16(min(max(m.Unread/mostUnit, 1), 1<<16-1))
	}
}

// receives reports whether more can come from the peer.
func (c *Conn) receives() bool {
	switch c.State {
	case Established, FinWait1, FinWait2:
		return true
	}
	return false
}

// room returns how large a window the receive buffer and the pool allow, in what the
// window field can say.
func (c *Conn) room() uint32 {
	unread, most := c.RcvQ.Bytes-c.RcvHead, c.mostUnread()
	if unread >= most {
		return 0
	}
	free := min(most-unread, c.windowLimit(), 65535<<c.rcv.scale)
	return free >> c.rcv.scale << c.rcv.scale
}

// mostUnread returns how much may wait to be read, and come.
func (c *Conn) mostUnread() uint32 {
	if c.rcv.most > 0 {
		return min(c.Opt.RcvBuf, uint32(c.rcv.most)*mostUnit)
	}
	return c.Opt.RcvBuf
}

// windowLimit returns the largest window that there can be.
func (c *Conn) windowLimit() uint32 {
	if clamp := c.Opt.WindowClamp; clamp != 0 {
		return min(clamp, c.Opt.RcvBuf)
	}
	return c.Opt.RcvBuf
}

// worthMoving reports whether the edge should move to the end of a window of
// size wnd. The receiver is "to keep RCV.NXT+RCV.WND fixed until the reduction
// satisfies: RCV.BUFF - RCV.USER - RCV.WND >= min( Fr * RCV.BUFF, Eff.snd.MSS )",
// Fr being 1/2 (RFC 9293 section 3.8.6.2.2).
func (c *Conn) worthMoving(wnd uint32) bool {
	gain := int32(c.rcv.nxt.Add(seq.Size(wnd)) - c.rcv.edge)
	return gain > 0 && uint32(gain) >= min(c.windowLimit()/2, uint32(c.Opt.MSS))
}

// worthUpdate reports whether the window has opened so far that the peer should
// hear of it at once. Like Linux: it is twice what the peer knows of.
func (c *Conn) worthUpdate() bool {
	wnd := c.room()
	return c.worthMoving(wnd) && wnd/2 >= uint32(c.rcv.edge.From(c.rcv.nxt))
}

// freePeer owes a window update if there is room that the program did not make by
// reading, and the peer waits for some. Who can send hears of it with the next
// acknowledgement.
func (c *Conn) freePeer() {
	if c.receives() && c.worthUpdate() && c.rcv.edge.From(c.rcv.nxt) < seq.Size(c.Opt.MSS) {
		c.pending |= pendAck
	}
}

// offer returns the window field of a segment that leaves now, and remembers the
// promise in it: rcv.edge never moves back.
//
// Where the edge is not a multiple of the field's unit away, the field is
// rounded up, as rounding down would take back what was promised. Data in
// pieces smaller than a unit could so drag the edge on without end; an eighth of
// what may be unread is where that ends, and the field is rounded down (RFC 7323 section
// 2.4), though what is sent up to the edge is still taken.
func (c *Conn) offer() uint16 {
	r := &c.rcv
	if wnd := c.room(); c.worthMoving(wnd) {
		r.edge = r.nxt.Add(seq.Size(wnd))
	}
	unit := uint32(1) << r.scale
	wnd := uint32(r.edge.From(r.nxt))
	up := (wnd + unit - 1) >> r.scale
	if most := c.mostUnread(); c.RcvQ.Bytes-c.RcvHead+up<<r.scale > most+most/8 {
		return uint16(wnd >> r.scale)
	}
	r.edge = r.nxt.Add(seq.Size(up << r.scale))
	return uint16(up)
}

// offerSyn returns the window field of a SYN: never scaled, and like Linux's as many
// whole segments as the buffer takes, if the field can say that.
func (c *Conn) offerSyn() uint16 {
	wnd := c.windowLimit()
	if mss := uint32(c.Opt.MSS); wnd > mss {
		wnd -= wnd % mss
	}
	wnd = min(wnd, 65535)
	// A challenge in SYN-RECEIVED may have promised more already.
	wnd = max(wnd, uint32(c.rcv.edge.From(c.rcv.nxt)))
	c.rcv.edge = c.rcv.nxt.Add(seq.Size(wnd))
	return uint16(min(wnd, 65535))
}
