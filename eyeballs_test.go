package usertcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"usertcp/internal/wire"
)

func endsOf(addrs ...string) (ends []wire.Endpoint) {
	for _, a := range addrs {
		ends = append(ends, wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr(a)), Port: 80})
	}
	return ends
}

func TestInterleave(t *testing.T) {
	for _, x := range []struct{ in, want []wire.Endpoint }{
		{endsOf("10.0.0.1"), endsOf("10.0.0.1")},
		{endsOf("10.0.0.1", "10.0.0.2", "fd00::1"), endsOf("10.0.0.1", "fd00::1", "10.0.0.2")},
		{endsOf("fd00::1", "fd00::2", "fd00::3", "10.0.0.1", "10.0.0.2"), endsOf("fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2", "fd00::3")},
	} {
		if got := interleave(x.in); !slices.Equal(got, x.want) {
			t.Errorf("%v: %v, want %v", x.in, got, x.want)
		}
	}
}

// fate is what comes of an attempt, and after how many ms: nil is a connection.
type fate struct {
	after int
	err   error
}

// tally counts what the attempts of a race do, each in its own goroutine.
type tally struct {
	mu           sync.Mutex
	begun        []int // when, ms
	made, closed int   // connections
}

func (y *tally) begin(at int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.begun = append(y.begun, at)
}

func (y *tally) connection() net.Conn {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.made++
	return closer{tally: y}
}

// want waits until all attempts have ended, and wants all connections closed but some.
func (y *tally) want(t *testing.T, open int) {
	t.Helper()
	synctest.Wait()
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.closed != y.made-open {
		t.Errorf("%d connections, %d closed, want %d open", y.made, y.closed, open)
	}
}

// closer is a connection that notes its end.
type closer struct {
	net.Conn
	tally *tally
}

func (c closer) Close() error {
	c.tally.mu.Lock()
	defer c.tally.mu.Unlock()
	c.tally.closed++
	return nil
}

func TestRace(t *testing.T) {
	refused, unreachable := syscall.ECONNREFUSED, syscall.EHOSTUNREACH
	const never = 1 << 20
	for _, x := range []struct {
		name  string
		delay time.Duration
		fates []fate
		begun []int // ms, when each attempt began
		over  int   // ms, when the race was
		err   error
	}{
		{"the first answers", attemptDelay, []fate{{100, nil}, {0, nil}}, []int{0}, 100, nil},
		{"the first fails: the next at once", attemptDelay, []fate{{10, refused}, {20, nil}}, []int{0, 10}, 30, nil},
		{"the first is silent: the next after a while", attemptDelay, []fate{{never, nil}, {20, nil}}, []int{0, 250}, 270, nil},
		{"the first is slow, but faster", attemptDelay, []fate{{300, nil}, {100, nil}}, []int{0, 250}, 300, nil},
		{"all are silent but the last", attemptDelay, []fate{{never, nil}, {never, nil}, {5, nil}}, []int{0, 250, 500}, 505, nil},
		{"all fail: the first's error", attemptDelay, []fate{{400, refused}, {10, unreachable}}, []int{0, 250}, 400, refused},
		{"one after the other", -1, []fate{{700, refused}, {20, nil}}, []int{0, 700}, 720, nil},
		{"the time is over", attemptDelay, []fate{{never, nil}, {never, nil}, {never, nil}}, []int{0, 250, 500}, 2000, context.DeadlineExceeded},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				start := time.Now()
				since := func() int { return int(time.Since(start).Milliseconds()) }
				var y tally
				c, err := race(ctx, endsOf("10.0.0.1", "10.0.0.2", "10.0.0.3")[:len(x.fates)], x.delay, func(ctx context.Context, e wire.Endpoint) (net.Conn, error) {
					f := x.fates[e.Addr[15]-1]
					y.begin(since())
					select {
					case <-time.After(time.Duration(f.after) * time.Millisecond):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if f.err != nil {
						return nil, f.err
					}
					return y.connection(), nil
				})
				y.mu.Lock()
				begun := slices.Clone(y.begun)
				y.mu.Unlock()
				if !slices.Equal(begun, x.begun) || since() != x.over || !errors.Is(err, x.err) || (c == nil) != (x.err != nil) {
					t.Errorf("begun %v, over after %d ms: %v", begun, since(), err)
				}
				if c != nil {
					y.want(t, 1)
				}
			})
		})
	}
}

// Who loses the race by a hair has a connection, too: it is closed.
func TestRaceClosesTheSecondConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y tally
		c, err := race(t.Context(), endsOf("10.0.0.1", "10.0.0.2"), 100*time.Millisecond, func(_ context.Context, e wire.Endpoint) (net.Conn, error) {
			time.Sleep(time.Second) // deaf to its context
			return y.connection(), nil
		})
		if err != nil || c == nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if y.want(t, 1); y.made != 2 {
			t.Errorf("%d connections were made", y.made)
		}
	})
}

// An address that is silent, and one behind it that answers.
func TestDialPassesOverAnAddressThatIsSilent(t *testing.T) {
	server, _, silent := distant(t, "echo")
	server.Kill(syscall.SIGSTOP)
	defer server.Kill(syscall.SIGCONT)
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ends := []wire.Endpoint{wire.EndpointFrom(netip.MustParseAddrPort(silent)), wire.EndpointFrom(l.Addr().(*net.TCPAddr).AddrPort())}
	var d Dialer
	c, err := d.dialAny(t.Context(), "tcp", ends)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := c.RemoteAddr().String(), l.Addr().String(); got != want {
		t.Errorf("connected to %s, want %s", got, want)
	}
}
