package usertcp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usertcp/internal/testhost"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// A test's process has one stack for the library, and may have others, each an
// application of its own with a child of its own: listenVia and dialVia use those.

// patience bounds every wait for what must happen. It costs nothing if that does.
const patience = testhost.Patience

func endpoint(t testing.TB, address string) wire.Endpoint {
	t.Helper()
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Endpoint{Addr: wire.AddrFrom(ap.Addr()), Port: ap.Port()}
}

func listenVia(t testing.TB, s *user.Stack, address string) *Listener {
	t.Helper()
	sock, local, err := s.Listen(context.Background(), endpoint(t, address), defaultBacklog, true)
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{sock: sock, addr: tcpAddr(local)}
	t.Cleanup(func() { l.Close() })
	return l
}

// dialed is a connection of the process's own to an address.
func dialed(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func dialVia(s *user.Stack, address net.Addr) (*Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var d Dialer
	ap := address.(*net.TCPAddr).AddrPort()
	c, err := d.dial(ctx, s, wire.Endpoint{}, wire.Endpoint{Addr: wire.AddrFrom(ap.Addr()), Port: ap.Port()})
	if err != nil {
		return nil, err
	}
	return c.(*Conn), nil
}

// network is two applications and the address that the second one listens at.
type network struct {
	a, b    *user.Stack
	address string
}

// pair returns both ends of a connection from a to b.
func (n *network) pair(t testing.TB) (a, b *Conn) {
	t.Helper()
	l := listenVia(t, n.b, n.address)
	defer l.Close()
	return n.pairAt(t, l)
}

// pairAt is pair with a listener of b's.
func (n *network) pairAt(t testing.TB, l *Listener) (a, b *Conn) {
	t.Helper()
	a, err := dialVia(n.a, l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	l.SetDeadline(time.Now().Add(patience))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b = c.(*Conn)
	t.Cleanup(func() { a.Close(); b.Close() })
	deadline := time.Now().Add(patience) // nothing hangs
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	return a, b
}

// load has n goroutines call f again and again, until one fails or end is called, which
// says how often they did.
func load(t *testing.T, n int, f func() error) (end func() int64) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	var done atomic.Int64
	for range n {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f(); err != nil {
					t.Errorf("after %d connections: %v", done.Load(), err)
					return
				}
				done.Add(1)
			}
		})
	}
	return func() int64 {
		close(stop)
		all.Wait()
		return done.Load()
	}
}

// scaled is a test's amount of work, less of it under the race detector.
func scaled(n int) int {
	if raceEnabled {
		return n / 8
	}
	return n
}

func twoHosts(t testing.TB) *network {
	h := testhost.Ring(t, 2)
	return &network{h[0].Attach(t), h[1].Attach(t), "10.1.0.2:0"}
}

// everywhere runs a test on each way in which two applications can lie to each
// other.
func everywhere(t *testing.T, f func(*testing.T, *network)) {
	t.Run("two hosts", func(t *testing.T) { f(t, twoHosts(t)) })
	if raceEnabled {
		return // slow, and nothing new to the race detector
	}
	t.Run("two applications of one host", func(t *testing.T) {
		h := testhost.Ring(t, 1)[0]
		f(t, &network{h.Attach(t), h.Attach(t), "10.1.0.1:0"})
	})
	t.Run("one application", func(t *testing.T) {
		s := testhost.Ring(t, 1)[0].Attach(t)
		f(t, &network{s, s, "10.1.0.1:0"})
	})
	t.Run("two hosts, IPv6", func(t *testing.T) {
		n := twoHosts(t)
		n.address = "[fd00::2]:0"
		f(t, n)
	})
}

// want reads exactly the given octets.
func want(t testing.TB, c net.Conn, data string) {
	t.Helper()
	b := make([]byte, len(data))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != data {
		t.Fatalf("read %q, %v; want %q", b[:n], err, data)
	}
}

// wantEOF reads the end of the stream.
func wantEOF(t testing.TB, c net.Conn) {
	t.Helper()
	var b [10]byte
	if n, err := c.Read(b[:]); n != 0 || err != io.EOF {
		t.Fatalf("read %q, %v; want EOF", b[:n], err)
	}
}

func write(t testing.TB, c net.Conn, data string) {
	t.Helper()
	if n, err := io.WriteString(c, data); err != nil || n != len(data) {
		t.Fatal(fmt.Errorf("wrote %d of %d octets: %w", n, len(data), err))
	}
}
