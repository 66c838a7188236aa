package kill

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

func TestMain(m *testing.M) { testhost.Main(m) }

// killsEnv says how many programs are killed, and seconds how long that may take.
const (
	killsEnv    = "USERTCP_KILLS"
	killsInCI   = 2000
	patience    = 20 * time.Second // for anything that must happen
	maxLife     = 8 * time.Millisecond
	workers     = 6
	diedHolding = "died with the lock"
)

// link is a way for packets between two hosts: each starts both.
type link struct {
	name  string
	start func(t *testing.T, stderr *os.File) (from, to *testhost.Host)
}

var links = []link{{"ring", func(t *testing.T, stderr *os.File) (from, to *testhost.Host) {
	dir := testhost.Dir(t)
	log := func(c *server.Config) { c.Stderr = stderr }
	return testhost.StartWith(t, dir, log, testhost.Addrs(0)...), testhost.StartWith(t, dir, log, testhost.Addrs(1)...)
}}}

// TestKill kills programs with SIGKILL at random instants under full load: senders,
// of which every octet that Write had accepted must arrive, and FIN behind it; and
// receivers, of which the sender must hear. Nothing stays in use, no child crashes
// or stays.
func TestKill(t *testing.T) {
	kills := killsInCI
	if s := os.Getenv(killsEnv); s != "" {
		kills, _ = strconv.Atoi(s)
	} else if testing.Short() {
		kills = 100
	}
	for _, l := range links {
		t.Run(l.name, func(t *testing.T) { l.kill(t, kills) })
	}
}

// field is one run of the test.
type field struct {
	from, to *testhost.Host
	stack    *user.Stack // on to: the survivors
	l        *half.Socket
	at       wire.Endpoint

	mu   sync.Mutex
	came map[uint64]chan *half.Socket // by the number of the program

	killed, octets, held atomic.Int64
	odd                  []string // what children said that they should not have
}

func (l *link) kill(t *testing.T, kills int) {
	began := time.Now()
	seed := uint64(began.UnixNano())
	f := newField(t, l)
	t.Run("all", func(t *testing.T) {
		for w := range workers {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, uint64(w)))
				for n := 0; n < kills/workers+1 && !t.Failed(); n++ {
					f.one(t, r, uint64(w)<<32|uint64(n))
				}
			})
		}
	})
	f.wantNothing(t)
	t.Logf("%d programs killed in %v, %d of them with the lock; %d octets accepted and delivered", f.killed.Load(), time.Since(began).Round(time.Millisecond), f.held.Load(), f.octets.Load())
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
	if f.held.Load() == 0 && kills >= killsInCI {
		t.Error("nobody died with the lock: the hardest case was not tested")
	}
}

func newField(t *testing.T, l *link) *field {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f := &field{came: map[uint64]chan *half.Socket{}}
	go f.listen(r)
	f.from, f.to = l.start(t, w)
	f.stack = f.to.Attach(t)
	f.at = wire.EndpointFrom(netip.AddrPortFrom(f.to.Addr, 7777))
	if f.l, _, err = f.stack.Listen(context.Background(), f.at, 128, false); err != nil {
		t.Fatal(err)
	}
	go f.accept()
	return f
}

// listen hears what the children say.
func (f *field) listen(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		if strings.Contains(s.Text(), diedHolding) {
			f.held.Add(1)
			continue
		}
		f.mu.Lock()
		f.odd = append(f.odd, s.Text())
		f.mu.Unlock()
	}
}

// accept gives each connection to whoever has started the program: it says its
// number first.
func (f *field) accept() {
	for {
		s, err := f.l.Accept()
		if err != nil {
			return
		}
		go func() {
			var b [8]byte
			s.SetDeadline(true, true, time.Now().Add(patience))
			if err := readFull(s, b[:]); err != nil {
				s.Close()
				return
			}
			f.mu.Lock()
			c := f.came[binary.BigEndian.Uint64(b[:])]
			f.mu.Unlock()
			c <- s
		}()
	}
}

