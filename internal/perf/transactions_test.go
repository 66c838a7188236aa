package perf

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// setupOf is a setup of transactions of a size.
func setupOf(size int) *Setup {
	return &Setup{Test: RR, Size: size, Conns: 1, Time: time.Second}
}

func TestRespondAnswersWholeRequestsOnly(t *testing.T) {
	client, server := net.Pipe()
	var count counter
	ended := make(chan error, 1)
	go func() { ended <- respond(setupOf(4), server, &count) }()
	answer := make([]byte, 4)
	for _, part := range []string{"ab", "cd"} {
		io.WriteString(client, part)
	}
	if _, err := io.ReadFull(client, answer); err != nil || string(answer) != "abcd" {
		t.Errorf("answer %q, %v", answer, err)
	}
	io.WriteString(client, "x")
	client.Close()
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a request: %v, want io.ErrUnexpectedEOF", err)
	}
	if n := count.n.Load(); n != 1 {
		t.Errorf("counted %d, want 1", n)
	}
}

func TestRespondEndsBetweenRequests(t *testing.T) {
	client, server := net.Pipe()
	client.Close()
	if err := respond(setupOf(1), server, new(counter)); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestReceiveMessagesCountsWhatCameBeforeAnError(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		io.WriteString(client, "12345")
		server.Close()
	}()
	var count counter
	err := receiveMessages(setupOf(1), server, &count)
	if !errors.Is(err, io.ErrClosedPipe) || count.n.Load() != 5 {
		t.Errorf("error %v after %d octets", err, count.n.Load())
	}
}

// nagler notes what is asked of Nagle's algorithm.
type nagler struct {
	net.Conn
	asked []bool
}

func (n *nagler) SetNoDelay(on bool) error { n.asked = append(n.asked, on); return nil }

func TestBulkDataMayBeDelayed(t *testing.T) {
	client, server := net.Pipe()
	go io.Copy(io.Discard, server)
	conn := &nagler{Conn: client}
	c := newCrew(time.Minute, nil)
	c.stop.Store(true)
	if err := c.sendMessages(setupOf(1), conn, new(counter)); err != nil || len(conn.asked) != 1 || conn.asked[0] {
		t.Errorf("error %v, SetNoDelay called with %v, want false", err, conn.asked)
	}
}

// scarce is a stack that has no port free for the first calls of Dial.
type scarce struct {
	kernelStack
	refusals int
	then     error // after the refusals; nil means a connection
}

func (s *scarce) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if s.refusals > 0 {
		s.refusals--
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}
	}
	if s.then != nil {
		return nil, s.then
	}
	return s.kernelStack.Dial(ctx, addr)
}

func TestRequesterWaitsForPorts(t *testing.T) {
	c := newCrew(time.Minute, nil)
	m := newMeter("client", 1, alone)
	r := newRequester(c, setupOf(8), m, newRecorder(), 0)
	var waits counter
	st := &scarce{refusals: 3}
	addr := echo(t)
	c.hire(func() error { return r.connectAndRequest(t.Context(), st, addr, &waits) })
	for deadline := time.Now().Add(time.Minute); m.total() < 5 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	c.stop.Store(true)
	if err := c.wait(); err != nil || waits.n.Load() != 3 || m.total() < 5 {
		t.Errorf("error %v, %d waits, %d transactions", err, waits.n.Load(), m.total())
	}
	if len(c.conns) != 0 {
		t.Errorf("%d connections were kept", len(c.conns))
	}
}

func TestRequesterFailsWithItsDialer(t *testing.T) {
	c := newCrew(time.Minute, nil)
	r := newRequester(c, setupOf(8), newMeter("client", 1, alone), newRecorder(), 0)
	st := &scarce{then: syscall.ECONNREFUSED}
	if err := r.connectAndRequest(t.Context(), st, "", new(counter)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v", err)
	}
}

func TestRequesterRecordsOnlyWhenToldTo(t *testing.T) {
	m := newMeter("client", 1, alone)
	all := newRecorder()
	r := newRequester(newCrew(time.Minute, nil), setupOf(1), m, all, 0)
	r.finish(time.Now())
	m.recording.Store(true)
	r.finish(time.Now().Add(-time.Millisecond))
	r.times.flush()
	if m.total() != 2 || all.all.TotalCount() != 1 || all.all.Max() < 1e6 {
		t.Errorf("%d transactions, %d recorded, at most %d ns", m.total(), all.all.TotalCount(), all.all.Max())
	}
}

// queue is a listener with prepared connections.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error   { close(q.closed); return nil }
func (q *queue) Addr() net.Addr { return nil }

// from is a connection from an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", f.addr)
	return a
}

func TestStrangersDataConnectionsAreTurnedAway(t *testing.T) {
	q := &queue{make(chan net.Conn, 3), make(chan struct{})}
	for _, addr := range []string{"10.0.0.9:1", "10.0.0.1:2", "10.0.0.1:3"} {
		_, b := net.Pipe()
		q.conns <- from{b, addr}
	}
	c := newCrew(time.Minute, q)
	if err := acceptAll(c, &Setup{Test: RR, Conns: 2}, q, "10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	for _, conn := range c.conns {
		if peerHost(conn) != "10.0.0.1" {
			t.Errorf("adopted one from %v", conn.RemoteAddr())
		}
	}
	if len(c.conns) != 2 {
		t.Errorf("%d connections", len(c.conns))
	}
}

func TestTooFewDataConnections(t *testing.T) {
	q := &queue{make(chan net.Conn), make(chan struct{})}
	q.Close()
	err := acceptAll(newCrew(time.Minute, nil), &Setup{Test: Stream, Conns: 2}, q, "10.0.0.1")
	if err == nil || !strings.Contains(err.Error(), "for 2 data connections; 0 came") {
		t.Errorf("error %v", err)
	}
}

func TestCongestionControlsAreTriedInOrder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := setCongestionControl(raw, []string{"nonesuch", "reno"}); err != nil {
		t.Errorf("the second is there: %v", err)
	}
	err = setCongestionControl(raw, []string{"nonesuch"})
	if !errors.Is(err, syscall.ENOENT) || !strings.HasPrefix(err.Error(), "TCP_CONGESTION: ") {
		t.Errorf("none is there: %v", err)
	}
}
