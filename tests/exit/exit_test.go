package exit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

func TestMain(m *testing.M) { testhost.Main(m) }

const patience = testhost.Patience // for anything that must happen

// situation is what a program's connections are in the middle of when it ends.
type situation struct {
	program func(s stack, address string) error
	peer    func(t *testing.T, w *world)
}

// situations are filled by init: the programs refer to them.
var situations map[string]situation

func init() {
	situations = map[string]situation{
		"data unsent":          {writeUnsent, wantAllThenFIN},
		"data unacknowledged":  {writeUnacknowledged, wantRetransmitted},
		"received data unread": {readLess, wantReset},
		"many connections":     {openMany, wantEachWhole},
		"connecting":           {connect, wantNoConnection},
		"accepting":            {acceptOne, wantQueueReset},
		"closing":              {closeTwo, wantCloseToGoOn},
	}
}

// world is the surroundings of one program that ends.
type world struct {
	stack
	name    string // of the stack
	from    string // the server that the program uses
	host    string // the program's address
	end     string
	what    string // the situation
	l       net.Listener
	sink    *testhost.Process
	child   int                // the sink's
	address string             // of the sink
	alone   func(t *testing.T) // waits until no program has left anything
	flows   func() int         // connections that the programs' server knows
}

// start starts the program, with its peer at an address.
func (w *world) start(t *testing.T, address string) *testhost.Process {
	t.Helper()
	return testhost.Run(t, w.from, "leave", w.name, w.what, w.end, address)
}

// finish lets the program end, and waits for that.
func (w *world) finish(t *testing.T, p *testhost.Process) {
	t.Helper()
	p.Say("end")
	p.Wait()
	status := p.Status()
	got := fmt.Sprint("status ", status.ExitStatus())
	if status.Signaled() {
		got = status.Signal().String()
	}
	if !slices.Contains(statuses[w.end], got) {
		t.Errorf("the program has ended with %s, want %s", got, statuses[w.end])
	}
}

// statuses are what the programs end with, so that each dies as it is to.
var statuses = map[string][]string{
	"return": {"status 0"}, "exit": {"status 1"}, "panic": {"status 2"}, "memory": {"status 2"},
	"SIGSEGV": crashed, "SIGABRT": crashed, "SIGKILL": {"killed"},
}

// crashed is how a program dies of a signal that Go's runtime catches: by SIGABRT, when the
// runtime has walked the stacks. Other threads still run then, and it can fault on the way,
// in a handler that blocks SIGSEGV, which is death: so went 2 of 87,320 programs of the
// standard library alone (Go 1.26).
var crashed = []string{"aborted", "segmentation fault"}

func (w *world) accept(t *testing.T) net.Conn {
	t.Helper()
	type deadliner interface{ SetDeadline(time.Time) error }
	w.l.(deadliner).SetDeadline(time.Now().Add(patience))
	c, err := w.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return hold(t, c)
}

func hold(t *testing.T, c net.Conn) net.Conn {
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// wantStream reads a connection to its end, which must be a FIN behind the n octets.
func wantStream(t *testing.T, c net.Conn, n int) {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, pattern(n)) {
		t.Errorf("%d octets and %v, want the %d that Write accepted, and FIN", len(got), err, n)
	}
	c.Close()
}

// wantError reads from a connection until that fails.
func wantError(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, want) {
		t.Errorf("read: %v, want %v", err, want)
	}
}

func wantAllThenFIN(t *testing.T, w *world) {
	p := w.start(t, w.l.Addr().String())
	c := w.accept(t)
	n := atoi(t, p.Want("wrote"))
	p.Want("ready")
	w.finish(t, p)
	wantStream(t, c, n)
}

// Both who would acknowledge are stopped, until the program has ended.
func wantRetransmitted(t *testing.T, w *world) {
	p := w.start(t, w.address)
	p.Want("connected")
	w.sink.Want("accepted")
	w.freeze(t)
	p.Say("write")
	p.Want("ready")
	w.finish(t, p)
	w.thaw()
	want := fmt.Sprintf("read %d %x <nil>", unacknowledged, sha256.Sum256(pattern(unacknowledged)))
	if got := w.sink.Line(); got != want {
		t.Errorf("the peer says %q, want %q", got, want)
	}
}

func wantReset(t *testing.T, w *world) {
	p := w.start(t, w.l.Addr().String())
	c := w.accept(t)
	if _, err := c.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	p.Want("ready")
	w.finish(t, p)
	wantError(t, c, syscall.ECONNRESET)
}

func wantEachWhole(t *testing.T, w *world) {
	p := w.start(t, w.l.Addr().String())
	var cs []net.Conn
	for range many {
		cs = append(cs, w.accept(t))
	}
	p.Want("ready")
	w.finish(t, p)
	lengths := map[int]bool{}
	for _, c := range cs {
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, pattern(len(got))) {
			t.Errorf("%d octets and %v", len(got), err)
		}
		lengths[len(got)] = true
		c.Close()
	}
	for n := range many {
		if !lengths[1000*(n+1)] {
			t.Errorf("no connection had the %d octets that one was given", 1000*(n+1))
		}
	}
}

