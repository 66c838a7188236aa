package nic

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// wire writes frames to the device of a host as if its kernel sent them.
type rawWire struct {
	fd       int
	src, dst net.HardwareAddr
}

func raw(t *testing.T, from, to *testnet.Namespace, device, peer string) rawWire {
	t.Helper()
	w := rawWire{fd: -1}
	mac := func(in *testnet.Namespace, name string) (a net.HardwareAddr) {
		in.Do(func() {
			i, err := net.InterfaceByName(name)
			must(t, err)
			a = i.HardwareAddr
		})
		return a
	}
	w.src, w.dst = mac(from, device), mac(to, peer)
	from.Do(func() {
		var err error
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		must(t, err)
		must(t, unix.Bind(w.fd, &unix.SockaddrLinklayer{Ifindex: from.Index(device)}))
	})
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w rawWire) write(t *testing.T, frame []byte) {
	t.Helper()
	_, err := unix.Write(w.fd, frame)
	must(t, err)
}

// segment writes a segment with the hosts' Ethernet addresses.
func (w rawWire) segment(t *testing.T, s segment) {
	t.Helper()
	change := s.ether
	s.ether = func(e *layers.Ethernet) {
		e.SrcMAC, e.DstMAC = w.src, w.dst
		if change != nil {
			change(e)
		}
	}
	w.write(t, s.frame(t))
}

// What is not ours, or may not be, goes on to the kernel.
func TestTheRestPasses(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{Deny: rules(t, "10.9.0.66", "*:83")})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("0.0.0.0:80")))
	must(t, p.Listen(endpoint("0.0.0.0:83")))
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
	w := raw(t, b, a, "vb", "va")
	type count = func(Counters) uint64
	passed := func(c Counters) uint64 { return c.Passed }
	strange := func(c Counters) uint64 { return c.Strange }
	fragments := func(c Counters) uint64 { return c.Fragments }
	denied := func(c Counters) uint64 { return c.Denied }
	delivered := func(c Counters) uint64 { return c.Delivered }
	for _, row := range []struct {
		name  string
		s     segment
		count count
	}{
		{"listener", segment{src: "10.9.0.2:5", dst: "10.9.0.1:80"}, delivered},
		{"flow", segment{src: "10.9.0.2:2000", dst: "10.9.0.1:1000"}, delivered},
		{"IP options", segment{src: "10.9.0.2:5", dst: "10.9.0.1:80", ipv4: func(h *layers.IPv4) {
			h.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
		}}, delivered},
		{"another port", segment{src: "10.9.0.2:5", dst: "10.9.0.1:84"}, passed},
		{"the flow's port, another peer", segment{src: "10.9.0.2:2001", dst: "10.9.0.1:1000"}, passed},
		{"not an address of this host", segment{src: "10.9.0.2:5", dst: "10.9.0.7:80"}, passed},
		{"first fragment", segment{src: "10.9.0.2:5", dst: "10.9.0.1:80", ipv4: func(h *layers.IPv4) { h.Flags = layers.IPv4MoreFragments }}, fragments},
		{"later fragment", segment{src: "10.9.0.2:5", dst: "10.9.0.1:80", ipv4: func(h *layers.IPv4) { h.FragOffset = 3 }}, fragments},
		{"UDP", segment{src: "10.9.0.2:5", dst: "10.9.0.1:80", ipv4: func(h *layers.IPv4) { h.Protocol = layers.IPProtocolUDP }}, passed},
		{"from loopback by a wire", segment{src: "127.0.0.1:5", dst: "10.9.0.1:80"}, strange},
		{"to loopback by a wire", segment{src: "10.9.0.2:5", dst: "127.0.0.1:80"}, strange},
		{"from this host by a wire", segment{src: "10.9.0.1:5", dst: "10.9.0.1:80"}, strange},
		{"from a group", segment{src: "224.0.0.9:5", dst: "10.9.0.1:80"}, strange},
		{"from everybody", segment{src: "255.255.255.255:5", dst: "10.9.0.1:80"}, strange},
		{"from nobody", segment{src: "0.0.0.0:5", dst: "10.9.0.1:80"}, strange},
		{"denied host", segment{src: "10.9.0.66:5", dst: "10.9.0.1:80"}, denied},
		{"denied port", segment{src: "10.9.0.2:5", dst: "10.9.0.1:83"}, denied},
		{"another host's Ethernet address", segment{src: "10.9.0.2:5", dst: "10.9.0.1:80", ether: func(e *layers.Ethernet) {
			e.DstMAC = net.HardwareAddr{2, 1, 1, 1, 1, 1}
		}}, passed},
		{"everybody's Ethernet address", segment{src: "10.9.0.2:5", dst: "10.9.0.1:80", ether: func(e *layers.Ethernet) {
			e.DstMAC = net.HardwareAddr{255, 255, 255, 255, 255, 255}
		}}, passed},
	} {
		before, err := m.Counters()
		must(t, err)
		row.s.payload = mark
		w.segment(t, row.s)
		if !soon(func() bool { c, err := m.Counters(); must(t, err); return row.count(c) > row.count(before) }) {
			c, _ := m.Counters()
			t.Errorf("%s: counters before %+v, after %+v", row.name, before, c)
		}
		c, err := m.Counters()
		must(t, err)
		got := read(t, p, 20*time.Millisecond)
		if arrived := c.Delivered - before.Delivered; (got != nil) != (arrived == 1) {
			t.Errorf("%s: counted as delivered %d times, the pool got %v", row.name, arrived, got)
		}
		if got != nil && (got.tcp() == nil || string(got.tcp().Payload) != mark) {
			t.Errorf("%s: the pool got %v", row.name, got.packet)
		}
		if sent := row.s.frame(t); got != nil && !bytes.Equal(got.frame[14:], sent[14:]) {
			t.Errorf("%s: it was changed on its way:\n%x\n%x", row.name, sent[14:], got.frame[14:])
		}
	}
}

