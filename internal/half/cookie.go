package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// cookieTime is how long after the last cookie an acknowledgement is looked at as
// one: a cookie's own life.
const cookieTime = 2 * 64 * tcp.Second

// cookieGrace is how long after the last cookie a segment that belongs to nobody
// is dropped, and not answered with RST. What acknowledges a cookie can get lost,
// be overtaken, or find the queue full; the data behind it says nothing that a
// cookie could be known by, and an RST would end a connection that the peer's
// retransmission makes good. RFC 9293 section 3.10.7.2 would have the RST at once.
const cookieGrace = 4 * tcp.Second

// sendCookie answers the SYN in h.arr for listener l, whose backlog is full of
// half open connections, and remembers nothing of it.
func (h *Half) sendCookie(l uint32, k *packet, circuit uint16) {
	opt := h.options(l, k, circuit)
	h.aux[l].cookieAt = uint32(h.now/tcp.Second) + 1
	h.ctl.Counters.CookiesSent++
	tcp.CookieSynAck(h.now, &k.flow, &h.ctl.secret, &opt, &h.arr, &h.out)
	var p pool.Packet
	h.header(&p, &k.flow, &h.out, opt.TTL, opt.TOS)
	h.emit(&p, circuit)
}

// takeCookie makes a connection of the segment in h.arr if it acknowledges a
// cookie of listener l's. It returns none if not. A segment for which there is
// no room is dropped: the peer sends it again, and so is one that may have come
// before the acknowledgement.
func (h *Half) takeCookie(l uint32, k *packet, circuit uint16) (i uint32, drop bool) {
	la := &h.aux[l]
	if la.cookieAt == 0 || h.now-tcp.Time(la.cookieAt)*tcp.Second > cookieTime || h.arr.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.ACK {
		return none, false
	}
	opt := h.options(l, k, circuit)
	var c tcp.Conn
	if !c.OpenCookie(&h.mem, h.now, k.flow, &h.ctl.secret, &opt, &h.arr) {
		return none, h.now-tcp.Time(la.cookieAt)*tcp.Second < cookieGrace
	}
	if la.acceptCount > la.backlog {
		h.ctl.Counters.ListenFull++
		return none, true
	}
	if i = h.embryo(l, circuit); i == none {
		return none, true
	}
	h.ctl.Counters.CookiesTaken++
	*h.begin(i) = c
	h.insert(i)
	h.commit(i)
	return i, false
}

// embryo takes a slot for a connection that listener l was asked for.
func (h *Half) embryo(l uint32, circuit uint16) uint32 {
	i := h.allocConn(useEmbryo)
	if i == none {
		return none
	}
	h.aux[i].parent = l
	h.aux[l].embryos++
	h.setCircuit(i, circuit)
	return i
}
