package usertcp

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/testhost"
)

// wantError checks that err is what package net would have returned: a
// *net.OpError of the given operation in which errors.Is finds target.
func wantError(t testing.TB, err error, op string, target error) {
	t.Helper()
	var oe *net.OpError
	switch {
	case err == nil:
		t.Fatalf("%s succeeded, want %v", op, target)
	case !errors.As(err, &oe) || oe != err:
		t.Fatalf("%s: %v is a %T, want *net.OpError", op, err, err)
	case oe.Op != op:
		t.Fatalf("%v: operation %q, want %q", err, oe.Op, op)
	case target != nil && !errors.Is(err, target):
		t.Fatalf("%v: not %v", err, target)
	}
}

// wantTimeout checks that err is a timeout in all the ways that a program may ask.
func wantTimeout(t testing.TB, err error, op string) {
	t.Helper()
	wantError(t, err, op, os.ErrDeadlineExceeded)
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("%v: Timeout() is false", err)
	}
}

// within fails the test if f takes longer than a patient test waits.
func within(t testing.TB, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > patience {
		t.Errorf("took %v, want at most %v", took, patience)
	}
}

func TestWithoutServerTheErrorSaysHowToStartOne(t *testing.T) {
	dir := testhost.Dir(t)
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: stale, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for path, errno := range map[string]error{
		filepath.Join(dir, "none"): syscall.ENOENT,
		stale:                      syscall.ECONNREFUSED,
	} {
		useServer(t, path)
		_, err := Dial("tcp", "10.1.0.1:80")
		wantError(t, err, "dial", errno)
		_, lerr := Listen("tcp", "10.1.0.1:80")
		wantError(t, lerr, "listen", errno)
		for _, err := range []error{err, lerr} {
			for _, words := range []string{path, "usertcp server -ring", "USERTCP_SERVER="} {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q does not say %q", err, words)
				}
			}
		}
	}
}

// fakeServer answers the first message of each application with what answer makes
// of the octets of a General_Reply.
func fakeServer(t *testing.T, answer func(*message.Message, []byte) []byte) string {
	path := filepath.Join(testhost.Dir(t), "fake")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go func() {
				ch := message.NewChannel(conn)
				defer ch.Close()
				var m message.Message
				if err := ch.RecvMessage(&m, message.User, message.Server); err != nil {
					t.Error(err)
					return
				}
				message.CloseFiles(m.Files)
				r := message.Message{Type: message.GeneralReply, ID: m.ID, N: message.Version}
				if b := answer(&r, nil); b != nil {
					ch.Send(b)
				}
			}()
		}
	}()
	return path
}

func TestServerOfAnotherVersion(t *testing.T) {
	const newer = message.Version + 1
	for name, answer := range map[string]func(*message.Message, []byte) []byte{
		"it refuses our version": func(m *message.Message, b []byte) []byte {
			m.Errno, m.N = uint32(syscall.EPROTONOSUPPORT), newer
			return m.Append(b)
		},
		"it answers in its own": func(m *message.Message, b []byte) []byte {
			b = m.Append(b)
			b[4] = newer
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			useServer(t, fakeServer(t, answer))
			_, err := Dial("tcp", "10.1.0.1:80")
			wantError(t, err, "dial", nil)
			if !strings.Contains(err.Error(), "version") {
				t.Errorf("%q does not speak of versions", err)
			}
		})
	}
}

func TestServerThatTalksNonsenseOrHangsUp(t *testing.T) {
	for name, answer := range map[string]func(*message.Message, []byte) []byte{
		"nonsense": func(*message.Message, []byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"hangs up": func(*message.Message, []byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			useServer(t, fakeServer(t, answer))
			within(t, func() {
				_, err := Dial("tcp", "10.1.0.1:80")
				wantError(t, err, "dial", nil)
			})
		})
	}
}

func TestServerThatIsSilentEndsInATimeout(t *testing.T) {
	path := filepath.Join(testhost.Dir(t), "silent")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	useServer(t, path)
	within(t, func() {
		_, err := DialTimeout("tcp", "10.1.0.1:80", 100*time.Millisecond)
		wantTimeout(t, err, "dial")
		if !strings.Contains(err.Error(), "Spawn") {
			t.Errorf("%q does not say what it waited for", err)
		}
	})
}

func TestWrongAddresses(t *testing.T) {
	useHost(t)
	for _, c := range []struct{ network, address, words string }{
		{"tcp", "10.1.0.1", "missing port in address"},
		{"tcp", "10.1.0.1:80:90", "too many colons"},
		{"tcp", "fd00::1:80", "too many colons"},
		{"tcp", "10.1.0.1:noservice", "unknown port"},
		{"tcp", "10.1.0.1:65536", "invalid port"},
		{"tcp", "10.1.0.1:-1", "invalid port"},
		{"udp", "10.1.0.1:80", "unknown network udp"},
		{"", "10.1.0.1:80", "unknown network"},
		{"tcp6", "10.1.0.1:80", "no suitable address"},
		{"tcp4", "[fd00::1]:80", "no suitable address"},
	} {
		_, err := DialTimeout(c.network, c.address, time.Second)
		wantError(t, err, "dial", nil)
		_, lerr := Listen(c.network, c.address)
		wantError(t, lerr, "listen", nil)
		for _, err := range []error{err, lerr} {
			if !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s %s: %q does not say %q", c.network, c.address, err, c.words)
			}
		}
	}
}