// The SYN of a dead program makes no connection: whoever answers it hears RST.
func wantNoConnection(t *testing.T, w *world) {
	w.freeze(t)
	p := w.start(t, w.address)
	p.Want("ready")
	w.wantFlows(t, 1)
	w.finish(t, p)
	w.wantFlows(t, 0) // its child has heard of its death
	w.thaw()
	c, err := w.dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	hold(t, c).Write(pattern(5))
	c.Close()
	if got := w.sink.Want("accepted"); got != c.LocalAddr().String() {
		t.Errorf("the peer has accepted a connection of %s, want of %s only", got, c.LocalAddr())
	}
	w.sink.Want("read 5")
}

// wantFlows waits until the programs' server knows so many connections.
func (w *world) wantFlows(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); w.flows() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the server knows %d connections, want %d", w.flows(), n)
		}
	}
}

// wantQueueReset is the peer of a listener: what was accepted is closed, what waits to be
// is reset, what comes later is refused.
func wantQueueReset(t *testing.T, w *world) {
	p := w.start(t, w.host+":0")
	address := p.Want("listening")
	var cs []net.Conn
	for n := range 4 {
		c, err := w.dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		cs = append(cs, hold(t, c))
		if n == 0 {
			p.Want("ready")
		}
	}
	w.finish(t, p)
	wantStream(t, cs[0], 0)
	for _, c := range cs[1:] {
		wantError(t, c, syscall.ECONNRESET)
	}
	if c, err := w.dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial to the dead: %v, %v; want ECONNREFUSED", c, err)
	}
}

// A connection that was closed goes on to its end; one that was closed halfway takes no
// more octets.
func wantCloseToGoOn(t *testing.T, w *world) {
	p := w.start(t, w.l.Addr().String())
	a, b := w.accept(t), w.accept(t)
	p.Want("ready")
	w.finish(t, p)
	wantStream(t, a, closing)
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read: %d, %v, want the FIN", n, err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := b.Write([]byte("x")); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return
		} else if err != nil || time.Now().After(end) {
			t.Fatalf("write to the dead: %v", err)
		}
	}
}

// freeze stops who acknowledges for the sink.
func (w *world) freeze(t *testing.T) {
	t.Helper()
	w.sink.Kill(syscall.SIGSTOP)
	testhost.Stop(t, w.child)
	t.Cleanup(w.thaw)
}

func (w *world) thaw() {
	syscall.Kill(w.child, syscall.SIGCONT)
	w.sink.Kill(syscall.SIGCONT)
}

func listen(t *testing.T, s stack, address string) net.Listener {
	t.Helper()
	l, err := s.listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestExit ends programs in every way in every situation. What Write had accepted
// arrives, whole and in order, then FIN; unread data gives RST; and no child stays.
func TestExit(t *testing.T) {
	h := testhost.Ring(t, 2)
	t.Setenv("USERTCP_SERVER", h[0].Socket)
	s := stacks["usertcp"]
	w := world{stack: s, name: "usertcp", from: h[1].Socket, host: "10.1.0.2", l: listen(t, s, "10.1.0.1:0")}
	w.sink = testhost.Run(t, h[0].Socket, "sink", "10.1.0.1:0")
	w.child = atoi(t, w.sink.Want("child"))
	w.address = w.sink.Want("listening")
	w.flows = func() (n int) {
		for _, c := range h[1].Server.Snapshot().Children {
			n += c.Flows
		}
		return n
	}
	w.alone = func(t *testing.T) {
		for end := time.Now().Add(patience); len(h[1].Server.Snapshot().Children) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("children stay: %+v", h[1].Server.Snapshot().Children)
			}
		}
	}
	w.each(t, nil)
	if c := h[1].Server.Snapshot().Counters; c.Restarted != 0 {
		t.Errorf("children have died: %+v", c)
	}
}

// TestExitOfTheKernels is the measure of TestExit: the same peers see the same of programs
// that use the kernel's TCP.
func TestExitOfTheKernels(t *testing.T) {
	s := stacks["kernel"]
	w := world{stack: s, name: "kernel", host: "127.0.0.1", l: listen(t, s, "127.0.0.1:0")}
	// The kernel of this host acknowledges whatever is stopped.
	w.alone = func(*testing.T) {}
	w.each(t, []string{"data unacknowledged", "connecting"})
}

// each goes through all situations and ends, but for some situations.
func (w *world) each(t *testing.T, not []string) {
	for what, s := range situations {
		if slices.Contains(not, what) {
			continue
		}
		for end := range ends {
			w.what, w.end = what, end
			t.Run(what+"/"+end, func(t *testing.T) {
				s.peer(t, w)
				t.Cleanup(func() { w.alone(t) }) // before connections are closed
			})
		}
	}
}
