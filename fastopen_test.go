package usertcp

import (
	"context"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/wire"
)

const (
	tcpFastOpen         = 23
	tcpFastOpenNoCookie = 34
)

// fastListener is a listener of b's with options.
func fastListener(t *testing.T, n *network, options ...Option) *Listener {
	t.Helper()
	s, at, err := n.b.Listen(context.Background(), endpoint(t, n.address), 16, false, setup(options))
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{sock: s, addr: tcpAddr(at)}
	t.Cleanup(func() { l.Close() })
	return l
}

// fastDial dials from a with data that goes first, and returns both ends.
func fastDial(t *testing.T, n *network, l *Listener, d Dialer) (a, b *Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ap := l.addr.AddrPort()
	c, err := d.dial(ctx, n.a, wire.Endpoint{}, wire.Endpoint{Addr: wire.AddrFrom(ap.Addr()), Port: ap.Port()})
	if err != nil {
		t.Fatal(err)
	}
	l.SetDeadline(time.Now().Add(patience))
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, b = c.(*Conn), other.(*Conn)
	t.Cleanup(func() { a.Close(); b.Close() })
	for _, x := range []*Conn{a, b} {
		x.SetDeadline(time.Now().Add(patience))
	}
	return a, b
}

// inSyn reports whether both ends say that the data came with the SYN.
func inSyn(t *testing.T, a, b *Conn) bool {
	t.Helper()
	x, err := a.Info()
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Info()
	if err != nil {
		t.Fatal(err)
	}
	if x.FastOpen != y.FastOpen {
		t.Errorf("client says %v (%d), server %v", x.FastOpen, x.FastOpenFail, y.FastOpen)
	}
	return x.FastOpen
}

// The first Dial brings a cookie, those that follow send their data in the SYN.
func TestFirstDataTravelsInTheSyn(t *testing.T) {
	n := twoHosts(t)
	l := fastListener(t, n, Option{syscall.IPPROTO_TCP, tcpFastOpen, 10})
	for i, early := range []bool{false, true, true} {
		a, b := fastDial(t, n, l, Dialer{FirstData: []byte("hello")})
		want(t, b, "hello")
		write(t, b, "and back")
		want(t, a, "and back")
		write(t, a, "and more")
		want(t, b, "and more")
		if got := inSyn(t, a, b); got != early {
			t.Errorf("connection %d: in the SYN: %v", i, got)
		}
	}
	if u := n.b.Usage(); u.Counters.FastTaken != 2 {
		t.Errorf("%d were opened by data", u.Counters.FastTaken)
	}
	// After a change of keys the old cookie is good for once more, then the new one is.
	if err := l.SetFastOpenKeys([16]byte{1}, [16]byte{2}); err != nil {
		t.Fatal(err)
	}
	for i, early := range []bool{false, true} {
		a, b := fastDial(t, n, l, Dialer{FirstData: []byte("hello")})
		want(t, b, "hello")
		if got := inSyn(t, a, b); got != early {
			t.Errorf("new keys, connection %d: in the SYN: %v", i, got)
		}
	}
	if err := l.SetFastOpenKeys([16]byte{3}, [16]byte{1}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		a, b := fastDial(t, n, l, Dialer{FirstData: []byte("hello")})
		want(t, b, "hello")
		if !inSyn(t, a, b) {
			t.Errorf("rotated keys, connection %d: not in the SYN", i)
		}
	}
}

func TestFirstDataWithoutCookie(t *testing.T) {
	n := twoHosts(t)
	bare := Option{syscall.IPPROTO_TCP, tcpFastOpenNoCookie, 1}
	l := fastListener(t, n, Option{syscall.IPPROTO_TCP, tcpFastOpen, 10}, bare)
	a, b := fastDial(t, n, l, Dialer{FirstData: []byte("hello"), Options: []Option{bare}})
	want(t, b, "hello")
	if !inSyn(t, a, b) {
		t.Error("not in the SYN")
	}
}

// A server that does not do it: the data follows the handshake.
func TestFirstDataToAServerWithoutFastOpen(t *testing.T) {
	n := twoHosts(t)
	l := fastListener(t, n)
	for range 2 {
		a, b := fastDial(t, n, l, Dialer{FirstData: []byte("hello")})
		want(t, b, "hello")
		if inSyn(t, a, b) {
			t.Error("in the SYN")
		}
	}
}

// TCP_FASTOPEN_CONNECT: Dial returns at once, and the first Write opens.
func TestDialThatLeavesTheSynToWrite(t *testing.T) {
	n := twoHosts(t)
	l := fastListener(t, n, Option{syscall.IPPROTO_TCP, tcpFastOpen, 10})
	connect := Dialer{Options: []Option{{syscall.IPPROTO_TCP, tcpFastOpenConnect, 1}}}
	fastDial(t, n, l, connect) // for the cookie
	ap := l.addr.AddrPort()
	c, err := connect.dial(context.Background(), n.a, wire.Endpoint{}, wire.Endpoint{Addr: wire.AddrFrom(ap.Addr()), Port: ap.Port()})
	if err != nil {
		t.Fatal(err)
	}
	a := c.(*Conn)
	defer a.Close()
	if n.b.Usage().Counters.FastTaken != 0 {
		t.Error("the SYN has left")
	}
	write(t, a, "hello")
	l.SetDeadline(time.Now().Add(patience))
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	want(t, b, "hello")
	write(t, b, "and back")
	want(t, a, "and back")
	if !inSyn(t, a, b.(*Conn)) {
		t.Error("not in the SYN")
	}
}
