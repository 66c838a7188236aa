package nic_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

const optSynData = 32 // TCPI_OPT_SYN_DATA

// fastKey is a key of cookies, as tcp_fastopen_key has it and as octets.
const fastKey = "00010203-04050607-08090a0b-0c0d0e0f"

var fastKeyOctets = [16]byte{3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12}

// option is a socket option of ours.
func option(name, v int) user.Setup {
	return func(s *half.Socket) error { return s.SetOption(unix.IPPROTO_TCP, name, v) }
}

// fastServer listens in a kernel with Fast Open.
func fastServer(t *testing.T, in *testnet.Namespace, addr string) *net.TCPListener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 8) })
	}}
	var l net.Listener
	var err error
	in.Do(func() { l, err = config.Listen(context.Background(), "tcp", net.JoinHostPort(addr, "0")) })
	check(t, err)
	t.Cleanup(func() { l.Close() })
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	return l.(*net.TCPListener)
}

// fastDial opens a connection with data that goes first.
func fastDial(t *testing.T, s *user.Stack, to wire.Endpoint, first string) *half.Socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.ConnectFirst(ctx, wire.Endpoint{}, to, []byte(first), option(unix.TCP_FASTOPEN_CONNECT, 1))
	check(t, err)
	check(t, c.SetDeadline(true, true, time.Now().Add(patience)))
	t.Cleanup(func() { c.Close() })
	return c
}

// reply lets the server read what was first, and the client read the answer.
func reply(t *testing.T, client, server io.ReadWriter, first string) {
	t.Helper()
	b := make([]byte, len(first))
	_, err := io.ReadFull(server, b)
	check(t, err)
	if string(b) != first {
		t.Errorf("the server has read %q, want %q", b, first)
	}
	_, err = server.Write([]byte("answer"))
	check(t, err)
	b = make([]byte, 6)
	_, err = io.ReadFull(client, b)
	check(t, err)
	if string(b) != "answer" {
		t.Errorf("the client has read %q", b)
	}
}

// Each client's first connection brings it a cookie, and its second has data in
// the SYN, as TCP_INFO of both ends says.
func TestFastOpenToTheKernel(t *testing.T) {
	for _, addr := range []string{testnet.PairB4, testnet.PairB6} {
		t.Run(addr, func(t *testing.T) {
			a, b := pair(t, 1500)
			b.Sysctl("ipv4/tcp_fastopen", "3")
			l := fastServer(t, b.Namespace, addr)
			ua, to := a.attach(), wire.EndpointFrom(l.Addr().(*net.TCPAddr).AddrPort())
			for n, want := range []bool{false, true, true} {
				c := fastDial(t, ua, to, "question")
				k, err := l.AcceptTCP()
				check(t, err)
				defer k.Close()
				k.SetDeadline(time.Now().Add(patience))
				reply(t, c, k, "question")
				wantInSyn(t, n, c, kernelInfo(t, k).Options, want)
			}
		})
	}
}

// wantInSyn checks what both ends say of the n-th connection.
func wantInSyn(t *testing.T, n int, s *half.Socket, kernel uint8, want bool) {
	t.Helper()
	i, err := s.Info()
	check(t, err)
	if theirs := kernel&optSynData != 0; i.FastOpen != want || theirs != want {
		t.Errorf("connection %d: that data came with the SYN, is %v for us and %v for the kernel, want %v", n, i.FastOpen, theirs, want)
	}
}

// fastClient is a connection of the kernel's whose connect waits for data.
func fastClient(t *testing.T, in *testnet.Namespace, to wire.Endpoint) (c *net.TCPConn) {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1) })
	}}
	x, err := in.Dial(&d, "tcp", to.Netip().String())
	check(t, err)
	c = x.(*net.TCPConn)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestFastOpenFromTheKernel(t *testing.T) {
	for _, addr := range []string{testnet.PairA4, testnet.PairA6} {
		t.Run(addr, func(t *testing.T) {
			a, b := pair(t, 1500)
			b.Sysctl("ipv4/tcp_fastopen", "1")
			l, at := listen(t, a.attach(), wire.Endpoint{}, option(unix.TCP_FASTOPEN, 8))
			for n, want := range []bool{false, true, true} {
				k := fastClient(t, b.Namespace, end(addr, int(at.Port)))
				_, err := k.Write([]byte("question"))
				check(t, err)
				s, err := l.Accept()
				check(t, err)
				defer s.Close()
				reply(t, k, s, "question")
				wantInSyn(t, n, s, kernelInfo(t, k).Options, want)
			}
		})
	}
}

// A cookie of the kernel's is good for a listener of ours that has its key: they may
// serve one address together.
func TestOneKeyOfFastOpenDoesForBothStacks(t *testing.T) {
	for _, addr := range []string{testnet.PairB4, testnet.PairB6} {
		t.Run(addr, func(t *testing.T) {
			a, b := pair(t, 1500)
			b.Sysctl("ipv4/tcp_fastopen", "3")
			b.Sysctl("ipv4/tcp_fastopen_key", fastKey)
			kl := fastServer(t, b.Namespace, addr)
			ul, at := listen(t, b.attach(), wire.Endpoint{}, option(unix.TCP_FASTOPEN, 8))
			check(t, ul.SetFastOpenKeys(fastKeyOctets, fastKeyOctets))
			ua := a.attach()
			fastDial(t, ua, wire.EndpointFrom(kl.Addr().(*net.TCPAddr).AddrPort()), "first")
			k, err := kl.AcceptTCP()
			check(t, err)
			defer k.Close()
			c := fastDial(t, ua, wire.EndpointFrom(netip.AddrPortFrom(netip.MustParseAddr(addr), at.Port)), "question")
			s, err := ul.Accept()
			check(t, err)
			defer s.Close()
			reply(t, c, s, "question")
			i, err := c.Info()
			check(t, err)
			if !i.FastOpen {
				t.Error("our listener has not taken the cookie of the kernel's")
			}
		})
	}
}