func readFull(s *half.Socket, p []byte) error {
	for at := 0; at < len(p); {
		n, err := s.Read(p[at:])
		if at += n; err != nil {
			return err
		}
	}
	return nil
}

// one starts a program, kills it, and looks what its peer gets to hear.
func (f *field) one(t *testing.T, r *rand.Rand, number uint64) {
	came := make(chan *half.Socket, 1)
	f.mu.Lock()
	f.came[number] = came
	f.mu.Unlock()
	page := filepath.Join(t.TempDir(), "accepted")
	if err := os.WriteFile(page, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	what := []string{"send", "receive"}[r.IntN(2)]
	size := []int{64, 1000, 4096, 70000}[r.IntN(4)]
	p := testhost.Run(t, f.from.Socket, what, netip.AddrPortFrom(f.to.Addr, 7777).String(), page, strconv.FormatUint(number, 10), strconv.Itoa(size))
	var s *half.Socket
	select {
	case s = <-came:
	case <-time.After(patience):
		t.Fatalf("program %d has not come", number)
	}
	defer s.Close()
	life := time.Duration(r.Int64N(int64(maxLife)))
	time.AfterFunc(life, func() { p.Kill(syscall.SIGKILL) })
	if what == "send" {
		f.hear(t, s, page)
	} else {
		f.tell(t, s, size)
	}
	p.Wait()
	f.killed.Add(1)
}

// hear reads what a program sends that is killed meanwhile.
func (f *field) hear(t *testing.T, s *half.Socket, page string) {
	buf := make([]byte, 256<<10)
	got := 0
	for {
		n, err := s.Read(buf)
		if string(buf[:n]) != pattern(got, n) {
			t.Fatalf("octets %d to %d are not those that were written", got, got+n)
		}
		if got += n; err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("after %d octets: %v; want EOF", got, err)
		}
	}
	b, err := os.ReadFile(page)
	if accepted := binary.LittleEndian.Uint64(b); err != nil || accepted > uint64(got) {
		t.Fatalf("%d octets were accepted, %d arrived (%v)", accepted, got, err)
	}
	f.octets.Add(int64(got))
	// An RST for its FIN: the dead program's connection need not wait for our end's.
	s.SetOption(unix.SOL_SOCKET, unix.SO_LINGER, 0)
}

// tell sends to a program that is killed meanwhile.
func (f *field) tell(t *testing.T, s *half.Socket, size int) {
	for at := 0; ; {
		n, err := s.Write([]byte(pattern(at, size)))
		at += n
		switch err {
		case nil:
		case syscall.ECONNRESET, syscall.EPIPE:
			return
		default:
			t.Fatalf("the program was killed, and we hear %v", err)
		}
	}
}

// wantNothing waits for the end of all children, and of all that they had.
func (f *field) wantNothing(t *testing.T) {
	deadline := time.Now().Add(patience)
	for {
		n, u := children(), f.stack.Usage()
		if n == 1 && u.Idle() && u.Live == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d children are there, want the survivors' own; in use: %+v", n, u)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.odd) > 0 {
		t.Errorf("children said %d lines:\n%s", len(f.odd), strings.Join(f.odd[:min(20, len(f.odd))], "\n"))
	}
}

// children counts the processes that this one has started and that live.
func children() int {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	n := 0
	for _, name := range all {
		b, err := os.ReadFile(name)
		_, rest, ok := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		if err == nil && ok && fields[0] != "Z" && fields[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

// period is the length after which a stream repeats itself: no power of two, so
// that no buffer in the wrong place looks like the right one.
const period = 65537

var octets = func() string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, period)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return strings.Repeat(string(b), 8)
}()

// pattern returns n octets of a stream from octet at on.
func pattern(at, n int) string { return octets[at%period : at%period+n] }
