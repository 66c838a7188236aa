package nic

import (
	"encoding/binary"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// frame is a frame to be tried, right until a test changes it.
type frame struct {
	head   [headLen]byte
	packet []byte
}

var (
	from4, to4 = addr("10.9.0.1"), addr("10.9.0.2")
	from6, to6 = addr("fd09::1"), addr("fd09::2")
)

func addr(s string) wire.Addr {
	e, err := parseAddr(s)
	if err != nil {
		panic(err)
	}
	return e
}

// segment returns headers and payload of a TCP packet.
func segment(src, dst wire.Addr, payload int) []byte {
	h := wire.TCP{SrcPort: 4000, DstPort: 80, Seq: 7, Flags: wire.ACK, Options: wire.Options{Present: wire.HasTimestamps}}
	ip := wire.IP{Src: src, Dst: dst, Proto: wire.ProtoTCP, TTL: 64, DontFragment: true}
	b := make([]byte, wire.IPv6Len+h.Len()+payload)
	n := ip.Emit(b, h.Len()+payload)
	b = b[:n+h.Len()+payload]
	h.Emit(b[n:])
	for i := range payload {
		b[n+h.Len()+i] = byte(i)
	}
	h.Checksum = wire.TCPChecksum(&src, &dst, b[n:n+h.Len()], [][]byte{b[n+h.Len():]})
	h.Emit(b[n:])
	return b
}

func good(src, dst wire.Addr, payload int) *frame {
	f := &frame{packet: segment(src, dst, payload)}
	ether := uint16(etherIPv6)
	if src.Is4() {
		ether = etherIPv4
	}
	binary.BigEndian.PutUint16(f.head[atEtherType:], ether)
	return f
}

func (f *frame) gso(kind byte, size uint16) {
	f.head[atFlags], f.head[atGSOType] = flagNeedsCsum, kind
	binary.LittleEndian.PutUint16(f.head[atGSOSize:], size)
}

func TestFramesAreInspected(t *testing.T) {
	for _, row := range []struct {
		name   string
		six    bool
		change func(f *frame)
		want   reason
		layout layout
	}{
		{"IPv4", false, func(*frame) {}, fine, layout{total: 1052, header: 52, verify: true}},
		{"IPv6", true, func(*frame) {}, fine, layout{total: 1072, header: 72, verify: true}},
		{"a partial checksum", false, func(f *frame) { f.head[atFlags] = flagNeedsCsum }, fine, layout{total: 1052, header: 52}},
		{"a checksum that a device has verified", false, func(f *frame) { f.head[atFlags] = flagDataValid }, fine, layout{total: 1052, header: 52}},
		{"several segments", false, func(f *frame) { f.gso(gsoTCPv4, 500) }, fine, layout{total: 1052, header: 52, segSize: 500}},
		{"several segments, IPv6", true, func(f *frame) { f.gso(gsoTCPv6, 500) }, fine, layout{total: 1072, header: 72, segSize: 500}},
		{"several segments with CWR", false, func(f *frame) { f.gso(gsoTCPv4|gsoECN, 500) }, fine, layout{total: 1052, header: 52, segSize: 500}},
		{"padding", false, func(f *frame) { f.packet = append(f.packet, 0, 0, 0) }, fine, layout{total: 1052, header: 52, verify: true}},
		{"segments of the other family", false, func(f *frame) { f.gso(gsoTCPv6, 500) }, badGSO, layout{}},
		{"datagrams", false, func(f *frame) { f.gso(3, 500) }, badGSO, layout{}},
		{"segments of no size", false, func(f *frame) { f.gso(gsoTCPv4, 0) }, badGSO, layout{}},
		{"segments of another protocol", false, func(f *frame) { f.gso(gsoTCPv4, 500); f.packet[9] = wire.ProtoICMP }, badGSO, layout{}},
		{"ARP", false, func(f *frame) { binary.BigEndian.PutUint16(f.head[atEtherType:], 0x0806) }, notIP, layout{}},
		{"IPv4 that is called IPv6", false, func(f *frame) { binary.BigEndian.PutUint16(f.head[atEtherType:], etherIPv6) }, notIP, layout{}},
		{"IPv6 that is called IPv4", true, func(f *frame) { binary.BigEndian.PutUint16(f.head[atEtherType:], etherIPv4) }, notIP, layout{}},
		{"version 5", false, func(f *frame) { f.packet[0] = 0x55 }, notIP, layout{}},
		{"nothing", false, func(f *frame) { f.packet = nil }, short, layout{}},
		{"less than the header says", false, func(f *frame) { f.packet = f.packet[:1051] }, short, layout{}},
		{"less than the header says, IPv6", true, func(f *frame) { f.packet = f.packet[:1071] }, short, layout{}},
		{"an IPv6 header cut off", true, func(f *frame) { f.packet = f.packet[:39] }, badHeader, layout{}},
		{"a short header length", false, func(f *frame) { f.packet[0] = 0x44 }, badHeader, layout{}},
		{"a total length below the header", false, func(f *frame) { f.packet[2], f.packet[3] = 0, 19 }, badHeader, layout{}},
		{"no room for the ports", false, func(f *frame) { f.packet[2], f.packet[3] = 0, 30 }, badHeader, layout{}},
		{"a TCP header beyond the end", false, func(f *frame) { f.packet[2], f.packet[3] = 0, 45 }, badHeader, layout{}},
		{"extension headers that make no sense", true, func(f *frame) { f.packet[6], f.packet[41] = 0, 255 }, badHeader, layout{}},
		{"ICMP", false, func(f *frame) { f.packet[9] = wire.ProtoICMP }, fine, layout{total: 1052, header: 20, verify: true}},
		{"ICMPv6", true, func(f *frame) { f.packet[6] = wire.ProtoICMPv6 }, fine, layout{total: 1072, header: 40, verify: true}},
	} {
		f := good(from4, to4, 1000)
		if row.six {
			f = good(from6, to6, 1000)
		}
		row.change(f)
		var l layout
		if why := inspect(&f.head, f.packet, &l); why != row.want || why == fine && l != row.layout {
			t.Errorf("%s: reason %d, %+v; want %d, %+v", row.name, why, l, row.want, row.layout)
		}
	}
}

// What is sent passes the inspection of what is received, and says of itself what
// was meant.
func TestWhatIsSentIsRight(t *testing.T) {
	for _, row := range []struct {
		src, dst wire.Addr
		payload  int
		segSize  int
	}{{from4, to4, 1000, 0}, {from6, to6, 1000, 0}, {from4, to4, 3000, 1448}, {from6, to6, 3000, 1428}, {from4, to4, 1448, 1448}} {
		b := segment(row.src, row.dst, row.payload)
		header := len(b) - row.payload
		p := pool.Packet{Header: uint16(header), Payload: uint32(row.payload)}
		var head [headLen]byte
		putHead(&head, b, &p, row.segSize)
		var l layout
		if why := inspect(&head, b, &l); why != fine || l.header != header || l.verify {
			t.Errorf("%+v: reason %d, %+v", row, why, l)
		}
		want := 0
		if row.payload > row.segSize {
			want = row.segSize
		}
		if l.segSize != want {
			t.Errorf("%+v: segments of %d octets, want %d", row, l.segSize, want)
		}
		// The device adds up everything from csum_start on.
		start := int(binary.LittleEndian.Uint16(head[atCsumStart:])) - etherLen
		offset := int(binary.LittleEndian.Uint16(head[atCsumOffset:]))
		sum := ^wire.Fold(wire.Sum(0, b[start:]))
		binary.BigEndian.PutUint16(b[start+offset:], sum)
		if !wire.TCPChecksumOK(&row.src, &row.dst, b[start:header], [][]byte{b[header:]}) {
			t.Errorf("%+v: the checksum that the device makes is wrong", row)
		}
	}
}

func TestCWRIsSaidInTheHead(t *testing.T) {
	b := segment(from4, to4, 3000)
	b[20+13] |= byte(wire.CWR)
	var head [headLen]byte
	putHead(&head, b, &pool.Packet{Header: 52, Payload: 3000}, 1000)
	if head[atGSOType] != gsoTCPv4|gsoECN {
		t.Errorf("gso_type %#x", head[atGSOType])
	}
}

func FuzzInspect(f *testing.F) {
	for _, x := range []*frame{good(from4, to4, 100), good(from6, to6, 100), good(from4, to4, 0)} {
		f.Add(append(x.head[:], x.packet...))
	}
	ext := good(from6, to6, 100)
	ext.packet[6], ext.packet[40], ext.packet[41] = 0, wire.ProtoTCP, 0
	f.Add(append(ext.head[:], ext.packet...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headLen {
			return
		}
		var l layout
		head := (*[headLen]byte)(b)
		if inspect(head, b[headLen:], &l) != fine {
			return
		}
		if l.header < wire.IPv4Len || l.header > l.total || l.total > len(b)-headLen || l.header > pool.MaxData {
			t.Errorf("%d octets of headers, %d in all, of %d", l.header, l.total, len(b)-headLen)
		}
		if l.segSize < 0 || (l.segSize > 0) != (head[atGSOType]&^gsoECN != 0) {
			t.Errorf("segments of %d octets, gso_type %d", l.segSize, head[atGSOType])
		}
	})
}

func TestWayBack(t *testing.T) {
	d, device := newDriver(t)
	for _, x := range []struct {
		source string
		want   uint16
	}{
		{"\x02way\x05\xdc", 1500},
		{"\x02way\xff\xff", 65535},
		{"\x02way\x00\x00", 0},
		{"\x02wax\x05\xdc", 0},
		{"\x00\x00\x00\x00\x05\xdc", 0},
	} {
		f := good(from4, to4, 0)
		copy(f.head[atWayBack:], x.source)
		inject(t, device, f)
		var p pool.Packet
		if !d.Receive(&p) {
			t.Fatal("not received")
		}
		if p.PathMTU != x.want {
			t.Errorf("%x: MTU %d, want %d", x.source, p.PathMTU, x.want)
		}
	}
}
