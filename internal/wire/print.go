package wire

import (
	"strconv"

	"usertcp/internal/seq"
)

// flagLetters are tcpdump's, in the order of the flags.
const flagLetters = "FSRP.UEWe"

const hexDigits = "0123456789abcdef"

// AppendSegment appends a line about a segment with a payload of so many octets
// to dst, in tcpdump's manner:
//
//	10.1.0.1.80 > 10.1.0.2.4242: S. 1:1(0) ack 2 win 65535 <mss 1460,nop,wscale 7>
func AppendSegment(dst []byte, ip *IP, t *TCP, payload int) []byte {
	dst = appendEnd(dst, &ip.Src, t.SrcPort)
	dst = append(dst, " > "...)
	dst = appendEnd(dst, &ip.Dst, t.DstPort)
	dst = append(dst, ": "...)
	dst = appendFlags(dst, t.Flags)
	dst = appendRange(append(dst, ' '), t.Seq, payload)
	return t.appendRest(dst)
}

// SegmentString returns AppendSegment's line.
func SegmentString(ip *IP, t *TCP, payload int) string {
	return string(AppendSegment(make([]byte, 0, 128), ip, t, payload))
}

// String returns a line about the header alone: "80 > 4242: S. 1 ack 2 win 65535".
func (t *TCP) String() string {
	dst := appendUint(make([]byte, 0, 128), uint64(t.SrcPort))
	dst = append(dst, " > "...)
	dst = appendUint(dst, uint64(t.DstPort))
	dst = append(dst, ": "...)
	dst = append(appendFlags(dst, t.Flags), ' ')
	dst = appendUint(dst, uint64(t.Seq))
	return string(t.appendRest(dst))
}

// appendRest appends what stands behind the sequence number.
func (t *TCP) appendRest(dst []byte) []byte {
	if t.Flags.Has(ACK) {
		dst = appendUint(append(dst, " ack "...), uint64(t.Ack))
	}
	dst = appendUint(append(dst, " win "...), uint64(t.Window))
	if t.Flags.Has(URG) {
		dst = appendUint(append(dst, " urg "...), uint64(t.Urgent))
	}
	if t.Options.Present != 0 || t.Options.SACKBlocks != 0 {
		dst = append(dst, " <"...)
		dst = t.Options.appendTo(dst)
		dst = append(dst, '>')
	}
	return dst
}

func (o *Options) String() string { return string(o.appendTo(make([]byte, 0, 64))) }

// appendTo appends the options as Emit would lay them out.
func (o *Options) appendTo(dst []byte) []byte {
	set, blocks, _ := o.layout()
	start := len(dst)
	item := func(name string) {
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, name...)
	}
	if set.has(HasMSS) {
		item("mss ")
		dst = appendUint(dst, uint64(o.MSS))
	}
	switch {
	case set.has(HasSACKPermitted | HasTimestamps):
		item("sackOK")
	case set.has(HasSACKPermitted):
		item("nop,nop,sackOK")
	case set.has(HasTimestamps):
		item("nop,nop")
	}
	if set.has(HasTimestamps) {
		item("TS val ")
		dst = appendUint(dst, uint64(o.TSVal))
		dst = appendUint(append(dst, " ecr "...), uint64(o.TSEcr))
	}
	if set.has(HasWindowScale) {
		item("nop,wscale ")
		dst = appendUint(dst, uint64(o.WindowScale))
	}
	if blocks > 0 {
		item("nop,nop,sack ")
		dst = o.appendSACK(dst, blocks)
	}
	if set.has(HasUserTimeout) {
		item("uto ")
		dst = appendUserTimeout(dst, o.UserTimeout)
	}
	if set.has(HasAccECN) {
		item("accecn")
		dst = o.appendAccECN(dst)
	}
	if set.has(HasFastOpen) {
		item("tfo ")
		dst = o.appendCookie(dst)
	}
	return dst
}

// appendSACK appends the number of blocks and the blocks, "2 {5:9}{12:20}".
func (o *Options) appendSACK(dst []byte, blocks int) []byte {
	dst = append(appendUint(dst, uint64(blocks)), ' ')
	for _, s := range o.SACK[:blocks] {
		dst = appendUint(append(dst, '{'), uint64(s.Start))
		dst = appendUint(append(dst, ':'), uint64(s.End))
		dst = append(dst, '}')
	}
	return dst
}

// appendUserTimeout appends the time; the first bit says that it is in minutes
// (RFC 5482 section 3).
func appendUserTimeout(dst []byte, v uint16) []byte {
	dst = appendUint(dst, uint64(v&0x7fff))
	if v&0x8000 != 0 {
		return append(dst, 'm')
	}
	return append(dst, 's')
}

