package nic_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// net2 is two hosts between which octets go, and where b is reached.
type net2 struct {
	a, b   *host
	ua, ub *user.Stack
	addr   string // of b
	l      *half.Socket
	at     wire.Endpoint // of the listener at b's stack
}

// meetAt has b listen.
func meetAt(t *testing.T, a, b *host, addr string) *net2 {
	t.Helper()
	n := &net2{a: a, b: b, ua: a.attach(), ub: b.attach(), addr: addr}
	n.l, n.at = listen(t, n.ub, wire.Endpoint{Port: 80})
	n.at.Addr = end(addr, 80).Addr
	return n
}

// meetings are the kinds of connections in which one of our stacks takes part, by who
// connects to whom.
var meetings = []struct {
	name string
	meet func(*testing.T, *net2) (client, server stream)
}{
	{"user to kernel", func(t *testing.T, n *net2) (client, server stream) {
		to, accepted := kernelAccept(t, n.b.Namespace, n.addr)
		c, err := dial(n.ua, to)
		check(t, err)
		return c, <-accepted
	}},
	{"kernel to user", func(t *testing.T, n *net2) (client, server stream) {
		c, err := kernelDial(n.a.Namespace, n.at)
		check(t, err)
		return c, n.accept(t)
	}},
	{"user to user", func(t *testing.T, n *net2) (client, server stream) {
		c, err := dial(n.ua, n.at)
		check(t, err)
		return c, n.accept(t)
	}},
}

func (n *net2) accept(t *testing.T) *half.Socket {
	t.Helper()
	check(t, n.l.SetDeadline(true, true, time.Now().Add(patience)))
	s, err := n.l.Accept()
	check(t, err)
	return s
}

// eachMeeting runs f with a connection of each kind, which ends with f.
func (n *net2) eachMeeting(t *testing.T, f func(t *testing.T, client, server stream)) {
	for _, m := range meetings {
		t.Run(m.name, func(t *testing.T) {
			c, s := m.meet(t, n)
			defer c.Close()
			defer s.Close()
			setDeadline(t, c, patience)
			setDeadline(t, s, patience)
			f(t, c, s)
		})
	}
}

// setDeadline bounds reading and writing.
func setDeadline(t *testing.T, s stream, d time.Duration) {
	t.Helper()
	switch s := s.(type) {
	case *half.Socket:
		check(t, s.SetDeadline(true, true, time.Now().Add(d)))
	case interface{ SetDeadline(time.Time) error }:
		check(t, s.SetDeadline(time.Now().Add(d)))
	}
}

// reset closes a connection with an RST.
func reset(t *testing.T, s stream) {
	t.Helper()
	switch s := s.(type) {
	case *half.Socket:
		check(t, s.SetOption(unix.SOL_SOCKET, unix.SO_LINGER, 0))
	case interface{ SetLinger(int) error }:
		check(t, s.SetLinger(0))
	}
	check(t, s.Close())
}

// routed returns two hosts, 10.1.0.2 and 10.2.0.2, fd01::2 and fd02::2, with a router
// between them.
func routed(t *testing.T, mtu int) (a, b *host, router *testnet.Namespace) {
	t.Helper()
	na, r, nb := testnet.New(t), testnet.New(t), testnet.New(t)
	testnet.Join(testnet.Wire{A: testnet.End{In: na, Name: "a0", Addrs: []string{"10.1.0.2/24", "fd01::2/64"}},
		B: testnet.End{In: r, Name: "r0", Addrs: []string{"10.1.0.1/24", "fd01::1/64"}}, MTU: mtu})
	testnet.Join(testnet.Wire{A: testnet.End{In: nb, Name: "b0", Addrs: []string{"10.2.0.2/24", "fd02::2/64"}},
		B: testnet.End{In: r, Name: "r1", Addrs: []string{"10.2.0.1/24", "fd02::1/64"}}, MTU: mtu})
	r.Forward()
	na.SetRoute(testnet.Route{To: "10.0.0.0/8", Via: "10.1.0.1"})
	na.SetRoute(testnet.Route{To: "fd00::/8", Via: "fd01::1"})
	nb.SetRoute(testnet.Route{To: "10.0.0.0/8", Via: "10.2.0.1"})
	nb.SetRoute(testnet.Route{To: "fd00::/8", Via: "fd02::1"})
	return newHost(t, na, "a0,lo"), newHost(t, nb, "b0,lo"), r
}
