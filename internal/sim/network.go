package sim

import (
	"math/rand/v2"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// conditions are those of a link in one direction.
type conditions struct {
	loss, dup, reorder, corrupt float64
	mark                        float64 // with congestion experienced, instead of a loss
	delay, jitter               tcp.Time
	rate, clog                  int // octets a second, octets
	mtu                         int
	cut                         bool
}

// link is the way from one host to another.
type link struct {
	conditions
	busy tcp.Time // until when the last octet given to it is on its way
	last tcp.Time // when the last packet that was not reordered arrives
}

// flight is a packet that will arrive.
type flight struct {
	at tcp.Time
	b  []byte
}

// send puts a packet on the link at now. It returns when and how it arrives, up
// to two times, and a word about its fate for the trace.
func (l *link) send(r *rand.Rand, now tcp.Time, b []byte) (arrivals []flight, fate string) {
	switch {
	case l.cut:
		return nil, "cut"
	case len(b) > l.mtu:
		return nil, "too big"
	case chance(r, l.loss):
		return nil, "lost"
	}
	start := max(now, l.busy)
	if l.rate > 0 {
		waiting := int((start - now) * tcp.Time(l.rate) / tcp.Second)
		if waiting+len(b) > l.clog {
			return nil, "clogged"
		}
		start += tcp.Time(len(b)) * tcp.Second / tcp.Time(l.rate)
		l.busy = start
	}
	at, fate := l.arrival(r, start)
	if chance(r, l.mark) {
		if marked := mark(b); marked != nil {
			b, fate = marked, fate+" marked"
		}
	}
	if chance(r, l.corrupt) {
		b, fate = corrupt(r, b), fate+" damaged"
	}
	arrivals = append(arrivals, flight{at, b})
	if chance(r, l.dup) {
		at, _ := l.arrival(r, start)
		arrivals, fate = append(arrivals, flight{at, b}), fate+" doubled"
	}
	return arrivals, fate
}

// arrival draws when a packet arrives that has left at start: behind the one
// before it, unless it is reordered.
func (l *link) arrival(r *rand.Rand, start tcp.Time) (tcp.Time, string) {
	at := start + l.delay
	if l.jitter > 0 {
		at += tcp.Time(r.Int64N(int64(l.jitter)))
	}
	if chance(r, l.reorder) {
		most := int64(max(l.delay, 100*tcp.Microsecond)) * pick(r, int64(1), 1, 1, 10)
		return at + tcp.Time(r.Int64N(most)), "late"
	}
	at = max(at, l.last)
	l.last = at
	return at, "ok"
}

// corrupt changes one octet, which no checksum of TCP's kind can miss: what
// would change two that cancel out is beyond what TCP promises.
func corrupt(r *rand.Rand, b []byte) []byte {
	b = append([]byte(nil), b...)
	b[r.IntN(len(b))] ^= byte(1 + r.IntN(254)) // 0x00 and 0xff are the same number to the sum
	return b
}

// mark marks a packet whose transport knows ECN with CE (RFC 3168 section 5); it
// returns nil for another one.
func mark(b []byte) []byte {
	b = append([]byte(nil), b...)
	if b[0]>>4 == 6 {
		if b[1]&0x30 == 0 {
			return nil
		}
		b[1] |= 0x30
		return b
	}
	if b[1]&3 == 0 {
		return nil
	}
	b[1] |= 3
	h := b[:int(b[0]&0xf)*4]
	h[10], h[11] = 0, 0
	sum := ^wire.Fold(wire.Sum(0, h))
	h[10], h[11] = byte(sum>>8), byte(sum)
	return b
}

// tooBig makes the ICMP message that a router sends about a packet that is too
// big for its next link.
func tooBig(b []byte, mtu int) []byte {
	var s seen
	s.read(b)
	m := wire.ICMP{
		Type: wire.ICMPUnreachable, Code: wire.ICMPCodeFragNeeded, MTU: uint32(mtu),
		Quoted: s.ip, SrcPort: s.tcp.SrcPort, DstPort: s.tcp.DstPort, Seq: s.tcp.Seq,
	}
	ip := wire.IP{Src: s.ip.Dst, Dst: s.ip.Src, Proto: wire.ProtoICMP, TTL: 64}
	if !s.ip.Is4() {
		m.V6, m.Type, m.Code = true, wire.ICMP6PacketTooBig, 0
		ip.Proto = wire.ProtoICMPv6
	}
	var body [wire.MaxICMPLen]byte
	n := m.Emit(body[:], &ip.Src, &ip.Dst)
	out := make([]byte, wire.IPv6Len+n)
	head := ip.Emit(out, n)
	return append(out[:head], body[:n]...)
}

// calm are the conditions of a healed network.
func (p *Plan) calm() conditions {
	return conditions{delay: p.Delay, mtu: 65535}
}

// weather are the conditions before that.
func (p *Plan) weather() conditions {
	return conditions{
		loss: p.Loss, dup: p.Dup, reorder: p.Reorder, corrupt: p.Corrupt,
		mark: p.Mark, delay: p.Delay, jitter: p.Jitter, rate: p.Rate, clog: p.Clog, mtu: 65535,
	}
}
