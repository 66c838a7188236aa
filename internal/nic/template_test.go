package nic

import (
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// sniff makes what leaves a host visible: everything that arrives at the other end, as
// a packet socket gets it.
func sniff(t *testing.T, in *testnet.Namespace, device string) int {
	t.Helper()
	fd := -1
	in.Do(func() {
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK, int(keyPort(unix.ETH_P_ALL)))
		must(t, err)
		must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: keyPort(unix.ETH_P_ALL), Ifindex: in.Index(device)}))
	})
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// seen returns how many frames with mark the socket has got meanwhile: it waits for
// want of them, and a moment for none.
func seen(t *testing.T, fd int, mark string, want int) (n int) {
	t.Helper()
	buf := make([]byte, 1<<17)
	wait := 20 * time.Millisecond
	if want > 0 {
		wait = patience
	}
	for end := time.Now().Add(wait); time.Now().Before(end) && (want == 0 || n < want); {
		k, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EAGAIN {
			time.Sleep(time.Millisecond)
			continue
		}
		must(t, err)
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if containsMark(buf[:k], mark) {
			n++
		}
	}
	return n
}

func containsMark(b []byte, mark string) bool {
	for i := range b {
		if len(b)-i >= len(mark) && string(b[i:i+len(mark)]) == mark {
			return true
		}
	}
	return false
}

const mark = "a payload that is looked for"

