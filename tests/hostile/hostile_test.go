package hostile

import (
	"bufio"
	"context"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

func TestMain(m *testing.M) { testhost.Main(m) }

const (
	patience = testhost.Patience
	tooMuch  = "more than its user may have" // memory
	rage     = 700 * time.Millisecond        // how long a hostile program is let
)

// scene is two hosts, an honest connection between them, and what children say.
type scene struct {
	from, to *testhost.Host
	a, b     *user.Stack
	x, y     *half.Socket // the honest connection
	l        *half.Socket // for the hostile

	mu   sync.Mutex
	said []string
}

// TestHostile has a program do its worst: its own connections may die, its child in
// good order with them; the servers, the other children and their connections do not
// notice, and nothing of it is left when it has been killed.
func TestHostile(t *testing.T) {
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			s := newScene(t)
			before := s.talks(t)
			p := testhost.Run(t, s.from.Socket, "hostile", netip.AddrPortFrom(s.to.Addr, 666).String(), way)
			p.Want("begun")
			during := s.talks(t)
			t.Logf("the honest connection carried %.0f MB/s before, and %.0f MB/s beside the hostile program", before, during)
			p.Kill(syscall.SIGKILL)
			p.Wait()
			s.talk(t)
			// Another program finds both servers at work.
			fresh := s.from.Attach(t)
			dial(t, fresh, s.to, 7).Close()
			s.wantNothing(t)
		})
	}
}

// A program that fills its segment is out of its user's limit of memory, and ends; that
// of another user goes on.
func TestHostileMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("programs of other users take root")
	}
	s := newScene(t, func(c *server.Config) { c.Limits.UserMemory = 64 << 20 })
	p := testhost.Run(t, s.from.Socket, "hostile", netip.AddrPortFrom(s.to.Addr, 666).String(), "fills its segment", otherUser)
	p.Want("begun")
	said := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(last(s.said), tooMuch)
	}
	for end := time.Now().Add(patience); !said(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody minds")
		}
	}
	s.talk(t)
	p.Kill(syscall.SIGKILL)
	p.Wait()
	s.wantNothing(t)
}

func newScene(t *testing.T, changes ...func(*server.Config)) *scene {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{}
	go s.listen(r)
	dir := testhost.Dir(t)
	if err := os.Chmod(dir, 0o755); err != nil { // for programs of other users
		t.Fatal(err)
	}
	log := func(c *server.Config) {
		c.Stderr = w
		for _, change := range changes {
			change(c)
		}
	}
	s.from = testhost.StartWith(t, dir, log, testhost.Addrs(0)...)
	s.to = testhost.StartWith(t, dir, log, testhost.Addrs(1)...)
	s.a, s.b = s.from.Attach(t), s.to.Attach(t)
	s.l = listen(t, s.b, s.to, 666)
	go func() { // reads what hostile programs send
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			go c.Write(make([]byte, 1<<20)) // which the hostile program has to take, or not
			go func() {
				for b := make([]byte, 64<<10); err == nil; {
					_, err = c.Read(b)
				}
				c.Close()
			}()
		}
	}()
	l := listen(t, s.b, s.to, 7)
	s.x = dial(t, s.a, s.to, 7)
	if s.y, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return s
}

func endpoint(h *testhost.Host, port uint16) wire.Endpoint {
	return wire.EndpointFrom(netip.AddrPortFrom(h.Addr, port))
}

func listen(t *testing.T, s *user.Stack, h *testhost.Host, port uint16) *half.Socket {
	t.Helper()
	l, _, err := s.Listen(context.Background(), endpoint(h, port), 16, false)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, s *user.Stack, to *testhost.Host, port uint16) *half.Socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.Connect(ctx, wire.Endpoint{}, endpoint(to, port))
	if err != nil {
		t.Fatalf("another program can't connect: %v", err)
	}
	return c
}

// listen hears what the children say.
func (s *scene) listen(r io.Reader) {
	for in := bufio.NewScanner(r); in.Scan(); {
		s.mu.Lock()
		s.said = append(s.said, in.Text())
		s.mu.Unlock()
	}
}

// talk sends some data over the honest connection, and looks that it arrives.
func (s *scene) talk(t *testing.T) {
	t.Helper()
	out, in := []byte(strings.Repeat("honest ", 20_000)), make([]byte, 140_000)
	s.x.SetDeadline(true, true, time.Now().Add(patience))
	s.y.SetDeadline(true, true, time.Now().Add(patience))
	done := make(chan error, 1)
	go func() {
		_, err := s.x.Write(out)
		done <- err
	}()
	for at := 0; at < len(in); {
		n, err := s.y.Read(in[at:])
		if at += n; err != nil {
			t.Fatalf("the honest connection: %v", err)
		}
	}
	if err := <-done; err != nil || string(in) != string(out) {
		t.Fatalf("the honest connection: %v, or other octets", err)
	}
}

// talks talks for a while, and returns how many MB/s that were.
func (s *scene) talks(t *testing.T) float64 {
	t.Helper()
	s.talk(t)
	n, began := 0, time.Now()
	for ; time.Since(began) < rage; n++ {
		s.talk(t)
	}
	return float64(n) * 0.14 / time.Since(began).Seconds()
}

// wantNothing waits until nothing is left of the hostile program, and looks at what
// children have said: one line each at most, of a kind that is known.
func (s *scene) wantNothing(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		// The listeners, the honest connection and the other program's, and no buffer.
		if u := s.b.Usage(); u.Idle() && u.Live <= 4 {
			break
		} else if time.Now().After(end) {
			for _, h := range []*testhost.Host{s.from, s.to} {
				snap, err := server.Status(context.Background(), h.Socket)
				for _, k := range snap.Children {
					t.Logf("child %d of program %d: %+v, %+v, %v", k.PID, k.AppPID, k.Usage, k.Sockets, err)
				}
			}
			t.Fatalf("something is left: %+v", u)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.said {
		known := strings.Contains(line, half.ErrRuined.Error()) || strings.Contains(line, "died with the lock") || strings.Contains(line, tooMuch) || strings.Contains(line, "message")
		if !known || strings.Contains(line, "goroutine") {
			t.Errorf("a child said: %s", line)
		}
	}
	t.Logf("children said %d lines; the last: %s", len(s.said), last(s.said))
}

func last(s []string) string {
	if len(s) == 0 {
		return "nothing"
	}
	return s[len(s)-1]
}
