package usertcp

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestTypedOptions(t *testing.T) {
	a, _ := twoHosts(t).pair(t)
	const proto = syscall.IPPROTO_TCP
	for _, x := range []struct {
		what        string
		err         error
		level, name int
		want        int
	}{
		{"SetNoDelay", a.SetNoDelay(false), proto, syscall.TCP_NODELAY, 0},
		{"SetCork", a.SetCork(true), proto, syscall.TCP_CORK, 1},
		{"SetQuickAck", a.SetQuickAck(true), proto, syscall.TCP_QUICKACK, 1},
		{"SetKeepAlive", a.SetKeepAlive(true), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{"SetUserTimeout", a.SetUserTimeout(1500 * time.Microsecond), proto, tcpUserTimeout, 2},
		{"SetLinger", a.SetLinger(3), syscall.SOL_SOCKET, syscall.SO_LINGER, 3},
		{"SetReadBuffer", a.SetReadBuffer(1 << 20), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1 << 20},
		{"SetWriteBuffer", a.SetWriteBuffer(1 << 19), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1 << 19},
		{"SetKeepAlivePeriod", a.SetKeepAlivePeriod(1500 * time.Millisecond), proto, syscall.TCP_KEEPIDLE, 2},
	} {
		got, err := a.Option(x.level, x.name)
		if x.err != nil || err != nil || got != x.want {
			t.Errorf("%s: %v, then %d, %v; want %d", x.what, x.err, got, err, x.want)
		}
	}
	k := net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 0, Count: 4}
	if err := a.SetKeepAliveConfig(k); err != nil {
		t.Error(err)
	}
	for name, want := range map[int]int{syscall.TCP_KEEPIDLE: 7, syscall.TCP_KEEPINTVL: 15, syscall.TCP_KEEPCNT: 4} {
		if got, err := a.Option(proto, name); err != nil || got != want {
			t.Errorf("option %d is %d, %v; want %d", name, got, err, want)
		}
	}
}

func TestOptionsThatAreNone(t *testing.T) {
	a, _ := twoHosts(t).pair(t)
	for _, x := range []struct {
		err  error
		want syscall.Errno
	}{
		{a.SetOption(1234, 1, 1), syscall.ENOPROTOOPT},
		{a.SetOption(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 1000), syscall.EINVAL},
		{a.SetUserTimeout(-1), syscall.EINVAL},
		{a.SetKeepAlivePeriod(0), syscall.EINVAL},
	} {
		var op *net.OpError
		if !errors.Is(x.err, x.want) || !errors.As(x.err, &op) || op.Op != "set" {
			t.Errorf("%v, want a *net.OpError of %v", x.err, x.want)
		}
	}
	a.Close()
	if _, err := a.Info(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Info of a closed connection: %v", err)
	}
	if err := a.SetCork(true); !errors.Is(err, net.ErrClosed) {
		t.Errorf("option of a closed connection: %v", err)
	}
}

func TestInfoOfAConnection(t *testing.T) {
	a, b := twoHosts(t).pair(t)
	write(t, a, "hello")
	want(t, b, "hello")
	i, err := a.Info()
	if err != nil {
		t.Fatal(err)
	}
	if i.State.String() != "ESTABLISHED" || i.BytesSent != 5 || !i.SACK || !i.Timestamps || i.SndMSS < 1000 || i.Cwnd == 0 {
		t.Errorf("%+v", i)
	}
	if mss, err := a.Option(syscall.IPPROTO_TCP, syscall.TCP_MAXSEG); err != nil || mss != int(i.SndMSS) {
		t.Errorf("TCP_MAXSEG is %d, %v; want %d", mss, err, i.SndMSS)
	}
	if i, err = b.Info(); err != nil || i.BytesIn != 5 || i.DataSegsIn != 1 {
		t.Errorf("%+v, %v", i, err)
	}
}

// TestOptionsBeforeTheConnection uses a process's own stack, as Dialer does.
func TestOptionsBeforeTheConnection(t *testing.T) {
	useHost(t)
	lc := ListenConfig{Options: []Option{{syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 900}}}
	l, err := lc.Listen(context.Background(), "tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := Dialer{Options: []Option{
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 0},
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 0},
		{syscall.IPPROTO_TCP, syscall.TCP_SYNCNT, 2},
	}}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := c.(*Conn)
	for _, x := range []struct{ level, name, want int }{
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 0},
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 0},
		{syscall.IPPROTO_TCP, syscall.TCP_SYNCNT, 2},
		{syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 888}, // 12 octets are the timestamps'
	} {
		if got, err := conn.Option(x.level, x.name); err != nil || got != x.want {
			t.Errorf("option %d %d is %d, %v; want %d", x.level, x.name, got, err, x.want)
		}
	}
	d.Options = []Option{{syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1}}
	if c, err := d.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("an option that is none: %v, %v", c, err)
	}
}

func TestReadLowatWaitsForMore(t *testing.T) {
	a, b := twoHosts(t).pair(t)
	if err := b.SetOption(syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, 10); err != nil {
		t.Fatal(err)
	}
	write(t, a, "12345")
	got := make(chan string)
	go func() {
		var p [100]byte
		n, _ := b.Read(p[:])
		got <- string(p[:n])
	}()
	select {
	case s := <-got:
		t.Fatalf("read %q below the mark", s)
	case <-time.After(20 * time.Millisecond):
	}
	write(t, a, "67890")
	if s := <-got; s != "1234567890" {
		t.Errorf("read %q", s)
	}
	write(t, a, "xy") // a short buffer is full with less
	want(t, b, "xy")
	write(t, a, "end")
	a.CloseWrite()
	var p [100]byte
	if n, err := b.Read(p[:]); string(p[:n]) != "end" || err != nil {
		t.Errorf("read %q, %v before the end", p[:n], err)
	}
}

func TestLingeringCloseWaitsUntilAllHasArrived(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		a.SetLinger(5)
		const size = 3 << 20
		done := make(chan time.Duration, 1)
		write(t, a, string(make([]byte, 500_000)))
		start := time.Now()
		go func() {
			a.Write(make([]byte, size-500_000))
			a.Close()
			done <- time.Since(start)
		}()
		time.Sleep(30 * time.Millisecond)
		select {
		case <-done:
			t.Error("Close did not wait for the reader")
		default:
		}
		if k, err := io.Copy(io.Discard, b); k != size || err != nil {
			t.Errorf("%d octets, %v", k, err)
		}
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Close still waits")
		}
	})
}

func TestLingeringCloseGivesUp(t *testing.T) {
	a, b := twoHosts(t).pair(t)
	a.SetLinger(1)
	a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	sent, _ := io.Copy(a, io.LimitReader(zeros{}, 8<<20))
	start := time.Now()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d < 900*time.Millisecond || d > patience {
		t.Errorf("Close took %v, want 1 s", d)
	}
	// What it gave up waiting for still arrives.
	if k, err := io.Copy(io.Discard, b); k < sent || err != nil {
		t.Errorf("%d octets of %d, %v", k, sent, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
