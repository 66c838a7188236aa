package usertcp

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/half"
)

// TestSynCookies fills a listener's backlog with half open connections, which
// TCP_DEFER_ACCEPT keeps so: those beyond it come as cookies, and all work.
func TestSynCookies(t *testing.T) {
	n := twoHosts(t)
	s, at, err := n.b.Listen(context.Background(), endpoint(t, n.address), 2, false, func(s *half.Socket) error {
		return s.SetOption(syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, 20)
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{sock: s, addr: tcpAddr(at)}
	defer l.Close()
	const conns = 8
	var all []*Conn
	for i := range conns {
		c, err := dialVia(n.a, l.Addr())
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		all = append(all, c)
	}
	u := n.b.Usage()
	if u.Counters.CookiesSent < conns-3 {
		t.Errorf("%d cookies for %d connections: %+v", u.Counters.CookiesSent, conns, u)
	}
	l.SetDeadline(time.Now().Add(patience))
	for i, c := range all {
		write(t, c, fmt.Sprintf("hello %d", i))
		got, err := l.Accept()
		if err != nil {
			t.Fatalf("connection %d: %v; %+v", i, err, n.b.Usage())
		}
		defer got.Close()
		want(t, got, fmt.Sprintf("hello %d", i))
		write(t, got, "and back")
		want(t, c, "and back")
		info, err := got.(*Conn).Info()
		if err != nil || !info.SACK || !info.Timestamps || !info.WindowScaling {
			t.Errorf("connection %d: %+v, %v", i, info, err)
		}
	}
	if u := n.b.Usage(); u.Counters.CookiesTaken < conns-3 {
		t.Errorf("%d cookies were taken: %+v", u.Counters.CookiesTaken, u)
	}
}