// appendAccECN appends the counters with their names (RFC 9768 section 3.2.3).
func (o *Options) appendAccECN(dst []byte) []byte {
	names := [3]string{" e0b ", " ceb ", " e1b "}
	if o.AccECNOrder != 0 {
		names[0], names[2] = names[2], names[0]
	}
	for i, c := range o.AccECN[:o.counters()] {
		dst = appendUint(append(dst, names[i]...), uint64(c))
	}
	return dst
}

func (o *Options) appendCookie(dst []byte) []byte {
	if o.cookieLen() == 0 {
		return append(dst, "cookiereq"...)
	}
	dst = append(dst, "cookie "...)
	for _, x := range o.Cookie[:o.cookieLen()] {
		dst = append(dst, hexDigits[x>>4], hexDigits[x&0xf])
	}
	return dst
}

// String returns the header in one line: "10.1.0.1 > 10.1.0.2: tcp, length 60, ttl 64, DF".
func (ip *IP) String() string {
	dst := ip.Src.Netip().AppendTo(make([]byte, 0, 128))
	dst = ip.Dst.Netip().AppendTo(append(dst, " > "...))
	dst = append(dst, ": "...)
	dst = appendProto(dst, ip.Proto)
	dst = appendUint(append(dst, ", length "...), uint64(ip.TotalLen))
	dst = appendUint(append(dst, ", ttl "...), uint64(ip.TTL))
	if ip.TOS != 0 {
		dst = append(dst, ", tos 0x"...)
		dst = strconv.AppendUint(dst, uint64(ip.TOS), 16)
	}
	if ip.DontFragment {
		dst = append(dst, ", DF"...)
	}
	if ip.IsFragment() {
		dst = appendUint(append(dst, ", fragment at "...), uint64(ip.FragOffset))
		if ip.MoreFragments {
			dst = append(dst, '+')
		}
	}
	return string(dst)
}

// String returns the message in one line: what it says, and about which segment.
func (m *ICMP) String() string {
	dst := append(make([]byte, 0, 128), m.what()...)
	if mtu, ok := m.TooBig(); ok {
		dst = appendUint(append(dst, " mtu "...), uint64(mtu))
	}
	dst = appendEnd(append(dst, " for "...), &m.Quoted.Src, m.SrcPort)
	dst = appendEnd(append(dst, " > "...), &m.Quoted.Dst, m.DstPort)
	return string(appendUint(append(dst, " seq "...), uint64(m.Seq)))
}

func (m *ICMP) what() string {
	if _, ok := m.TooBig(); ok {
		return "icmp packet too big"
	}
	switch {
	case m.V6 && m.Type == ICMP6Unreachable, !m.V6 && m.Type == ICMPUnreachable:
		return "icmp unreachable code " + strconv.Itoa(int(m.Code))
	case m.V6 && m.Type == ICMP6TimeExceeded, !m.V6 && m.Type == ICMPTimeExceeded:
		return "icmp time exceeded code " + strconv.Itoa(int(m.Code))
	}
	return "icmp parameter problem at octet " + strconv.FormatUint(uint64(m.Pointer), 10)
}

func appendUint(dst []byte, v uint64) []byte { return strconv.AppendUint(dst, v, 10) }

func appendProto(dst []byte, proto uint8) []byte {
	switch proto {
	case ProtoTCP:
		return append(dst, "tcp"...)
	case ProtoICMP, ProtoICMPv6:
		return append(dst, "icmp"...)
	}
	return appendUint(append(dst, "proto "...), uint64(proto))
}

func appendEnd(dst []byte, a *Addr, port uint16) []byte {
	return appendUint(append(a.Netip().AppendTo(dst), '.'), uint64(port))
}

// appendRange appends the sequence numbers of a payload, "1:1461(1460)". SYN and
// FIN are not counted in it.
func appendRange(dst []byte, first seq.Number, n int) []byte {
	dst = appendUint(dst, uint64(first))
	dst = appendUint(append(dst, ':'), uint64(first.Add(seq.Size(n))))
	dst = appendUint(append(dst, '('), uint64(n))
	return append(dst, ')')
}

func appendFlags(dst []byte, f Flags) []byte {
	start := len(dst)
	for i := range flagLetters {
		if f&(1<<i) != 0 {
			dst = append(dst, flagLetters[i])
		}
	}
	if len(dst) == start {
		return append(dst, "none"...)
	}
	return dst
}
