package nic_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/nic"
	"usertcp/internal/testhost"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

func TestMain(m *testing.M) {
	testhost.Main(m)
}

func check(t testing.TB, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// host is a namespace with a connection server for its devices.
type host struct {
	*testnet.Namespace
	t      *testing.T
	args   []string
	server *testhost.Process
}

// newHost starts a server for the devices of a namespace.
func newHost(t *testing.T, in *testnet.Namespace, devices string, deny ...string) *host {
	t.Helper()
	if err := nic.Check(); err != nil {
		t.Skip(err)
	}
	dir := testhost.Dir(t)
	h := &host{Namespace: in, t: t}
	h.args = append([]string{filepath.Join(dir, "socket"), devices, filepath.Join(dir, "pins")}, deny...)
	h.start()
	return h
}

func (h *host) start() {
	h.t.Helper()
	h.Do(func() { h.server = testhost.Run(h.t, h.args[0], testhost.NICServer, h.args...) })
	server := h.server
	h.t.Cleanup(func() { // in order, so that its children end too
		server.Kill(syscall.SIGTERM)
		server.Wait()
	})
	h.server.Want("ready")
}

// attach is a program of the host's.
func (h *host) attach() *user.Stack {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := user.Attach(ctx, h.args[0])
	check(h.t, err)
	h.t.Cleanup(func() { s.Close() })
	return s
}

// pair returns two hosts on a wire, 10.9.0.1 and 10.9.0.2.
func pair(t *testing.T, mtu int) (a, b *host) {
	t.Helper()
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, mtu)
	return newHost(t, na, "va,lo"), newHost(t, nb, "vb,lo")
}

func end(addr string, port int) wire.Endpoint {
	return wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr(addr)), Port: uint16(port)}
}

const patience = testhost.Patience

func dial(s *user.Stack, to wire.Endpoint, setup ...user.Setup) (*half.Socket, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.Connect(ctx, wire.Endpoint{}, to, setup...)
}

func listen(t *testing.T, s *user.Stack, at wire.Endpoint, setup ...user.Setup) (*half.Socket, wire.Endpoint) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l, local, err := s.Listen(ctx, at, 64, true, setup...)
	check(t, err)
	t.Cleanup(func() { l.Close() })
	check(t, l.SetDeadline(true, true, time.Now().Add(patience)))
	return l, local
}

// stream is what a connection of either stack can do.
type stream = testnet.Stream

// kernelDial connects by a namespace's kernel.
func kernelDial(in *testnet.Namespace, to wire.Endpoint) (*net.TCPConn, error) {
	c, err := in.Dial(&net.Dialer{Timeout: patience}, "tcp", to.Netip().String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// kernelAccept listens in a namespace's kernel; the next connection comes by the
// channel.
func kernelAccept(t *testing.T, in *testnet.Namespace, addr string) (wire.Endpoint, chan stream) {
	t.Helper()
	l := in.Listen("tcp", net.JoinHostPort(addr, "0"))
	accepted := make(chan stream, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c.(*net.TCPConn)
		}
	}()
	return wire.EndpointFrom(l.Addr().(*net.TCPAddr).AddrPort()), accepted
}

func octets(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// exchange sends octets both ways at once, and wants them whole.
func exchange(t *testing.T, a, b stream, n int) {
	t.Helper()
	testnet.Exchange(t, a, b, octets(1, n), octets(2, n+1))
}
