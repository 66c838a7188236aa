package limits

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/wire"
)

func TestMain(m *testing.M) { testhost.Main(m) }

const (
	patience = testhost.Patience
	told     = 3 * time.Second // after which every child knows what the others have
	nobody   = 65534
)

// scene is a host with limits, and another with somebody who accepts and never reads.
type scene struct {
	t    *testing.T
	host *testhost.Host
	to   netip.AddrPort
}

func newScene(t *testing.T, limits server.Limits) *scene {
	t.Helper()
	dir := testhost.Dir(t)
	if err := os.Chmod(dir, 0o755); err != nil { // for programs of other users
		t.Fatal(err)
	}
	s := &scene{t: t, host: testhost.StartWith(t, dir, func(c *server.Config) { c.Limits = limits }, testhost.Addrs(1)...)}
	other := testhost.Start(t, dir, testhost.Addrs(2)...)
	s.to = deaf(t, other)
	return s
}

// deaf accepts all, and never reads.
func deaf(t *testing.T, h *testhost.Host) netip.AddrPort {
	t.Helper()
	to := netip.AddrPortFrom(h.Addr, 7)
	l, _, err := h.Attach(t).Listen(context.Background(), wire.EndpointFrom(to), 100, false)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for err == nil {
			_, err = l.Accept()
		}
	}()
	return to
}

func (s *scene) hog(uid int) *testhost.Process {
	s.t.Helper()
	if uid != 0 && os.Geteuid() != 0 {
		s.t.Skip("programs of other users take root")
	}
	return testhost.Run(s.t, s.host.Socket, "hog", s.to.String(), strconv.Itoa(uid))
}

// ask has a hog do something, and returns the number that it answers with.
func ask(t *testing.T, p *testhost.Process, what string, want string) int {
	t.Helper()
	p.Say(what)
	answer := p.Want(want)
	digits, _, _ := strings.Cut(answer, " ")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatalf("%s: %s %s", what, want, answer)
	}
	return n
}

// eventually waits until the host's limits are such that cond holds.
func (s *scene) eventually(what string, cond func(i *server.LimitsInfo) bool) {
	s.t.Helper()
	var i server.LimitsInfo
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s.host.Server != nil {
			i = s.host.Server.Snapshot().Limits
		} else if snap, err := server.Status(s.t.Context(), s.host.Socket); err == nil {
			i = snap.Limits
		}
		if cond(&i) {
			return
		}
	}
	s.t.Fatalf("waited %v for %s: %+v", patience, what, i)
}

// Several programs together hit the host's limit: what they may write together is
// little more than it; nobody gets nothing; and what one gives back the others get.
func TestProgramsShareTheHostsMemory(t *testing.T) {
	const most = 16 << 20
	s := newScene(t, server.Limits{Memory: most})
	sum := 0
	var hogs []*testhost.Process
	for range 4 {
		p := s.hog(0)
		hogs = append(hogs, p)
		if n := ask(t, p, "open 6", "opened"); n != 6 {
			t.Fatalf("%d connections", n)
		}
		wrote := ask(t, p, "fill 4000000", "wrote")
		t.Logf("program %d wrote %d octets of 24,000,000", len(hogs), wrote)
		if wrote < 6*4096 {
			t.Errorf("program %d wrote %d octets: less than each connection may have", len(hogs), wrote)
		}
		sum += wrote
	}
	s.eventually("the limit to be hit", func(i *server.LimitsInfo) bool { return i.Level == 2 })
	if sum < most*3/4 || sum > most*3/2 {
		t.Errorf("all have written %d octets, and %d is the limit", sum, most)
	}
	if n := ask(t, hogs[3], "fill 4000000", "wrote"); n > 1<<20 {
		t.Errorf("%d octets more, though all is in use", n)
	}
	for _, p := range hogs[:3] {
		p.Kill(syscall.SIGKILL)
		p.Wait()
	}
	killOrphans(t, s)
	s.eventually("the share of the dead to be free", func(i *server.LimitsInfo) bool { return i.Level == 0 })
	if n := ask(t, hogs[3], "fill 1000000", "wrote"); n < 1<<20 {
		t.Errorf("%d octets, though there is memory again", n)
	}
}

