package nic

import (
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// A frame that comes back becomes what a router would say of it.
func TestFrameThatComesBack(t *testing.T) {
	for _, x := range []struct {
		name     string
		src, dst wire.Addr
	}{{"IPv4", from4, to4}, {"IPv6", from6, to6}} {
		t.Run(x.name, func(t *testing.T) {
			d, device := newDriver(t)
			f := good(x.src, x.dst, 3000)
			f.gso(gsoTCPv4, 1460) // as it may still say
			copy(f.head[atWayBack:], "\x02big\x05\x78")
			ip := wire.IP{}
			check(t, wire.ParseIP(f.packet, &ip))
			var h wire.TCP
			n, err := wire.ParseTCP(f.packet[ip.HeaderLen:], &h)
			check(t, err)
			f.packet = f.packet[:ip.HeaderLen+n]
			inject(t, device, f)
			var p pool.Packet
			if !d.Receive(&p) {
				t.Fatalf("not received: %+v", d.Counters())
			}
			var said wire.IP
			b := p.Data[:p.Header+p.Inline]
			check(t, wire.ParseIP(b, &said))
			if said.Src != x.src || said.Dst != x.src || said.TotalLen != len(b) {
				t.Errorf("%+v, %d octets", said, len(b))
			}
			var m wire.ICMP
			if !wire.ICMPChecksumOK(&said.Src, &said.Dst, b[said.HeaderLen:]) {
				t.Error("wrong checksum")
			}
			check(t, wire.ParseICMP(b[said.HeaderLen:], &m))
			if mtu, ok := m.TooBig(); !ok || mtu != 1400 {
				t.Errorf("it says %d, %v", mtu, ok)
			}
			if m.Quoted.Src != x.src || m.Quoted.Dst != x.dst || m.SrcPort != h.SrcPort || m.DstPort != h.DstPort || uint32(m.Seq) != uint32(h.Seq) {
				t.Errorf("it quotes %+v", m)
			}
		})
	}
}

// Frames with the mark that can't have been ours are passed over.
func TestFrameThatComesBackDamaged(t *testing.T) {
	d, device := newDriver(t)
	for n, cut := range []func(*frame){
		func(f *frame) { f.packet = f.packet[:25] },
		func(f *frame) { f.packet = f.packet[:1] },
		func(f *frame) { f.packet[0] = 0x20 },
		func(f *frame) { f.packet[0] = 0x4f },
	} {
		f := good(from4, to4, 0)
		copy(f.head[atWayBack:], "\x02big\x05\x78")
		cut(f)
		inject(t, device, f)
		var p pool.Packet
		if d.Receive(&p) {
			t.Errorf("frame %d is taken: %x", n, p.Data[:p.Header])
		}
	}
	f := good(from4, to4, 0)
	copy(f.head[atWayBack:], "\x02big\x00\x00") // says nothing
	inject(t, device, f)
	var p pool.Packet
	if !d.Receive(&p) || p.Data[9] != wire.ProtoTCP {
		t.Error("a frame without an MTU is no segment any more")
	}
}
