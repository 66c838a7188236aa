package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// icmp takes an ICMP message, whole in b, of a packet with header ip. It goes to
// the connection whose packet it quotes, if that is one of ours; the engine
// checks whether the quoted segment is in flight. own is what the host's own devices
// carry, in octets, if it is they who can't pass the packet on, else 0.
func (h *Half) icmp(b []byte, ip *wire.IP, own uint16) {
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
	mtu, tooBig := m.TooBig()
	switch {
	case tooBig && own != 0:
		c.LocalMTU(&h.mem, h.now, uint32(own), m.Seq)
	case tooBig:
		c.PathMTU(&h.mem, h.now, uint32(mtu), m.Seq)
	default:
		c.Unreachable(&h.mem, h.now, icmpError(&m), m.Seq)
	}
	h.commit(i)
}

// DevicesGrew says that the host's devices or routes carry larger packets than before, up
// to most octets.
func (b *Bottom) DevicesGrew(most uint32) {
	b.Change(func() {
		for i := range min(b.ctl.conns.Fresh, MaxConns) {
			if a := &b.aux[i]; a.use == useFree || a.circuit != pool.NIC || !b.conns[i].MayGrow(most) {
				continue
			}
			b.begin(i).RouteGrew(most)
			b.commit(i)
		}
	})
}

// icmpError returns what the program is told of a message: the errno that Linux has
// for it, as far as the engine knows it. Source quench is no error to package wire, and
// never comes here (MUST-55).
func icmpError(m *wire.ICMP) tcp.Error {
	switch {
	case m.V6 && m.Type == wire.ICMP6Unreachable:
		switch m.Code {
		case wire.ICMP6CodePort:
			return tcp.ErrRefused
		case wire.ICMP6CodeNoRoute:
			return tcp.ErrNetUnreachable
		case wire.ICMP6CodeProhibited, wire.ICMP6CodePolicy, wire.ICMP6CodeReject:
			return tcp.ErrProhibited
		}
	case !m.V6 && m.Type == wire.ICMPUnreachable:
		switch m.Code {
		case wire.ICMPCodePort, wire.ICMPCodeProtocol:
			return tcp.ErrRefused
		case wire.ICMPCodeNet, wire.ICMPCodeNetUnknown, wire.ICMPCodeNetProhibited, wire.ICMPCodeNetTOS:
			return tcp.ErrNetUnreachable
		}
	}
	return tcp.ErrUnreachable
}