func TestRefusedWhereNobodyListens(t *testing.T) {
	useHost(t)
	for _, address := range []string{"10.1.0.1:81", "[fd00::1]:81", "10.1.0.1:0"} {
		within(t, func() {
			_, err := DialTimeout("tcp", address, patience)
			wantError(t, err, "dial", syscall.ECONNREFUSED)
		})
	}
	l, err := Listen("tcp", "10.1.0.1:81")
	if err != nil {
		t.Fatal(err)
	}
	c, err := DialTimeout("tcp", "10.1.0.1:81", patience)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	l.Close()
	_, err = DialTimeout("tcp", "10.1.0.1:81", patience)
	wantError(t, err, "dial", syscall.ECONNREFUSED)
	if oe := err.(*net.OpError); oe.Addr.String() != "10.1.0.1:81" || oe.Net != "tcp" {
		t.Errorf("%v: address %v, network %v", err, oe.Addr, oe.Net)
	}
}

func TestUnreachableWhereNoHostIs(t *testing.T) {
	dir := testhost.Dir(t)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)[0]).Socket)
	for address, errno := range map[string]error{
		"10.1.0.77:80":       syscall.EHOSTUNREACH, // nobody on the ring has it
		"192.0.2.1:80":       syscall.EHOSTUNREACH,
		"[fd00::77]:80":      syscall.ENETUNREACH, // this host has no address of the family
		"255.255.255.255:80": syscall.ENETUNREACH, // as Linux has it: nobody in particular
	} {
		within(t, func() {
			_, err := DialTimeout("tcp", address, patience)
			wantError(t, err, "dial", errno)
		})
	}
}

func TestDialToAHostThatHasGone(t *testing.T) {
	dir := testhost.Dir(t)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)...).Socket)
	other := testhost.Start(t, dir, testhost.Addrs(2)...)
	_, err := DialTimeout("tcp", "10.1.0.2:80", patience)
	wantError(t, err, "dial", syscall.ECONNREFUSED)
	other.Server.Close()
	within(t, func() {
		_, err := DialTimeout("tcp", "10.1.0.2:80", patience)
		wantError(t, err, "dial", syscall.EHOSTUNREACH)
	})
}

func TestDialTimesOutWhenTheBacklogIsFull(t *testing.T) {
	useHost(t)
	lc := ListenConfig{Backlog: 1}
	l, err := lc.Listen(context.Background(), "tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var got int
	for range 5 {
		within(t, func() {
			var c net.Conn
			if c, err = DialTimeout("tcp", l.Addr().String(), 300*time.Millisecond); err == nil {
				got++
				t.Cleanup(func() { c.Close() })
				time.Sleep(2 * pause) // until it waits for Accept: before, SYN cookies let others in
			}
		})
	}
	wantTimeout(t, err, "dial")
	if got != 2 { // as Linux: more than the backlog, not as many
		t.Errorf("%d connections fit into a backlog of 1, want 2", got)
	}
	// Room again: a connector that keeps trying gets in.
	done := make(chan error, 1)
	go func() {
		c, err := DialTimeout("tcp", l.Addr().String(), patience)
		if err == nil {
			c.Close()
		}
		done <- err
	}()
	for range 2 {
		if c, err := l.Accept(); err != nil {
			t.Fatal(err)
		} else {
			defer c.Close()
		}
	}
	if err := <-done; err != nil {
		t.Errorf("with room in the backlog again: %v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	useHost(t)
	lc := ListenConfig{Backlog: 1}
	l, err := lc.Listen(context.Background(), "tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		c, err := Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		time.Sleep(2 * pause) // until it waits for Accept
	}
	var d Dialer
	within(t, func() {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := d.DialContext(ctx, "tcp", l.Addr().String())
		wantError(t, err, "dial", context.Canceled)
	})
	within(t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := d.DialContext(ctx, "tcp", l.Addr().String())
		wantTimeout(t, err, "dial")
		wantError(t, err, "dial", context.DeadlineExceeded)
	})
	within(t, func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := d.DialContext(ctx, "tcp", l.Addr().String())
		wantError(t, err, "dial", context.Canceled)
	})
	within(t, func() {
		d := Dialer{Deadline: time.Now().Add(-time.Second)}
		_, err := d.Dial("tcp", l.Addr().String())
		wantTimeout(t, err, "dial")
	})
}
