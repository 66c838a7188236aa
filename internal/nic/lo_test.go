package nic

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// ownAddrs are the addresses by which a host of pair knows itself.
var ownAddrs = []string{"10.9.0.1", "127.0.0.1", "127.1.2.3", "fd09::1", "::1"}

// A client of the kernel's reaches a pool's listener on the same host, and the pool
// the kernel's client.
func TestKernelReachesPoolInside(t *testing.T) {
	t.Parallel()
	m, a, _ := pair(t, Config{Devices: []string{"va", "lo"}})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("[::]:80")))
	for _, addr := range ownAddrs {
		done := make(chan error, 1)
		go func() { done <- dialed(a, net.JoinHostPort(addr, "80")) }()
		s := want(t, p, "SYN to "+addr, func(s *layers.TCP) bool { return syn(s) && s.DstPort == 80 })
		answer(t, p, s)
		if err := <-done; err != nil {
			t.Errorf("%s: %v, %+v", addr, err, counters(t, p))
		}
	}
}

// A pool reaches a listener of the kernel's on the same host: handshake, a line, and
// the kernel's echo of it.
func TestPoolReachesKernelInside(t *testing.T) {
	t.Parallel()
	m, a, _ := pair(t, Config{Devices: []string{"va", "lo"}})
	p := newPool(t, m, 1)
	for i, addr := range ownAddrs {
		l := a.Listen("tcp", net.JoinHostPort(addr, "0"))
		go func() {
			if c, err := l.Accept(); err == nil {
				io.Copy(c, c)
			}
		}()
		r, err := m.Route(netip.MustParseAddr(addr))
		if err != nil || !r.Local || r.Device != "lo" || r.MTU != 65535 {
			t.Errorf("%s: route %+v, %v", addr, r, err)
		}
		local := net.JoinHostPort(r.Source.String(), fmt.Sprint(1000+i))
		echo(t, p, local, l.Addr().String())
	}
}

// echo speaks TCP by hand with an echo server.
func echo(t *testing.T, p *Pool, local, remote string) {
	t.Helper()
	must(t, p.Connect(flow(local, remote)))
	s := segment{src: local, dst: remote}
	mine := func(is func(*layers.TCP) bool) func(*layers.TCP) bool {
		return func(x *layers.TCP) bool { return x.DstPort == layers.TCPPort(endpoint(local).Port) && is(x) }
	}
	s.tcp = layers.TCP{SYN: true, Seq: 1}
	send(t, p, s)
	r := want(t, p, "SYN+ACK from "+remote, mine(synAck))
	s.tcp = layers.TCP{ACK: true, PSH: true, Seq: 2, Ack: r.tcp().Seq + 1}
	s.payload = "hello"
	send(t, p, s)
	want(t, p, "echo from "+remote, mine(func(x *layers.TCP) bool { return string(x.Payload) == "hello" }))
	must(t, p.Disconnect(flow(local, remote)))
}

// Two pools of one host reach each other, without the kernel's stack between, and
// whether lo is served or not.
func TestPoolReachesPoolInside(t *testing.T) {
	t.Parallel()
	for _, devices := range [][]string{{"va"}, {"va", "lo"}} {
		m, _, _ := pair(t, Config{Devices: devices})
		p, q := newPool(t, m, 1), newPool(t, m, 2)
		must(t, q.Listen(endpoint("0.0.0.0:80")))
		must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.1:80")))
		send(t, p, segment{src: "10.9.0.1:1000", dst: "10.9.0.1:80", tcp: layers.TCP{SYN: true}})
		answer(t, q, want(t, q, "SYN", syn))
		want(t, p, "SYN+ACK", synAck)
	}
}

// What the host's settings, which are not changed, make impossible is said in the log.
func TestSettingsInTheWayAreTold(t *testing.T) {
	t.Parallel()
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	m := open(t, a, Config{Devices: []string{"va", "lo"}})
	advice := func() (got []string) {
		must(t, m.place.do(func() error { got = m.advice(); return nil }))
		return got
	}
	if got := advice(); got != nil {
		t.Errorf("without any reason: %q", got)
	}
	a.Sysctl("ipv4/conf/all/rp_filter", "1")
	got := advice()
	if len(got) != 1 || !strings.Contains(got[0], "rp_filter") {
		t.Errorf("rp_filter: %q", got)
	}
}

func TestLocalAddressesNeedLo(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	m, _, _ := pair(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	defer func() {
		m.Close()
		if n := strings.Count(log.String(), "lo is served"); n != 1 {
			t.Errorf("the log tells it %d times:\n%s", n, log.String())
		}
	}()
	for range 5 {
		m.Route(netip.MustParseAddr("10.9.0.1"))
	}
	if r, err := m.Route(netip.MustParseAddr("10.9.0.1")); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("route %+v, %v", r, err)
	}
}
