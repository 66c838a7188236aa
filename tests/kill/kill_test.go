package kill

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/testhost"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

func TestMain(m *testing.M) { testhost.Main(m) }

const (
	patience    = time.Minute // for anything that must happen
	maxLife     = 5 * time.Millisecond
	workers     = 16
	batch       = 250 // programs that a worker kills in one test
	diedHolding = "died with the lock"
	port        = 7777
)

// TestKill kills programs with SIGKILL at random instants under full load: senders,
// of which every octet that Write had accepted must arrive, and FIN behind it; and
// receivers, of which the sender must hear. Nothing stays in use, no child crashes
// or stays.
func TestKill(t *testing.T) {
	r := newReport(t)
	for _, l := range links {
		t.Run(l.name, func(t *testing.T) { kill(t, &l, r) })
	}
}

// field is one run of the test.
type field struct {
	hosts
	stack  *user.Stack // the survivors
	l      *half.Socket
	report *count

	mu   sync.Mutex
	came map[uint64]chan *half.Socket // by the number of the program
	odd  []string                     // what children said that they should not have
}

func kill(t *testing.T, l *link, r *report) {
	f := newField(t, l, r.begin(l))
	t.Run("all", func(t *testing.T) {
		for w := range workers {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(f.report.seed, uint64(w)))
				page := filepath.Join(t.TempDir(), "accepted") // one after the other uses it
				for n := uint64(0); f.report.more() && !t.Failed(); n += batch {
					// What a test has to clean up it keeps until its end.
					t.Run("batch", func(t *testing.T) {
						for k := uint64(0); k < batch && f.report.another(); k++ {
							f.one(t, random, page, uint64(w)<<32|n+k)
						}
					})
				}
			})
		}
	})
	f.wantNothing(t)
	f.report.end(t)
}

func newField(t *testing.T, l *link, c *count) *field {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f := &field{came: map[uint64]chan *half.Socket{}, report: c}
	go f.listen(r)
	f.hosts = l.start(t, w)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if f.stack, err = user.Attach(ctx, f.to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.stack.Close() })
	if f.l, _, err = f.stack.Listen(ctx, wire.EndpointFrom(f.at), 128, false); err != nil {
		t.Fatal(err)
	}
	go f.accept()
	return f
}

// listen hears what the children say.
func (f *field) listen(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		if strings.Contains(s.Text(), diedHolding) {
			f.report.held.Add(1)
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
			if c == nil { // it has come too late
				s.SetOption(unix.SOL_SOCKET, unix.SO_LINGER, 0)
				s.Close()
				return
			}
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

// one starts a program, kills it, and looks what its peer gets to hear. Page is the file
// in which the program leaves what was accepted.
func (f *field) one(t *testing.T, r *rand.Rand, page string, number uint64) {
	came := make(chan *half.Socket, 1)
	f.mu.Lock()
	f.came[number] = came
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.came, number)
		f.mu.Unlock()
	}()
	if err := os.WriteFile(page, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	what := []string{"send", "receive"}[r.IntN(2)]
	size := []int{64, 1000, 4096, 70000}[r.IntN(4)]
	p := testhost.Run(t, f.from, what, f.at.String(), page, strconv.FormatUint(number, 10), strconv.Itoa(size))
	var s *half.Socket
	select {
	case s = <-came:
	case <-time.After(patience):
		f.report.absent(t, number)
		p.Kill(syscall.SIGKILL)
		p.Wait() // the next one uses its page
		return
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
	f.report.killed(t)
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
	f.report.accepted.Add(int64(binary.LittleEndian.Uint64(b)))
	f.report.delivered.Add(int64(got))
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
		n, u := f.children(), f.stack.Usage()
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
		f.report.complain(t, "children said %d lines:\n%s", len(f.odd), strings.Join(f.odd[:min(20, len(f.odd))], "\n"))
	}
}

// period is the length after which a stream repeats itself: no power of two, so
// that no buffer in the wrong place looks like the right one.
const period = 65537

var octets = sync.OnceValue(func() string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, period)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return strings.Repeat(string(b), 8)
})

// pattern returns n octets of a stream from octet at on.
func pattern(at, n int) string { return octets()[at%period : at%period+n] }