// soon reports whether something becomes true.
func soon(is func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return is()
}

// Datagrams in fragments arrive at the kernel's sockets whole, though a pool has the port
// for TCP at all addresses.
func TestFragmentsAreUnharmed(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("[::]:80")))
	sent := make([]byte, 8000) // six fragments
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	for _, to := range []string{"10.9.0.1:80", "[fd09::1]:80"} {
		var at net.PacketConn
		var from net.Conn
		var err, err2 error
		a.Do(func() { at, err = net.ListenPacket("udp", to) })
		b.Do(func() { from, err2 = net.Dial("udp", to) })
		must(t, errors.Join(err, err2))
		defer at.Close()
		defer from.Close()
		before, err := m.Counters()
		must(t, err)
		_, err = from.Write(sent)
		must(t, err)
		must(t, at.SetReadDeadline(time.Now().Add(patience)))
		got := make([]byte, 1<<16)
		n, _, err := at.ReadFrom(got)
		must(t, err)
		if !bytes.Equal(got[:n], sent) {
			t.Errorf("%s: %d octets arrived, of %d, or others", to, n, len(sent))
		}
		if c, err := m.Counters(); err != nil || c.Passed+c.Fragments < before.Passed+before.Fragments+6 {
			t.Errorf("%s: counters %+v, before %+v, %v; want six more that passed", to, c, before, err)
		}
	}
	quiet(t, p)
}

// IPv6 extension headers that any host passes over do not hide a segment; others, and
// too many, are the kernel's.
func TestExtensionHeaders(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("[fd09::1]:80")))
	w := raw(t, b, a, "vb", "va")
	plain := segment{src: "[fd09::2]:5", dst: "[fd09::1]:80"}.frame(t)
	with := func(next ...byte) []byte {
		f := append(append(append([]byte{}, w.dst...), w.src...), plain[12:54]...)
		f[20] = next[0]
		f[19] = byte(20 + 8*len(next))
		for i := range next {
			h := [8]byte{6, 0, 1, 4} // PadN
			if i+1 < len(next) {
				h[0] = next[i+1]
			}
			f = append(f, h[:]...)
		}
		return append(f, plain[54:]...)
	}
	for _, row := range []struct {
		name string
		next []byte
		want bool
	}{
		{"hop by hop", []byte{0}, true},
		{"hop by hop, destination", []byte{0, 60}, true},
		{"four", []byte{0, 60, 60, 60}, true},
		{"five", []byte{0, 60, 60, 60, 60}, false},
		{"routing", []byte{43}, false},
		{"fragment", []byte{44}, false},
		{"authentication", []byte{51}, false},
	} {
		w.write(t, with(row.next...))
		if got := read(t, p, waitFor(row.want)); (got != nil) != row.want {
			t.Errorf("%s: the pool got %v", row.name, got)
		}
	}
}

// A tagged frame is its VLAN device's, and so is none of ours where it arrives.
func TestTaggedFramesPass(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("10.9.0.1:80")))
	w := raw(t, b, a, "vb", "va")
	f := segment{src: "10.9.0.2:5", dst: "10.9.0.1:80", ether: func(e *layers.Ethernet) { e.SrcMAC, e.DstMAC = w.src, w.dst }}.frame(t)
	w.write(t, append(append(append([]byte{}, f[:12]...), 0x81, 0, 0, 7), f[12:]...))
	quiet(t, p)
	if c, err := m.Counters(); err != nil || c.Tagged != 1 {
		t.Errorf("counters %+v, %v", c, err)
	}
}

