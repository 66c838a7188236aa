package tcp

// frtoStep is a step of F-RTO (RFC 5682), which finds out whether a timeout was
// spurious: it sends new data before the rest of what it takes for lost.
type frtoStep uint8

const (
	frtoNone  frtoStep = iota
	frtoAsked          // the first segment was sent again, no acknowledgement has come
	frtoNew            // an acknowledgement has moved una: new data goes now
)

// frtoBegin begins after the first timeout of a flight in which nothing was
// believed lost.
func (c *Conn) frtoBegin(first bool) {
	c.undo.frto = frtoNone
	if first {
		c.undo.frto = frtoAsked
	}
}

// frtoAck takes note of an acknowledgement after a timeout. It reports whether
// the timeout was spurious. x.original says that octets have arrived which were
// in flight at the timeout and were not sent again since.
func (c *Conn) frtoAck(x *news) bool {
	u := &c.undo
	fresh := x.acked > 0
	switch {
	case u.frto == frtoNone:
		return false
	case u.frto == frtoNew && fresh && x.original:
		return true
	case u.frto == frtoAsked && fresh && !c.allRepaired() && c.mayTryNew():
		u.frto = frtoNew
		return false
	}
	u.frto = frtoNone
	return false
}

// allRepaired reports whether all that was in flight at the loss is acknowledged.
func (c *Conn) allRepaired() bool { return c.snd.una.AtOrAfter(c.loss.recover) }

// mayTryNew reports whether there is a full-sized segment of new data that the
// peer's window allows.
func (c *Conn) mayTryNew() bool {
	room := c.sndEdge()
	return c.unsent() >= c.snd.mss && room.After(c.snd.nxt) && uint32(room.From(c.snd.nxt)) >= c.snd.mss
}

// frtoRoom reports whether F-RTO lets n octets of new data leave: two segments.
func (c *Conn) frtoRoom(n uint32) bool {
	if c.loss.phase != phaseLoss || c.undo.frto != frtoNew {
		return false
	}
	return uint32(c.snd.nxt.From(c.loss.recover))+n <= 2*c.snd.mss
}

// frtoHolds reports whether what is believed lost waits for the outcome of F-RTO.
func (c *Conn) frtoHolds() bool {
	return c.loss.phase == phaseLoss && c.undo.frto == frtoNew
}
