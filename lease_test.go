package usertcp

import (
	"context"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/user"
)

// dialOnce makes a connection, and ends it so that nothing of it stays at this end.
func dialOnce(t *testing.T, s *user.Stack, l *Listener) {
	t.Helper()
	c, err := dialVia(s, l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.SetDeadline(time.Now().Add(patience))
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	wantEOF(t, c)
}

// learnTheWay dials until the connection servers are not asked any more.
func learnTheWay(t *testing.T, hosts []*testhost.Host, s *user.Stack, l *Listener) {
	t.Helper()
	syns := func() (n uint64) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, h := range hosts {
			snap, err := server.Status(ctx, h.Socket)
			if err != nil {
				t.Fatal(err)
			}
			n += snap.Counters.Syns
		}
		return n
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		before := syns()
		dialOnce(t, s, l)
		if syns() == before {
			return
		}
	}
	t.Fatalf("%v of dialing, and each SYN goes through the servers", patience)
}

// When a program has dialled an end some times it needs nobody's help any more: it goes
// on while both connection servers are stopped.
func TestDialWithoutTheServers(t *testing.T) {
	dir := testhost.Dir(t)
	h1, server1 := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	h2, server2 := testhost.StartProcess(t, dir, testhost.Addrs(2)...)
	a, b := h1.Attach(t), h2.Attach(t)
	l := listenVia(t, b, "10.1.0.2:0")
	for range 30 {
		dialOnce(t, a, l)
		time.Sleep(5 * time.Millisecond)
	}
	learnTheWay(t, []*testhost.Host{h1, h2}, a, l) // on a machine that has other work it takes longer
	for _, p := range []*testhost.Process{server1, server2} {
		p.Kill(syscall.SIGSTOP)
		defer p.Kill(syscall.SIGCONT)
	}
	within(t, func() {
		for range 300 { // more than there are ports in a lease
			dialOnce(t, a, l)
		}
	})
}

// A listener may close, and another program of its host take its place: who dials by
// the way to the first one finds the second.
func TestDialFindsAListenerThatMoved(t *testing.T) {
	hosts := testhost.Ring(t, 2)
	a, b, c := hosts[0].Attach(t), hosts[1].Attach(t), hosts[1].Attach(t)
	l := listenVia(t, b, "10.1.0.2:0")
	learnTheWay(t, hosts, a, l)
	address := l.Addr().String()
	l.Close()
	_, err := dialVia(a, l.Addr())
	if err != syscall.ECONNREFUSED {
		t.Errorf("where nobody listens: %v", err)
	}
	dialOnce(t, a, listenVia(t, c, address))
}

// Programs of one host, and one that dials itself, learn ways too.
func TestWaysWithinAHost(t *testing.T) {
	h := testhost.Ring(t, 1)
	a, b := h[0].Attach(t), h[0].Attach(t)
	learnTheWay(t, h, a, listenVia(t, b, "10.1.0.1:0"))
	learnTheWay(t, h, a, listenVia(t, b, "[fd00::1]:0"))
	learnTheWay(t, h, a, listenVia(t, a, "10.1.0.1:0"))
}
