package nic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// Short connections, one after the other and eight at once: a question, an answer and
// the end of both halves.
func TestShortConnections(t *testing.T) {
	a, b := pair(t, 1500)
	n := meetAt(t, a, b, testnet.PairB4)
	kernel := b.Listen("tcp", net.JoinHostPort(testnet.PairB4, "0"))
	go answerAll(func() (stream, error) {
		c, err := kernel.Accept()
		if err != nil {
			return nil, err
		}
		return c.(stream), nil
	})
	check(t, n.l.SetDeadline(true, true, time.Time{}))
	go answerAll(func() (stream, error) { return n.l.Accept() })
	to := wire.EndpointFrom(kernel.Addr().(*net.TCPAddr).AddrPort())
	for _, row := range []struct {
		name string
		dial func() (stream, error)
	}{
		{"user to kernel", func() (stream, error) { return dial(n.ua, to) }},
		{"kernel to user", func() (stream, error) { return kernelDial(a.Namespace, n.at) }},
		{"user to user", func() (stream, error) { return dial(n.ua, n.at) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			began := time.Now()
			times(t, 2000*heavy, func(i int) error { return ask(row.dial, i) })
			t.Logf("%d connections in %v", 2000*heavy, time.Since(began).Round(time.Millisecond))
		})
	}
	within(t, "octets are left", func() bool { return settled(n.ub) && settled(n.ua) })
}

// settled reports whether no octets are left in a pool; connections may be, in TIME-WAIT.
func settled(s *user.Stack) bool {
	u := s.Usage()
	return u.Idle()
}

// times runs f n times, eight at once, until one fails.
func times(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			for i := next.Add(1); i <= int64(n) && !t.Failed(); i = next.Add(1) {
				if err := f(int(i)); err != nil {
					t.Errorf("number %d: %v", i, err)
				}
			}
		})
	}
	g.Wait()
}

// ask sends a number, and wants it back, and EOF.
func ask(dial func() (stream, error), i int) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, i); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != fmt.Sprintln(i) {
		err = fmt.Errorf("the answer is %q", got)
	}
	return err
}

// answerAll sends back what connections say, until accept fails.
func answerAll(accept func() (stream, error)) {
	for {
		c, err := accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			c.Close()
		}()
	}
}

// Ten thousand connections of one pool are open at once, each with octets on their way,
// and cost the memory that the map of the segment says, and little time.
func TestManyConnectionsAtOnce(t *testing.T) {
	const many = 10000
	a, b := pair(t, 1500)
	ua, ub := a.attach(), b.attach()
	l, at, err := ub.Listen(context.Background(), end(testnet.PairB4, 80), 512, true)
	check(t, err)
	defer l.Close()
	before, began := sharedMemory(t), time.Now()
	clients, servers := make([]*half.Socket, many+1), make(chan *half.Socket, many)
	go func() {
		for range many {
			s, err := l.Accept()
			if err != nil {
				return
			}
			servers <- s
		}
	}()
	times(t, many, func(i int) (err error) {
		if clients[i], err = dial(ua, at); err == nil {
			_, err = fmt.Fprintln(clients[i], i)
		}
		return err
	})
	if t.Failed() {
		return
	}
	accepted := make([]*half.Socket, 0, many)
	for range many {
		accepted = append(accepted, <-servers)
	}
	t.Logf("%d connections open after %v", many, time.Since(began).Round(time.Millisecond))
	if u := ub.Usage(); u.Live < many {
		t.Errorf("%d connections are there, want %d", u.Live, many)
	}
	grown := sharedMemory(t) - before
	t.Logf("%d octets of shared memory for each connection, both ends", grown/many)
	if grown > many*16<<10+64<<20 {
		t.Errorf("%d octets of shared memory for %d connections", grown, many)
	}
	times(t, many, func(i int) error {
		s := accepted[i-1]
		buf := make([]byte, 16)
		s.SetDeadline(true, true, time.Now().Add(patience))
		n, err := s.Read(buf)
		if _, ok := strings.CutSuffix(string(buf[:n]), "\n"); err != nil || !ok {
			return fmt.Errorf("%q: %v", buf[:n], err)
		}
		return errors.Join(s.CloseWrite(), s.Close())
	})
	times(t, many, func(i int) error {
		c := clients[i]
		c.SetDeadline(true, true, time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			return fmt.Errorf("%d octets, %v; want EOF", n, err)
		}
		return c.Close()
	})
	within(t, "octets are left", func() bool { return settled(ua) && settled(ub) })
	t.Logf("all closed after %v", time.Since(began).Round(time.Millisecond))
}

