package nic

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
	"usertcp/internal/wire"
)

// open starts a manager in a namespace; it ends with the test.
func open(t *testing.T, in *testnet.Namespace, c Config) *Manager {
	t.Helper()
	m, err := tryOpen(t, in, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func tryOpen(t testing.TB, in *testnet.Namespace, c Config) (m *Manager, err error) {
	if c.Pins == "" {
		c.Pins = filepath.Join(t.TempDir(), "bpf")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	in.Do(func() { m, err = Open(c) })
	return m, err
}

func newPool(t *testing.T, m *Manager, vci wire.VCI) *Pool {
	t.Helper()
	p, err := m.NewPool(vci)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pair is two hosts on a wire, one of them served.
func pair(t *testing.T, c Config) (m *Manager, a, b *testnet.Namespace) {
	t.Helper()
	a, b = testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 1500)
	if c.Devices == nil {
		c.Devices = []string{"va"}
	}
	return open(t, a, c), a, b
}

func endpoint(s string) wire.Endpoint { return wire.EndpointFrom(netip.MustParseAddrPort(s)) }

func flow(local, remote string) wire.Flow {
	return wire.Flow{Local: endpoint(local), Remote: endpoint(remote)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// segment is a TCP segment as a test wants it.
type segment struct {
	src, dst string // address and port
	tcp      layers.TCP
	payload  string
	ipv4     func(*layers.IPv4) // changes the header
	virtio   [HeaderLen]byte
	ether    func(*layers.Ethernet)
}

// frame returns the segment in an Ethernet frame.
func (s segment) frame(t testing.TB) []byte {
	t.Helper()
	src, dst := netip.MustParseAddrPort(s.src), netip.MustParseAddrPort(s.dst)
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
	tcp := s.tcp
	tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(src.Port()), layers.TCPPort(dst.Port()), 65535
	var ip gopacket.SerializableLayer
	if src.Addr().Is4() {
		h := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
		if s.ipv4 != nil {
			s.ipv4(h)
		}
		tcp.SetNetworkLayerForChecksum(h)
		ip = h
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		h := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
		tcp.SetNetworkLayerForChecksum(h)
		ip = h
	}
	if s.ether != nil {
		s.ether(eth)
	}
	b := serialize(t, eth, ip, &tcp, gopacket.Payload(s.payload))
	if src.Addr().Is4() { // without what fills up a short Ethernet frame
		return b[:14+binary.BigEndian.Uint16(b[16:])]
	}
	return b
}

func serialize(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	return buf.Bytes()
}

// send writes a segment to the pool's TAP, as its processes would.
func send(t *testing.T, p *Pool, s segment) {
	t.Helper()
	sendFrame(t, p, s.virtio, s.frame(t))
}

func sendFrame(t *testing.T, p *Pool, virtio [HeaderLen]byte, frame []byte) {
	t.Helper()
	if _, err := p.File().Write(append(virtio[:], frame...)); err != nil {
		t.Fatal(err)
	}
}

// received is a frame that a pool got.
type received struct {
	virtio [HeaderLen]byte
	frame  []byte
	packet gopacket.Packet
}

func (r *received) tcp() *layers.TCP {
	l, _ := r.packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return l
}

// await waits for a time until a descriptor has something to be read.
func await(fd int, within time.Duration) (err error) {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	err = unix.EINTR // by a signal of the Go runtime's
	for end := time.Now().Add(within); err == unix.EINTR; {
		_, err = unix.Poll(ready, int(max(0, time.Until(end)/time.Millisecond)))
	}
	return err
}

// read returns the next frame within a time, or nil.
func read(t *testing.T, p *Pool, within time.Duration) *received {
	t.Helper()
	buf, n := make([]byte, 1<<17), 0
	raw, err := p.File().SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		if err = await(int(fd), within); err == nil {
			n, err = unix.Read(int(fd), buf)
		}
	}))
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	must(t, err)
	r := &received{virtio: [HeaderLen]byte(buf), frame: buf[HeaderLen:n]}
	r.packet = gopacket.NewPacket(r.frame, layers.LayerTypeEthernet, gopacket.Default)
	return r
}

// patience bounds every wait for what must happen. It costs nothing if that does.
const patience = time.Minute

// waitFor is how long to wait for a frame that is to come, or for none.
func waitFor(comes bool) time.Duration {
	if comes {
		return patience
	}
	return 30 * time.Millisecond
}

// want reads frames until there is a TCP segment with what is asked for.
func want(t *testing.T, p *Pool, what string, is func(*layers.TCP) bool) *received {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		r := read(t, p, time.Until(end))
		if r != nil && r.tcp() != nil && is(r.tcp()) {
			return r
		}
	}
	t.Fatalf("%v: no %s", p, what)
	return nil
}

func syn(s *layers.TCP) bool    { return s.SYN && !s.ACK }
func synAck(s *layers.TCP) bool { return s.SYN && s.ACK }
func reset(s *layers.TCP) bool  { return s.RST }

// quiet makes sure that no TCP segment comes.
func quiet(t *testing.T, p *Pool) {
	t.Helper()
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		if r := read(t, p, time.Until(end)); r != nil && r.tcp() != nil {
			t.Errorf("%v: got %v", p, r.packet)
		}
	}
}

// partial makes the virtio header for a TCP checksum that begins at offset start.
func partial(start, offset uint16) (h [HeaderLen]byte) {
	h[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	binary.LittleEndian.PutUint16(h[6:], start)
	binary.LittleEndian.PutUint16(h[8:], offset)
	return h
}

// dialed says how a connection attempt of the kernel ended.
func dialed(in *testnet.Namespace, addr string) error {
	c, err := in.Dial(&net.Dialer{Timeout: patience}, "tcp", addr)
	if err == nil {
		c.Close()
	}
	return err
}

func counters(t *testing.T, p *Pool) PoolCounters {
	t.Helper()
	c, err := p.Counters()
	must(t, err)
	return c
}

// answer sends the SYN+ACK to a SYN.
func answer(t *testing.T, p *Pool, r *received) {
	t.Helper()
	local, remote := ends(r)
	send(t, p, segment{src: local, dst: remote, tcp: layers.TCP{SYN: true, ACK: true, Seq: 1000, Ack: r.tcp().Seq + 1}})
}

// ends returns a received segment's destination and source, with ports.
func ends(r *received) (local, remote string) {
	n, s := r.packet.NetworkLayer().NetworkFlow(), r.tcp()
	src, dst := n.Endpoints()
	port := func(a gopacket.Endpoint, p layers.TCPPort) string {
		ip, _ := netip.AddrFromSlice(a.Raw())
		return netip.AddrPortFrom(ip, uint16(p)).String()
	}
	return port(dst, s.DstPort), port(src, s.SrcPort)
}