// ICMP errors about a segment of a pool's go to it, and to the kernel too.
func TestICMPErrorsFindTheirPool(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p, other := newPool(t, m, 1), newPool(t, m, 2)
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.9:2000")))
	must(t, p.Connect(flow("[fd09::1]:1000", "[fd09::9]:2000")))
	must(t, other.Listen(endpoint("0.0.0.0:1000")))
	w := raw(t, b, a, "vb", "va")
	quoted := segment{src: "10.9.0.1:1000", dst: "10.9.0.9:2000", payload: mark}.frame(t)[14:]
	quoted6 := segment{src: "[fd09::1]:1000", dst: "[fd09::9]:2000", payload: mark}.frame(t)[14:]
	for _, row := range []struct {
		name  string
		frame []byte
		want  *Pool
	}{
		{"fragmentation needed", icmp4(t, w, 3, 4, quoted), p},
		{"as short as RFC 792 allows", icmp4(t, w, 3, 4, quoted[:28]), p},
		{"host unreachable", icmp4(t, w, 3, 1, quoted), p},
		{"time exceeded", icmp4(t, w, 11, 0, quoted), p},
		{"parameter problem", icmp4(t, w, 12, 0, quoted), p},
		{"to a listener's peer", icmp4(t, w, 3, 1, segment{src: "10.9.0.1:1000", dst: "10.9.0.2:9"}.frame(t)[14:]), other},
		{"echo", icmp4(t, w, 8, 0, quoted), nil},
		{"redirect", icmp4(t, w, 5, 0, quoted), nil},
		{"about another's segment", icmp4(t, w, 3, 1, segment{src: "10.9.0.7:1000", dst: "10.9.0.9:2000"}.frame(t)[14:]), nil},
		{"too short", icmp4(t, w, 3, 4, quoted[:22]), nil},
		{"packet too big", icmp6(t, w, 2, quoted6), p},
		{"unreachable, IPv6", icmp6(t, w, 1, quoted6), p},
		{"echo, IPv6", icmp6(t, w, 128, quoted6), nil},
	} {
		before, err := m.Counters()
		must(t, err)
		w.write(t, row.frame)
		for _, q := range []*Pool{p, other} {
			if got := read(t, q, 30*time.Millisecond); (got != nil) != (q == row.want) {
				t.Errorf("%s: %v got %v", row.name, q, got)
			}
		}
		if c, err := m.Counters(); err != nil || c.Passed == before.Passed {
			t.Errorf("%s: the kernel did not get it, %v", row.name, err)
		}
	}
	if c := counters(t, p); c.Errors != 7 {
		t.Errorf("counters %+v, want 7 errors", c)
	}
}

func icmp4(t *testing.T, w rawWire, typ, code uint8, quoted []byte) []byte {
	return serialize(t, &layers.Ethernet{SrcMAC: w.src, DstMAC: w.dst, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IPv4(10, 9, 0, 2), DstIP: net.IPv4(10, 9, 0, 1)},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, gopacket.Payload(quoted))
}

func icmp6(t *testing.T, w rawWire, typ uint8, quoted []byte) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("fd09::2"), DstIP: net.ParseIP("fd09::1")}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	icmp.SetNetworkLayerForChecksum(ip)
	return serialize(t, &layers.Ethernet{SrcMAC: w.src, DstMAC: w.dst, EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, gopacket.Payload(append(make([]byte, 4), quoted...)))
}

// A neighbour that is not there is reported as to a socket of the kernel's, whether lo
// is served or not.
func TestMissingNeighbourIsReported(t *testing.T) {
	t.Parallel()
	for _, devices := range [][]string{{"va", "lo"}, {"va"}} {
		t.Run(strings.Join(devices, ","), func(t *testing.T) { missingNeighbour(t, devices) })
	}
}

func missingNeighbour(t *testing.T, devices []string) {
	t.Parallel()
	m, _, _ := pair(t, Config{Devices: devices})
	p := newPool(t, m, 1)
	for _, row := range []struct{ local, remote string }{{"10.9.0.1:1000", "10.9.0.77:80"}, {"[fd09::1]:1000", "[fd09::77]:80"}} {
		must(t, p.Connect(flow(row.local, row.remote)))
		send(t, p, segment{src: row.local, dst: row.remote, tcp: layers.TCP{SYN: true}})
		r := read(t, p, patience)
		if r == nil || r.tcp() != nil || counters(t, p).Errors == 0 {
			t.Errorf("%s: got %v, %+v", row.remote, r, counters(t, p))
			continue
		}
		for read(t, p, 10*time.Millisecond) != nil {
		}
	}
}