// sharedMemory returns how many octets of shared memory this process has touched.
func sharedMemory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	check(t, err)
	_, rest, _ := strings.Cut(string(b), "RssShmem:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	check(t, err)
	return n << 10
}

// A backlog full of connections that have not spoken yet: the kernels of other hosts
// get cookies, and all their connections work.
func TestSynCookiesForTheKernel(t *testing.T) {
	a, b := pair(t, 1500)
	ub := b.attach()
	l, at, err := ub.Listen(context.Background(), end(testnet.PairB4, 80), 2, true, func(s *half.Socket) error {
		return s.SetOption(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 20)
	})
	check(t, err)
	defer l.Close()
	check(t, l.SetDeadline(true, true, time.Now().Add(patience)))
	const conns = 20
	var all []*net.TCPConn
	for range conns {
		c, err := kernelDial(a.Namespace, at)
		check(t, err)
		defer c.Close()
		all = append(all, c)
	}
	for _, c := range all {
		_, err := c.Write([]byte("1"))
		check(t, err)
		s, err := l.Accept()
		check(t, err)
		setDeadline(t, s, patience)
		exchange(t, c, skip(t, s), 100000)
	}
	if u := ub.Usage(); u.Counters.CookiesSent < conns-3 || u.Counters.CookiesTaken < conns-3 {
		t.Errorf("%d cookies were sent and %d taken for %d connections", u.Counters.CookiesSent, u.Counters.CookiesTaken, conns)
	}
}

// skip reads one octet.
func skip(t *testing.T, s *half.Socket) *half.Socket {
	t.Helper()
	_, err := io.ReadFull(s, make([]byte, 1))
	check(t, err)
	return s
}

// The kernel listens at one address of a port and we at the others: each gets what is
// for it.
func TestBothStacksHaveOnePort(t *testing.T) {
	a, b := pair(t, 1500)
	b.AddAddr("vb", "10.9.0.3/24")
	ub := b.attach()
	kernel := b.Listen("tcp", net.JoinHostPort(testnet.PairB4, "0"))
	port := kernel.Addr().(*net.TCPAddr).Port
	var ours []*half.Socket
	for _, addr := range []string{"10.9.0.3", testnet.PairB6} {
		l, _ := listen(t, ub, end(addr, port))
		ours = append(ours, l)
	}
	ua := a.attach()
	for name, connect := range map[string]func(wire.Endpoint) (stream, error){
		"from the kernel":    func(to wire.Endpoint) (stream, error) { return kernelDial(a.Namespace, to) },
		"from a user's pool": func(to wire.Endpoint) (stream, error) { return dial(ua, to) },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := connect(end(testnet.PairB4, port))
			check(t, err)
			k, err := kernel.Accept()
			check(t, err)
			exchange(t, c, k.(stream), 100000)
			for i, addr := range []string{"10.9.0.3", testnet.PairB6} {
				c, err := connect(end(addr, port))
				check(t, err)
				s, err := ours[i].Accept()
				check(t, err)
				exchange(t, c, s, 100000)
			}
		})
	}
	b.Do(func() {
		if l, err := net.Listen("tcp", fmt.Sprintf("10.9.0.3:%d", port)); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the kernel listens where we do: %v", err)
			if err == nil {
				l.Close()
			}
		}
	})
}

// A listener that is closed leaves its port at once to the next one, also if a
// connection outlives it.
func TestListenerClosedAndOpenedAgain(t *testing.T) {
	a, b := pair(t, 1500)
	ub := b.attach()
	for range 30 {
		l, at, err := ub.Listen(context.Background(), wire.Endpoint{Port: 80}, 4, true)
		check(t, err)
		at.Addr = end(testnet.PairB4, 80).Addr
		c, err := kernelDial(a.Namespace, at)
		check(t, err)
		check(t, l.Close())
		c.Close()
	}
}