// hostile are frames that a program may write to its TAP's descriptor. The pool owns
// the listener 10.9.0.1:80 and [fd09::1]:80, and the flow from 10.9.0.1:1000 to
// 10.9.0.2:2000; another pool the listener at port 81 and the flow from port 80 to
// 10.9.0.2:2001.
var hostile = []struct {
	name  string
	s     segment
	count func(PoolCounters) uint64 // that must have risen; nil: the frame leaves
}{
	{"listener's source", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5"}, nil},
	{"flow's source and peer", segment{src: "10.9.0.1:1000", dst: "10.9.0.2:2000"}, nil},
	{"IPv6 listener's source", segment{src: "[fd09::1]:80", dst: "[fd09::2]:5"}, nil},
	{"partial checksum", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", virtio: partial(34, 16)}, nil},
	{"another port", segment{src: "10.9.0.1:82", dst: "10.9.0.2:5"}, foreign},
	{"another pool's listener", segment{src: "10.9.0.1:81", dst: "10.9.0.2:5"}, foreign},
	{"another pool's flow, though the listener is ours", segment{src: "10.9.0.1:80", dst: "10.9.0.2:2001"}, foreign},
	{"flow's source, another peer", segment{src: "10.9.0.1:1000", dst: "10.9.0.2:2002"}, foreign},
	{"another host's address", segment{src: "10.9.0.9:80", dst: "10.9.0.2:5"}, foreign},
	{"the peer's address", segment{src: "10.9.0.2:80", dst: "10.9.0.2:5"}, foreign},
	{"another host's IPv6 address", segment{src: "[fd09::9]:80", dst: "[fd09::2]:5"}, foreign},
	{"loopback's address", segment{src: "127.0.0.1:80", dst: "10.9.0.2:5"}, foreign},
	{"IP options", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", ipv4: func(h *layers.IPv4) {
		h.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	}}, malformed},
	{"fragment", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", ipv4: func(h *layers.IPv4) { h.Flags = layers.IPv4MoreFragments }}, malformed},
	{"later fragment", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", ipv4: func(h *layers.IPv4) { h.FragOffset = 3 }}, malformed},
	{"UDP", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", ipv4: func(h *layers.IPv4) { h.Protocol = layers.IPProtocolUDP }}, malformed},
	{"ICMP", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", ipv4: func(h *layers.IPv4) { h.Protocol = layers.IPProtocolICMPv4 }}, malformed},
	{"ARP", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", ether: func(e *layers.Ethernet) { e.EthernetType = layers.EthernetTypeARP }}, malformed},
	{"checksum over the source address", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", virtio: partial(14, 12)}, malformed},
	{"checksum into the source port", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", virtio: partial(34, 0)}, malformed},
	{"checksum into the payload", segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", virtio: partial(36, 16)}, malformed},
	{"broadcast", segment{src: "10.9.0.1:80", dst: "255.255.255.255:5"}, noRoute},
	{"the net's broadcast", segment{src: "10.9.0.1:80", dst: "10.9.0.255:5"}, noRoute},
	{"multicast", segment{src: "10.9.0.1:80", dst: "224.0.0.1:5"}, noRoute},
	{"no route", segment{src: "10.9.0.1:80", dst: "192.0.2.1:5"}, noRoute},
	{"inside, without lo", segment{src: "10.9.0.1:80", dst: "10.9.0.1:5"}, unserved},
	{"to loopback, without lo", segment{src: "10.9.0.1:80", dst: "127.0.0.1:5"}, unserved},
	{"by a device that is not served", segment{src: "10.9.0.1:80", dst: "10.8.0.2:5"}, unserved},
	{"denied peer of a listener", segment{src: "10.9.0.1:80", dst: "10.9.0.66:5"}, denied},
	{"denied port of a listener", segment{src: "10.9.0.1:83", dst: "10.9.0.2:5"}, denied},
}

func foreign(c PoolCounters) uint64   { return c.Foreign }
func malformed(c PoolCounters) uint64 { return c.Malformed }
func noRoute(c PoolCounters) uint64   { return c.NoRoute }
func unserved(c PoolCounters) uint64  { return c.Unserved }
func denied(c PoolCounters) uint64    { return c.Denied }
func tooBig(c PoolCounters) uint64    { return c.TooBig }
func out(c PoolCounters) uint64       { return c.Out }

// fenced is a host with two pools, and another device that is not served.
func fenced(t *testing.T) (p *Pool, b *testnet.Namespace) {
	m, a, b := pair(t, Config{Deny: rules(t, "10.9.0.66", "*:83")})
	testnet.Join(testnet.Wire{A: testnet.End{In: a, Name: "vc", Addrs: []string{"10.8.0.1/24"}}, B: testnet.End{In: b, Name: "vd", Addrs: []string{"10.8.0.2/24"}}})
	p, other := newPool(t, m, 1), newPool(t, m, 2)
	for _, l := range []string{"10.9.0.1:80", "[fd09::1]:80", "10.9.0.1:83"} {
		must(t, p.Listen(endpoint(l)))
	}
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
	must(t, other.Listen(endpoint("10.9.0.1:81")))
	must(t, other.Connect(flow("10.9.0.1:80", "10.9.0.2:2001")))
	return p, b
}

func TestHostileFramesGetNowhere(t *testing.T) {
	t.Parallel()
	p, b := fenced(t)
	vb, vd := sniff(t, b, "vb"), sniff(t, b, "vd")
	// The neighbours are known before.
	send(t, p, segment{src: "10.9.0.1:80", dst: "10.9.0.2:5"})
	send(t, p, segment{src: "[fd09::1]:80", dst: "[fd09::2]:5"})
	time.Sleep(200 * time.Millisecond)
	for _, row := range hostile {
		count, leaves := row.count, 0
		if count == nil {
			count, leaves = out, 1
		}
		before := count(counters(t, p))
		row.s.payload = mark
		if _, err := p.File().Write(append(row.s.virtio[:], row.s.frame(t)...)); err != nil {
			t.Logf("%s: the kernel does not take it: %v", row.name, err)
			leaves, count = 0, func(PoolCounters) uint64 { return before + 1 }
		}
		what := mark
		if leaves == 1 && row.s.virtio == [HeaderLen]byte{} { // nothing is changed on its way
			what = string(row.s.frame(t)[14:])
		}
		if n := seen(t, vb, what, leaves) + seen(t, vd, mark, 0); n != leaves {
			t.Errorf("%s: %d frames at the other end, want %d", row.name, n, leaves)
		}
		if n := count(counters(t, p)) - before; n != 1 {
			t.Errorf("%s: counted %d times, %+v", row.name, n, counters(t, p))
		}
	}
}

// Frames that no packet library makes.
func TestRawHostileFrames(t *testing.T) {
	t.Parallel()
	p, b := fenced(t)
	vb := sniff(t, b, "vb")
	send(t, p, segment{src: "10.9.0.1:80", dst: "10.9.0.2:5"})
	time.Sleep(100 * time.Millisecond)
	good := segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", payload: mark}.frame(t)
	change := func(f func(b []byte)) []byte {
		b := append([]byte{}, good...)
		f(b)
		return b
	}
	tagged := append(append(append([]byte{}, good[:12]...), 0x81, 0, 0, 7), good[12:]...)
	for name, frame := range map[string][]byte{
		"VLAN tag":                     tagged,
		"octets behind the packet":     append(append([]byte{}, good...), 1, 2, 3),
		"packet longer than the frame": change(func(b []byte) { b[17]++ }),
		"IP version 6 as IPv4":         change(func(b []byte) { b[14] = 0x65 }),
		"short IP header":              change(func(b []byte) { b[14] = 0x44 }),
		"short TCP header":             change(func(b []byte) { b[46] = 0x40 }),
		"TCP header beyond the packet": change(func(b []byte) { b[46] = 0xf0; b[17] = 50 })[:14+50],
		"nothing behind the Ethernet":  good[:14],
		"half an IP header":            good[:24],
		"half a TCP header":            change(func(b []byte) { b[17] = 30 })[:14+30],
	} {
		before := counters(t, p)
		_, err := p.File().Write(append(make([]byte, HeaderLen), frame...))
		after := counters(t, p)
		if err == nil && after.Malformed != before.Malformed+1 || after.Out != before.Out {
			t.Errorf("%s: written with error %v, counters before %+v and after %+v", name, err, before, after)
		}
		if n := seen(t, vb, mark, 0); n != 0 {
			t.Errorf("%s: it left", name)
		}
	}
}

// Frames beyond the device's MTU do not leave; those that the kernel is to cut do.
func TestMTUHolds(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("10.9.0.1:80")))
	must(t, p.Listen(endpoint("[fd09::1]:80")))
	payload := make([]byte, 1461)
	big := segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", payload: string(payload)}
	fits := segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", payload: string(payload[:1460])}
	cut := segment{src: "10.9.0.1:80", dst: "10.9.0.2:5", payload: string(make([]byte, 40000)), virtio: gso(unix.VIRTIO_NET_HDR_GSO_TCPV4, 1460, 34)}
	cut6 := segment{src: "[fd09::1]:80", dst: "[fd09::2]:5", payload: string(make([]byte, 40000)), virtio: gso(unix.VIRTIO_NET_HDR_GSO_TCPV6, 1440, 54)}
	cutBig := cut
	cutBig.virtio = gso(unix.VIRTIO_NET_HDR_GSO_TCPV4, 1461, 34)
	for _, row := range []struct {
		name  string
		s     segment
		count func(PoolCounters) uint64
	}{{"too big", big, tooBig}, {"fits", fits, out}, {"cut", cut, out}, {"cut, IPv6", cut6, out}, {"cut into pieces too big", cutBig, tooBig}} {
		before := row.count(counters(t, p))
		send(t, p, row.s)
		if row.count(counters(t, p)) != before+1 {
			t.Errorf("%s: %+v", row.name, counters(t, p))
		}
	}
	a.MTU("va", 1400)
	b.MTU("vb", 1400)
	if !soon(func() bool {
		before := counters(t, p).TooBig
		send(t, p, fits)
		return counters(t, p).TooBig == before+1
	}) {
		t.Error("a smaller MTU does not count")
	}
}

// gso makes the virtio header of a segment that the kernel cuts into pieces of size
// octets; start is where the TCP header begins.
func gso(kind byte, size, start uint16) [HeaderLen]byte {
	h := partial(start, 16)
	h[1] = kind
	h[2], h[3] = byte(start+20), byte((start+20)>>8)
	h[4], h[5] = byte(size), byte(size>>8)
	return h
}
