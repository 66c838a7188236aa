package half

import (
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// icmp takes an ICMP message, whole in b, of a packet with header ip. It goes to
// the connection whose packet it quotes, if that is one of ours; the engine
// checks whether the quoted segment is in flight.
func (h *Half) icmp(b []byte, ip *wire.IP) {
	var m wire.ICMP
	body := b[ip.HeaderLen:]
	if !wire.ICMPChecksumOK(&ip.Src, &ip.Dst, body) || wire.ParseICMP(body, &m) != nil || m.V6 == ip.Src.Is4() {
		h.ctl.Counters.BadIP++
		return
	}
	flow := wire.Flow{
		Local:  wire.Endpoint{Addr: m.Quoted.Src, Port: m.SrcPort},
		Remote: wire.Endpoint{Addr: m.Quoted.Dst, Port: m.DstPort},
	}
	i := h.lookup(&flow)
	if i == none || m.Quoted.Src != ip.Dst {
		return
	}
	c := h.begin(i)
	if mtu, ok := m.TooBig(); ok {
		c.PathMTU(&h.mem, h.now, uint32(mtu), m.Seq)
	} else {
		e, hard := icmpError(&m)
		c.Unreachable(&h.mem, h.now, e, hard, m.Seq)
	}
	h.commit(i)
}

// icmpError returns what the program is told of a message, and whether it is a
// hard error (RFC 9293 section 3.9.2.2). Source
// quench is no error to package wire, and never comes here (MUST-55).
func icmpError(m *wire.ICMP) (e tcp.Error, hard bool) {
	if m.V6 {
		switch {
		case m.Type == wire.ICMP6Unreachable && m.Code == wire.ICMP6CodePort:
			return tcp.ErrRefused, true
		case m.Type == wire.ICMP6Unreachable && m.Code == wire.ICMP6CodeProhibited:
			return tcp.ErrUnreachable, true
		}
		return tcp.ErrUnreachable, false
	}
	if m.Type != wire.ICMPUnreachable {
		return tcp.ErrUnreachable, false
	}
	switch m.Code {
	case wire.ICMPCodePort, wire.ICMPCodeProtocol:
		return tcp.ErrRefused, true
	}
	return tcp.ErrUnreachable, false
}
