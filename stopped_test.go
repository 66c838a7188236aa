package usertcp

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// stopEnv says how long a program is stopped; stopInCI is more than the peer's patience.
const (
	stopEnv  = "USERTCP_STOP"
	stopInCI = 7 * time.Second
)

// aliveAfterSecond is the keep-alive of a peer that gives up after five seconds: a child
// that gets no CPU for one of them has not failed yet.
var aliveAfterSecond = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 4}

// A program that is stopped for longer than its peer waits for an answer loses nothing:
// keep-alives and window probes are answered, and the stream goes on.
func TestStoppedForLong(t *testing.T) {
	stop := stopInCI
	if s := os.Getenv(stopEnv); s != "" {
		var err error
		if stop, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	_, socket := peers(t)
	p, address, _ := listening(t, socket, "listen")
	idle, busy := dialWatched(t, p, address), dialWatched(t, p, address)
	// Its readers sleep by then: a program that is stopped with the lock is silent, and
	// TestStoppedWithTheLock's.
	time.Sleep(300 * time.Millisecond)
	p.Kill(syscall.SIGSTOP)
	data := make([]byte, 32<<20)
	fill(data, 9)
	busy.SetWriteDeadline(time.Now().Add(stop))
	n, err := busy.Write(data)
	wantTimeout(t, err, "write") // its window is closed, and stays so
	busy.SetWriteDeadline(time.Time{})
	p.Kill(syscall.SIGCONT)
	if _, err := busy.Write(data[n:]); err != nil {
		t.Fatal(err)
	}
	busy.CloseWrite()
	if got, want := p.Line(), fmt.Sprintf("read %d %x <nil>", len(data), hash(data)); got != want {
		t.Fatalf("the program says %q, want %q", got, want)
	}
	text := "the other connection was idle"
	write(t, idle, text)
	idle.CloseWrite()
	if got, want := p.Line(), fmt.Sprintf("read %d %x <nil>", len(text), hash([]byte(text))); got != want {
		t.Fatalf("the program says %q, want %q", got, want)
	}
}

// dialWatched connects to p, and asks it soon whether it lives.
func dialWatched(t *testing.T, p *testhost.Process, address string) *Conn {
	t.Helper()
	d := Dialer{Timeout: patience}
	c, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.(*Conn).SetKeepAliveConfig(aliveAfterSecond); err != nil {
		t.Fatal(err)
	}
	p.Want("accepted")
	return c.(*Conn)
}

// That is the child's doing: without it the peer gives up.
func TestStoppedWithItsChild(t *testing.T) {
	_, socket := peers(t)
	p, address, child := listening(t, socket, "listen")
	var conns [5]net.Conn // of which one may ask for all, but not be silent for all
	for i := range conns {
		conns[i] = dialWatched(t, p, address)
	}
	time.Sleep(2 * aliveAfterSecond.Idle) // until somebody has asked
	p.Kill(syscall.SIGSTOP)
	testhost.Stop(t, child)
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(patience))
		_, err := c.Read(make([]byte, 1))
		wantError(t, err, "read", syscall.ETIMEDOUT)
	}
}