// killOrphans ends what the dead have left: their data waits for who never reads.
func killOrphans(t *testing.T, s *scene) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		snap, err := server.Status(t.Context(), s.host.Socket)
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", snap.Children, err)
		}
		if len(snap.Children) == 1 {
			return
		}
		for _, k := range snap.Children {
			if k.Sockets != nil && k.Sockets.Orphans > 0 {
				_, _ = server.EndOrphansOf(t.Context(), s.host.Socket, k.PID) // it may have ended by now
			}
		}
	}
}

// As many orphans as the host may have wait for their peer; the others are reset and
// counted, whosever they are.
func TestProgramsShareTheHostsOrphans(t *testing.T) {
	s := newScene(t, server.Limits{Orphans: 5})
	a, b := s.hog(0), s.hog(0)
	for _, p := range []*testhost.Process{a, b} {
		ask(t, p, "open 4", "opened")
		ask(t, p, "fill 4000000", "wrote")
	}
	a.Say("close")
	a.Want("closed")
	s.eventually("4 orphans", func(i *server.LimitsInfo) bool { return i.Usage.Orphans == 4 && i.Usage.Reset == 0 })
	time.Sleep(told)
	b.Say("close")
	b.Want("closed")
	s.eventually("5 orphans, and 3 too many", func(i *server.LimitsInfo) bool { return i.Usage.Orphans == 5 && i.Usage.Reset == 3 })
}

// A user's sockets are counted over all his programs; root has no such limit.
func TestAUsersProgramsShareSockets(t *testing.T) {
	s := newScene(t, server.Limits{UserSockets: 8, FinTimeout: time.Second})
	a, b := s.hog(nobody), s.hog(nobody)
	if n := ask(t, a, "open 5", "opened"); n != 5 {
		t.Fatalf("%d sockets of 8", n)
	}
	s.eventually("5 sockets", func(i *server.LimitsInfo) bool { return len(i.Users) == 1 && i.Users[0].Sockets == 5 })
	time.Sleep(told)
	b.Say("open 5")
	if said := b.Want("opened"); !strings.HasPrefix(said, "3 EMFILE=true") || !strings.Contains(said, "too many") {
		t.Errorf("of the 3 that are left the other program got %s", said)
	}
	if n := ask(t, s.hog(0), "open 20", "opened"); n != 20 {
		t.Errorf("root got %d", n)
	}
	a.Kill(syscall.SIGKILL) // its peer never closes: they wait in FIN-WAIT-2 for a second
	a.Wait()
	for end := time.Now().Add(patience); ask(t, b, "open 1", "opened") == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what a dead program had is not given back")
		}
	}
}

// One user's memory runs out, and nobody else's.
func TestAUsersProgramsShareMemory(t *testing.T) {
	const most = 8 << 20
	var s *scene
	for breath := 50; ; breath *= 4 { // milliseconds: on a machine that has other work the server learns late what is in use
		s = newScene(t, server.Limits{UserMemory: most})
		sum := 0
		for range 3 {
			p := s.hog(nobody)
			ask(t, p, "open 5", "opened")
			ask(t, p, "breathe "+strconv.Itoa(breath), "breathes")
			sum += ask(t, p, "fill 4000000", "wrote")
		}
		if sum <= most*3/2 {
			break
		}
		if breath > 500 {
			t.Fatalf("his programs have written %d octets, and %d is the limit", sum, most)
		}
	}
	p := s.hog(0)
	ask(t, p, "open 5", "opened")
	if n := ask(t, p, "fill 1000000", "wrote"); n != 5_000_000 {
		t.Errorf("root's program wrote %d octets of 5,000,000", n)
	}
}

// The next server learns what there is from the children of the one before.
func TestTheNextServerKnowsWhatThereIs(t *testing.T) {
	dir := testhost.Dir(t)
	h, first := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	s := &scene{t: t, host: h, to: deaf(t, testhost.Start(t, dir, testhost.Addrs(2)...))}
	p := s.hog(0)
	ask(t, p, "open 3", "opened")
	ask(t, p, "fill 200000", "wrote")
	full := func(i *server.LimitsInfo) bool { return i.Usage.Sockets == 3 && i.Usage.Buffers >= 600_000 }
	s.eventually("the first server to know", full)
	first.Kill(syscall.SIGKILL)
	first.Wait()
	if n := ask(t, p, "fill 100000", "wrote"); n != 300_000 {
		t.Errorf("without a server %d octets were written", n)
	}
	testhost.Restart(t, dir, h, testhost.Addrs(1)...)
	s.eventually("the second server to know", full)
}
