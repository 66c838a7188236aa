package usertcp

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// The programs of these tests are the test binary again. Each says in lines what
// it does; the test sends it signals.
func init() {
	testhost.Register(map[string]func(args []string) error{
		"send": programSend, "hold": programHold, "listen": programListen, "echo": programEcho,
	})
}

// say tells the test.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// hear waits for the test's next line; without one the program ends.
var stdin = bufio.NewScanner(os.Stdin)

func hear() string {
	if !stdin.Scan() {
		os.Exit(3)
	}
	return stdin.Text()
}

func programDial(address string) (net.Conn, error) {
	c, err := DialTimeout("tcp", address, patience)
	if err == nil {
		err = sayPids()
	}
	return c, err
}

// sayPids tells which child works for the program.
func sayPids() error {
	pids, err := Helpers(context.Background())
	if err == nil {
		say("child %d", pids[len(pids)-1])
	}
	return err
}

// programSend ADDRESS SIZE END writes SIZE octets and ends in the way END says:
// exit, kill, panic or wait.
func programSend(args []string) error {
	size, _ := strconv.Atoi(args[1])
	c, err := programDial(args[0])
	if err != nil {
		return err
	}
	data := make([]byte, size)
	fill(data, 20)
	n, err := c.Write(data)
	if err != nil || n != size {
		return fmt.Errorf("wrote %d: %w", n, err)
	}
	switch args[2] {
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "panic":
		os.Stderr.Close()
		panic("as the test wants it")
	case "wait":
		say("written")
		hear()
	}
	os.Exit(0)
	return nil
}

// programHold ADDRESS connects and does not read.
func programHold(args []string) error {
	if _, err := programDial(args[0]); err != nil {
		return err
	}
	say("connected")
	hear()
	return nil
}

// programListen ADDRESS listens, and reads what comes on each connection to its
// end, of which it says the hash.
func programListen(args []string) error {
	l, err := Listen("tcp", args[0])
	if err != nil {
		return err
	}
	if err := sayPids(); err != nil {
		return err
	}
	say("listening %s", l.Addr())
	var readers sync.WaitGroup
	defer readers.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		say("accepted")
		readers.Go(func() {
			got, err := io.ReadAll(c)
			say("read %d %x %v", len(got), hash(got), err)
		})
	}
}

