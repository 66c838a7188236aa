package nic

import (
	"encoding/binary"

	"usertcp/internal/wire"
)

// A frame of ours that the way does not carry any more, since a device's MTU or a route
// has changed, comes back: cut down to its headers, and with 2 'b' 'i' 'g' and the MTU of
// the way for an Ethernet source address. The driver makes the ICMP message of it that a
// router behind the device would have sent, and the halves deal with that.

// tooLarge returns the MTU that a frame which has come back says, 0 if it is none.
func tooLarge(head *[headLen]byte) uint16 {
	if [4]byte(head[atWayBack:]) != [4]byte{2, 'b', 'i', 'g'} {
		return 0
	}
	return binary.BigEndian.Uint16(head[atWayBack+4:])
}

// complain puts the ICMP message in the place of a packet that has come back, the first n
// octets of b, and returns its length: 0 if it is no TCP segment. b has room behind n.
func complain(head *[headLen]byte, b []byte, n int, mtu uint16) int {
	var m wire.ICMP
	if m.TooBigFor(b[:n], mtu) != nil {
		return 0
	}
	ip := wire.IP{Src: m.Quoted.Src, Dst: m.Quoted.Src, Proto: wire.ProtoICMP, TTL: 64}
	if m.V6 {
		ip.Proto = wire.ProtoICMPv6
	}
	var body [wire.MaxICMPLen]byte
	k := m.Emit(body[:], &ip.Src, &ip.Dst)
	clear(head[:virtioLen])
	at := ip.Emit(b, k)
	return at + copy(b[at:], body[:k])
}
