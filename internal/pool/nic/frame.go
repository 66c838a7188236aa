package nic

import (
	"encoding/binary"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// A frame on the descriptor, both ways:
//
//	 0  virtio_net_hdr: flags, gso_type          (little-endian, as TUNSETVNETLE says)
//	 2  hdr_len, gso_size, csum_start, csum_offset, num_buffers
//	12  Ethernet: two addresses, zero on the way out, and the EtherType
//	26  IP packet
//
// A SYN for a listener has 2 'w' 'a' 'y' and the MTU of the route to its sender for a
// source address.
//
// Segmentation offload: a packet with gso_size is several segments, of so many
// octets of payload each but the last, under one header.
const (
	virtioLen = 12
	etherLen  = 14
	headLen   = virtioLen + etherLen
)

// Places in the virtio header.
const (
	atFlags      = 0
	atGSOType    = 1
	atHdrLen     = 2
	atGSOSize    = 4
	atCsumStart  = 6
	atCsumOffset = 8
	atWayBack    = virtioLen + 6
	atEtherType  = virtioLen + 12
)

// Values in the virtio header (virtio 1.2 section 5.1.6).
const (
	flagNeedsCsum = 1 // the checksum field holds the pseudo-header's sum only
	flagDataValid = 2 // the checksum has been verified

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoECN   = 0x80 // the first segment carries CWR
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// reason says why a frame is passed over.
type reason uint8

const (
	fine reason = iota
	short
	notIP
	badGSO
	badHeader
)

// layout is where the parts of a packet received lie.
type layout struct {
	total   int // octets of the packet: an Ethernet frame may be padded
	header  int // of them, headers of IP and TCP
	verify  bool
	segSize int    // 0 if it is one segment
	pathMTU uint16 // pool.Packet's
}

// inspect finds out how the frame with the given head and packet b lies, and
// whether it makes sense as far as sizes go: what the headers say is for the half
// to check.
func inspect(head *[headLen]byte, b []byte, l *layout) reason {
	if len(b) < wire.IPv4Len {
		return short
	}
	flags, gso := head[atFlags], head[atGSOType]&^gsoECN
	*l = layout{verify: flags&(flagNeedsCsum|flagDataValid) == 0}
	is4 := b[0]>>4 == 4
	proto, ip, why := inspectIP(head, b, is4, l)
	if why != fine {
		return why
	}
	if gso != gsoNone {
		l.segSize = int(binary.LittleEndian.Uint16(head[atGSOSize:]))
		want := byte(gsoTCPv6)
		if is4 {
			want = gsoTCPv4
		}
		if gso != want || proto != wire.ProtoTCP || l.segSize == 0 {
			return badGSO
		}
	}
	l.header = ip
	if proto == wire.ProtoTCP {
		if l.total < ip+13 {
			return badHeader
		}
		l.header += int(b[ip+12]>>4) * 4
		l.pathMTU = wayBack(head)
	}
	if l.header > l.total || l.header > pool.MaxData {
		return badHeader
	}
	return fine
}

// wayBack returns the MTU of the route to the sender, 0 if the head does not say.
func wayBack(head *[headLen]byte) uint16 {
	if [4]byte(head[atWayBack:]) != [4]byte{2, 'w', 'a', 'y'} {
		return 0
	}
	return binary.BigEndian.Uint16(head[atWayBack+4:])
}

// inspectIP finds the end of the IP header, and of the packet.
func inspectIP(head *[headLen]byte, b []byte, is4 bool, l *layout) (proto uint8, n int, why reason) {
	ether := binary.BigEndian.Uint16(head[atEtherType:])
	switch {
	case is4 && ether == etherIPv4:
		n, l.total, proto = int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:])), b[9]
	case b[0]>>4 == 6 && ether == etherIPv6 && len(b) >= wire.IPv6Len && b[6] == wire.ProtoTCP:
		n, l.total, proto = wire.IPv6Len, wire.IPv6Len+int(binary.BigEndian.Uint16(b[4:])), wire.ProtoTCP
	case b[0]>>4 == 6 && ether == etherIPv6:
		var ip wire.IP
		if wire.ParseIP(b, &ip) != nil {
			return 0, 0, badHeader
		}
		n, l.total, proto = ip.HeaderLen, ip.TotalLen, ip.Proto
	default:
		return 0, 0, notIP
	}
	if l.total > len(b) {
		return 0, 0, short
	}
	if n < wire.IPv4Len || n > l.total {
		return 0, 0, badHeader
	}
	return proto, n, fine
}

// putHead writes the head of the frame that carries packet p, whose headers stand
// in b, and makes the TCP checksum what the device expects: the sum of the
// pseudo-header, which it will complete.
func putHead(head *[headLen]byte, b []byte, p *pool.Packet, segSize int) {
	*head = [headLen]byte{}
	is4 := b[0]>>4 == 4
	ip, ether, gso := wire.IPv6Len, uint16(etherIPv6), byte(gsoTCPv6)
	addrs := b[8:40]
	if is4 {
		ip, ether, gso = wire.IPv4Len, etherIPv4, gsoTCPv4
		addrs = b[12:20]
	}
	binary.BigEndian.PutUint16(head[atEtherType:], ether)
	length := uint32(p.Header) + p.Payload - uint32(ip)
	sum := wire.Fold(wire.Sum(uint32(wire.ProtoTCP)+length, addrs))
	binary.BigEndian.PutUint16(b[ip+16:], sum)
	head[atFlags] = flagNeedsCsum
	binary.LittleEndian.PutUint16(head[atCsumStart:], uint16(etherLen+ip))
	binary.LittleEndian.PutUint16(head[atCsumOffset:], 16)
	binary.LittleEndian.PutUint16(head[atHdrLen:], etherLen+p.Header)
	if segSize > 0 && int(p.Payload) > segSize {
		if wire.Flags(b[ip+13])&wire.CWR != 0 {
			gso |= gsoECN
		}
		head[atGSOType] = gso
		binary.LittleEndian.PutUint16(head[atGSOSize:], uint16(segSize))
	}
}