// programEcho ADDRESS listens and echoes.
func programEcho(args []string) error {
	l, err := Listen("tcp", args[0])
	if err != nil {
		return err
	}
	if err := sayPids(); err != nil {
		return err
	}
	say("listening %s", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

func hash(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:4]
}

// children are those of the present test's programs.
var (
	children     []int
	childrenLock sync.Mutex // for subtests that run side by side
)

// peers is a host for the test and one for its programs. When the servers have
// stopped, after the test, no child may be left.
func peers(t *testing.T) (listener *Listener, program string) {
	t.Cleanup(func() { wantNoChildren(t) })
	h := testhost.Ring(t, 2)
	useServer(t, h[0].Socket)
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.(*Listener).SetDeadline(time.Now().Add(patience))
	return l.(*Listener), h[1].Socket
}

func wantNoChildren(t *testing.T) {
	t.Helper()
	pids := children
	children = nil
	testhost.WantGone(t, pids...)
}

func accept(t *testing.T, l *Listener) *Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

func childOf(t *testing.T, p *testhost.Process) int {
	t.Helper()
	pid, err := strconv.Atoi(p.Want("child"))
	if err != nil || !testhost.Running(pid) {
		t.Fatal("no child: ", pid, err)
	}
	childrenLock.Lock()
	children = append(children, pid)
	childrenLock.Unlock()
	return pid
}

func TestWhatAProgramWroteArrivesWhenItEnds(t *testing.T) {
	const size = 20 << 20
	data := make([]byte, size)
	fill(data, 20)
	for _, end := range []string{"exit", "kill", "panic"} {
		t.Run(end, func(t *testing.T) {
			l, socket := peers(t)
			p := testhost.Run(t, socket, "send", l.Addr().String(), strconv.Itoa(size), end)
			childOf(t, p)
			c := accept(t, l)
			got, err := io.ReadAll(c)
			if err := errors.Join(err, same(got, data)); err != nil {
				t.Fatal(err)
			}
			p.Wait()
			c.Close()
		})
	}
}

// The last megabytes lie in the segment when the program is dead: nobody has read
// yet.
func TestWhatLiesInTheSegmentArrivesAfterDeath(t *testing.T) {
	l, socket := peers(t)
	const size = 1 << 20
	p := testhost.Run(t, socket, "send", l.Addr().String(), strconv.Itoa(size), "wait")
	childOf(t, p)
	c := accept(t, l)
	p.Want("written")
	p.Kill(syscall.SIGKILL)
	p.Wait()
	time.Sleep(pause)
	data := make([]byte, size)
	fill(data, 20)
	got, err := io.ReadAll(c)
	if err := errors.Join(err, same(got, data)); err != nil {
		t.Fatal(err)
	}
}

func TestProgramKilledWithUnreadDataResets(t *testing.T) {
	l, socket := peers(t)
	p := testhost.Run(t, socket, "hold", l.Addr().String())
	child := childOf(t, p)
	c := accept(t, l)
	p.Want("connected")
	write(t, c, "nobody will read this")
	time.Sleep(pause)
	p.Kill(syscall.SIGKILL)
	_, err := c.Read(make([]byte, 1))
	wantError(t, err, "read", syscall.ECONNRESET)
	testhost.WantGone(t, child)
}

func TestProgramKilledWithoutUnreadDataCloses(t *testing.T) {
	l, socket := peers(t)
	p := testhost.Run(t, socket, "hold", l.Addr().String())
	childOf(t, p)
	c := accept(t, l)
	p.Want("connected")
	p.Kill(syscall.SIGKILL)
	wantEOF(t, c)
}

// listening starts a program that listens on the second host.
func listening(t *testing.T, socket, name string) (p *testhost.Process, address string, child int) {
	t.Helper()
	p = testhost.Run(t, socket, name, "10.1.0.2:0")
	child = childOf(t, p)
	return p, p.Want("listening"), child
}

func TestStoppedProgramLosesNothing(t *testing.T) {
	_, socket := peers(t)
	p, address, _ := listening(t, socket, "listen")
	c := dialed(t, address)
	defer c.Close()
	p.Want("accepted")
	p.Kill(syscall.SIGSTOP)
	data := make([]byte, 16<<20)
	fill(data, 5)
	c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	n, err := c.Write(data)
	wantTimeout(t, err, "write")
	// More than what this end can hold was taken: the child acknowledges.
	if sent := process.shards[0].Usage(); n < 64<<10 {
		t.Errorf("%d octets were written to a stopped program; %+v", n, sent)
	}
	t.Logf("%d KiB written while the program was stopped", n>>10)
	p.Kill(syscall.SIGCONT)
	c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(data[n:]); err != nil {
		t.Fatal(err)
	}
	c.(*Conn).CloseWrite()
	if got, want := p.Line(), fmt.Sprintf("read %d %x <nil>", len(data), hash(data)); got != want {
		t.Fatalf("the program says %q, want %q", got, want)
	}
}

// Small data is acknowledged while the program is stopped: nothing of it stays
// with the sender.
func TestChildAcknowledgesForAStoppedProgram(t *testing.T) {
	_, socket := peers(t)
	p, address, _ := listening(t, socket, "listen")
	c := dialed(t, address)
	defer c.Close()
	p.Want("accepted")
	p.Kill(syscall.SIGSTOP)
	write(t, c, strings.Repeat("x", 1000))
	for end := time.Now().Add(patience); process.shards[0].Usage().Chunks > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not acknowledged: %+v", process.shards[0].Usage())
		}
	}
	// And it completes handshakes.
	c2 := dialed(t, address)
	c2.Close()
	p.Kill(syscall.SIGCONT)
	p.Want("accepted")
}

func TestKilledListenerRefuses(t *testing.T) {
	_, socket := peers(t)
	p, address, child := listening(t, socket, "listen")
	p.Kill(syscall.SIGKILL)
	testhost.WantGone(t, child)
	within(t, func() {
		_, err := DialTimeout("tcp", address, patience)
		wantError(t, err, "dial", syscall.ECONNREFUSED)
	})
	// The port is free for the next one.
	p = testhost.Run(t, socket, "listen", address)
	childOf(t, p)
	p.Want("listening")
}

// TIME-WAIT is no reason for a child to live: the server keeps it.
func TestTimeWaitKeepsNoChild(t *testing.T) {
	t.Cleanup(func() { wantNoChildren(t) })
	h := testhost.Ring(t, 2)
	useServer(t, h[0].Socket)
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.(*Listener).SetDeadline(time.Now().Add(patience))
	p := testhost.Run(t, h[1].Socket, "send", l.Addr().String(), "100000", "exit")
	child := childOf(t, p)
	c := accept(t, l.(*Listener))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	remote := c.RemoteAddr()
	c.Close() // the program's end has closed first, and is in TIME-WAIT
	testhost.WantGone(t, child)
	if n := h[1].Server.Snapshot().TimeWaits; n != 1 {
		t.Errorf("%d connections in TIME-WAIT at the server, want 1", n)
	}
	// Its four numbers are taken for as long.
	l.Close()
	process.shards[0].Close()
	process.shards[0] = nil
	useServer(t, h[1].Socket)
	if _, err := Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("another connection: %v", err)
	}
	d := Dialer{LocalAddr: remote}
	_, err = d.Dial("tcp", l.Addr().String())
	wantError(t, err, "dial", syscall.EADDRNOTAVAIL)
}
