package usertcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

func TestPortInUseByAnotherListener(t *testing.T) {
	h := useHost(t)
	for _, c := range []struct{ first, second string }{
		{"10.1.0.1:0", "10.1.0.1:%d"},
		{":0", "10.1.0.1:%d"},
		{"10.1.0.1:0", ":%d"},
		{"[fd00::1]:0", "[fd00::1]:%d"},
	} {
		l, err := Listen("tcp", c.first)
		if err != nil {
			t.Fatal(err)
		}
		second := fmt.Sprintf(c.second, l.Addr().(*net.TCPAddr).Port)
		_, err = Listen("tcp", second)
		wantError(t, err, "listen", syscall.EADDRINUSE)
		l.Close()
		l = listenAgain(t, second)
		l.Close()
	}
	// Another application's is as good.
	s := h.Attach(t)
	other := listenVia(t, s, "10.1.0.1:0")
	_, err := Listen("tcp", other.Addr().String())
	wantError(t, err, "listen", syscall.EADDRINUSE)
}

// listenAgain listens where a listener has just been closed, and finds the port free.
func listenAgain(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// When Close has returned another listener has the port at once, every time.
func TestListenerIsClosedAndOpenedAgain(t *testing.T) {
	useHost(t)
	l := listenAgain(t, "10.1.0.1:7000")
	for range 300 {
		l.Close()
		l = listenAgain(t, "10.1.0.1:7000")
	}
	l.Close()
}

// Without a host a listener has both families, as in package net, unless the network
// names one.
func TestListenerAtAllAddresses(t *testing.T) {
	useHost(t)
	for _, c := range []struct {
		network, address, at string
		v4, v6               error
	}{
		{"tcp", ":0", "::", nil, nil},
		{"tcp", "0.0.0.0:0", "::", nil, nil},
		{"tcp", "[::]:0", "::", nil, nil},
		{"tcp4", ":0", "0.0.0.0", nil, syscall.ECONNREFUSED},
		{"tcp4", "0.0.0.0:0", "0.0.0.0", nil, syscall.ECONNREFUSED},
		{"tcp6", ":0", "::", syscall.ECONNREFUSED, nil},
		{"tcp6", "[::]:0", "::", syscall.ECONNREFUSED, nil},
	} {
		l, err := Listen(c.network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().(*net.TCPAddr)
		if at.IP.String() != c.at {
			t.Errorf("%s %s is at %v, want %s", c.network, c.address, at, c.at)
		}
		for host, want := range map[string]error{"10.1.0.1": c.v4, "fd00::1": c.v6} {
			conn, err := DialTimeout("tcp", fmt.Sprintf("[%s]:%d", host, at.Port), patience)
			if !errors.Is(err, want) {
				t.Errorf("%s %s, from %s: %v, want %v", c.network, c.address, host, err, want)
			}
			if err == nil {
				conn.Close()
			}
		}
		l.Close()
	}
}

// As with package net, where "tcp6" is IPV6_V6ONLY.
func TestSamePortForBothFamilies(t *testing.T) {
	useHost(t)
	four, err := Listen("tcp4", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer four.Close()
	six, err := Listen("tcp6", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	for host, l := range map[string]net.Listener{"10.1.0.1": four, "fd00::1": six} {
		c, err := Dial("tcp", net.JoinHostPort(host, "7000"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := s.LocalAddr().(*net.TCPAddr).IP.String(); got != host {
			t.Errorf("the listener for %s has accepted a connection to %s", host, got)
		}
		s.Close()
	}
	_, err = Listen("tcp", ":7000")
	wantError(t, err, "listen", syscall.EADDRINUSE)
}

func TestSamePortOnDifferentAddressesAndFamilies(t *testing.T) {
	dir := testhost.Dir(t)
	h := testhost.Start(t, dir, netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::1"))
	useServer(t, h.Socket)
	for _, address := range []string{"10.1.0.1:7000", "10.1.0.2:7000", "[fd00::1]:7000"} {
		l, err := Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	_, err := Listen("tcp", ":7000")
	wantError(t, err, "listen", syscall.EADDRINUSE)
}

func TestAddressesThatAreNotOurs(t *testing.T) {
	useHost(t)
	_, err := Listen("tcp", "10.9.9.9:80")
	wantError(t, err, "listen", syscall.EADDRNOTAVAIL)
	d := Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 9, 9, 9)}}
	_, err = d.Dial("tcp", "10.1.0.1:80")
	wantError(t, err, "dial", syscall.EADDRNOTAVAIL)
	d.LocalAddr = &net.TCPAddr{IP: net.IPv4(10, 9, 9, 9), Port: 4000}
	_, err = d.Dial("tcp", "10.1.0.1:80")
	wantError(t, err, "dial", syscall.EADDRNOTAVAIL)
	d.LocalAddr = &net.UDPAddr{IP: net.IPv4(10, 1, 0, 1)}
	_, err = d.Dial("tcp", "10.1.0.1:80")
	wantError(t, err, "dial", nil)
	for _, many := range []string{"224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80"} {
		_, err := Dial("tcp", many)
		wantError(t, err, "dial", syscall.ENETUNREACH)
	}
	if want := "mismatched local address type"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %q", err, want)
	}
}

func TestLocalAddressAndPortOfTheProgramsChoice(t *testing.T) {
	useHost(t)
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, local := range []*net.TCPAddr{
		{IP: net.IPv4(10, 1, 0, 1), Port: 4001},
		{Port: 4002},
		{IP: net.IPv4(10, 1, 0, 1)},
		{IP: net.IPv4zero, Port: 4003},
	} {
		d := Dialer{LocalAddr: local, Timeout: patience}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Errorf("from %v: %v", local, err)
			continue
		}
		defer c.Close()
		p, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		got := c.LocalAddr().(*net.TCPAddr)
		if local.Port != 0 && got.Port != local.Port || !got.IP.Equal(net.IPv4(10, 1, 0, 1)) {
			t.Errorf("from %v: local address %v", local, got)
		}
		if p.RemoteAddr().String() != got.String() || c.RemoteAddr().String() != p.LocalAddr().String() {
			t.Errorf("ends %v, %v and %v, %v", got, c.RemoteAddr(), p.LocalAddr(), p.RemoteAddr())
		}
		if local.Port == 0 {
			continue
		}
		_, err = Listen("tcp", got.String())
		wantError(t, err, "listen", syscall.EADDRINUSE)
		_, err = d.Dial("tcp", l.Addr().String())
		wantError(t, err, "dial", syscall.EADDRINUSE)
	}
}

// kernelHost makes the process use a host whose address is the kernel's too.
func kernelHost(t *testing.T) string {
	h := testhost.Start(t, testhost.Dir(t), netip.MustParseAddr("127.0.77.1"))
	useServer(t, h.Socket)
	return h.Addr.String()
}

func TestPortsAreSharedWithTheKernel(t *testing.T) {
	ip := kernelHost(t)
	kl, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Listen("tcp", kl.Addr().String())
	wantError(t, err, "listen", syscall.EADDRINUSE)
	_, err = Listen("tcp", fmt.Sprintf(":%d", kl.Addr().(*net.TCPAddr).Port))
	wantError(t, err, "listen", syscall.EADDRINUSE)
	d := Dialer{LocalAddr: kl.Addr()}
	_, err = d.Dial("tcp", ip+":9")
	wantError(t, err, "dial", syscall.EADDRINUSE)
	kl.Close()

	l := listenAgain(t, kl.Addr().String())
	_, err = net.Listen("tcp", l.Addr().String())
	wantError(t, err, "listen", syscall.EADDRINUSE)
	l.Close()
	kernelListenAgain(t, l.Addr().String()).Close()
}

func kernelListenAgain(t *testing.T, address string) net.Listener {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		l, err := net.Listen("tcp", address)
		if err == nil {
			return l
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestConnectionsKeepTheirPortFromTheKernel(t *testing.T) {
	ip := kernelHost(t)
	l, err := Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := DialTimeout("tcp", l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	_, err = net.Listen("tcp", c.LocalAddr().String())
	wantError(t, err, "listen", syscall.EADDRINUSE)
	c.(*Conn).SetLinger(0) // no TIME-WAIT
	c.Close()
	kernelListenAgain(t, c.LocalAddr().String()).Close()
}

func TestManyPortsOfTheKernelsInUse(t *testing.T) {
	ip := kernelHost(t)
	for range 20 {
		kl, err := net.Listen("tcp", ip+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer kl.Close()
	}
	for range 20 { // any port means one that both have free
		l, err := Listen("tcp", ip+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}

func TestListenConfigContext(t *testing.T) {
	useHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var lc ListenConfig
	_, err := lc.Listen(ctx, "tcp", "10.1.0.1:0")
	wantError(t, err, "listen", context.Canceled)
}