// The checksum of a segment that the neighbour's kernel has not computed is marked so,
// and large segments come in one piece.
func TestOffloadsSurvive(t *testing.T) {
	t.Parallel()
	m, _, b := pair(t, Config{})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("10.9.0.1:80")))
	got := make(chan error, 1)
	go func() {
		c, err := b.Dial(&net.Dialer{Timeout: patience}, "tcp", "10.9.0.1:80")
		if err == nil {
			_, err = c.Write(make([]byte, 14000))
			defer c.Close()
		}
		got <- err
	}()
	s := want(t, p, "SYN", syn)
	if s.virtio[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM == 0 || s.virtio[6] != 34 || s.virtio[8] != 16 {
		t.Errorf("virtio header %x of a SYN over veth: want a partial checksum at 34+16", s.virtio)
	}
	answer(t, p, s)
	large := want(t, p, "large segment", func(x *layers.TCP) bool { return len(x.Payload) >= 2*536 })
	if large.virtio[1]&0x7f != unix.VIRTIO_NET_HDR_GSO_TCPV4 || large.virtio[4] == 0 {
		t.Errorf("virtio header %x of a segment of %d octets", large.virtio, len(large.tcp().Payload))
	}
	must(t, <-got)
}

// A connection that another pool has goes before a listener, and an address before all
// addresses.
func TestTheExactGoesFirst(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	all, one, conn := newPool(t, m, 1), newPool(t, m, 2), newPool(t, m, 3)
	must(t, all.Listen(endpoint("[::]:80")))
	must(t, one.Listen(endpoint("10.9.0.1:80")))
	must(t, conn.Connect(flow("10.9.0.1:80", "10.9.0.2:2000")))
	w := raw(t, b, a, "vb", "va")
	for _, row := range []struct {
		src, dst string
		want     *Pool
	}{
		{"10.9.0.2:2000", "10.9.0.1:80", conn},
		{"10.9.0.2:2001", "10.9.0.1:80", one},
		{"[fd09::2]:2000", "[fd09::1]:80", all},
	} {
		w.segment(t, segment{src: row.src, dst: row.dst, payload: mark})
		for _, p := range []*Pool{all, one, conn} {
			if got := read(t, p, waitFor(p == row.want)); (got != nil) != (p == row.want) {
				t.Errorf("%s to %s: %v got %v", row.src, row.dst, p, got)
			}
		}
	}
}

func TestWhatIsTakenIsTaken(t *testing.T) {
	t.Parallel()
	m, _, _ := pair(t, Config{Devices: []string{"va", "lo"}})
	p, q := newPool(t, m, 1), newPool(t, m, 2)
	must(t, p.Listen(endpoint("10.9.0.1:80")))
	must(t, p.Listen(endpoint("0.0.0.0:81")))
	must(t, p.Listen(endpoint("127.0.0.1:80")))
	must(t, p.Connect(flow("10.9.0.1:1", "10.9.0.2:2")))
	for _, row := range []struct {
		name string
		err  error
		want error
	}{
		{"address and port", q.Listen(endpoint("10.9.0.1:80")), unix.EADDRINUSE},
		{"both families, one taken", q.Listen(endpoint("[::]:81")), unix.EADDRINUSE},
		{"the other family, undone", q.Listen(endpoint("[fd09::1]:81")), nil},
		{"flow", q.Connect(flow("10.9.0.1:1", "10.9.0.2:2")), unix.EADDRINUSE},
		{"another's address", q.Listen(endpoint("10.9.0.2:90")), unix.EADDRNOTAVAIL},
		{"from another's address", q.Connect(flow("10.9.0.9:1", "10.9.0.2:2")), unix.EADDRNOTAVAIL},
		{"two families", q.Connect(flow("10.9.0.1:9", "[fd09::2]:2")), unix.EINVAL},
		{"no port", q.Listen(endpoint("10.9.0.1:0")), unix.EINVAL},
		{"what is not ours", q.Unlisten(endpoint("10.9.0.1:80")), unix.ENOENT},
		{"whose flow", q.Disconnect(flow("10.9.0.1:1", "10.9.0.2:2")), unix.ENOENT},
	} {
		if !errors.Is(row.err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, row.err, row.want)
		}
	}
	must(t, p.Close())
	must(t, q.Listen(endpoint("10.9.0.1:80")))
	must(t, q.Connect(flow("10.9.0.1:1", "10.9.0.2:2")))
	if err := p.Listen(endpoint("10.9.0.1:99")); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a pool that is closed listens: %v", err)
	}
	if err := m.Permit(netip.MustParseAddr("10.9.0.2"), 1); err != nil {
		t.Errorf("without rules: %v", err)
	}
}
