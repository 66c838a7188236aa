package nic_test

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/testhost"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

func TestWhatConnectReturns(t *testing.T) {
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	a := newHost(t, na, "va", "10.9.0.2:25")
	b := newHost(t, nb, "vb")
	ua, ub := a.attach(), b.attach()
	listen(t, ub, end(testnet.PairB4, 80))
	a.SetRoute(testnet.Route{To: "10.77.0.0/16", Type: syscall.RTN_UNREACHABLE})
	a.SetRoute(testnet.Route{To: "10.78.0.0/16", Type: syscall.RTN_PROHIBIT})
	for _, row := range []struct {
		name string
		to   wire.Endpoint
		want error
	}{
		{"a port of the kernel's that nobody has", end(testnet.PairB4, 9), syscall.ECONNREFUSED},
		{"the same, IPv6", end(testnet.PairB6, 9), syscall.ECONNREFUSED},
		{"an address without a route", end("192.0.2.1", 80), syscall.ENETUNREACH},
		{"an unreachable route", end("10.77.1.1", 80), syscall.EHOSTUNREACH},
		{"a prohibited route", end("10.78.1.1", 80), syscall.EACCES},
		{"what the server denies", end(testnet.PairB4, 25), syscall.EACCES},
		{"the host itself without lo", end(testnet.PairA4, 80), syscall.EHOSTUNREACH},
	} {
		if c, err := dial(ua, row.to); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
			if err == nil {
				c.Close()
			}
		}
	}
	// A port of ours from which the listener has gone is the kernel's again.
	if _, err := kernelDial(a.Namespace, end(testnet.PairB4, 81)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the kernel connects to nobody: %v", err)
	}
}

// An address of the link that nobody has: who connects to it is told when the kernel's own
// clients are, after the kernel has asked for the neighbour three times, a second each.
// lo need not be served for that.
func TestSilentNeighbour(t *testing.T) {
	t.Parallel() // it waits most of the time
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	ua := newHost(t, na, "va").attach()
	for _, row := range []struct{ ours, kernels string }{{"10.9.0.77", "10.9.0.78"}, {"fd09::77", "fd09::78"}} {
		type outcome struct {
			err  error
			took time.Duration
		}
		began := time.Now()
		kernel := make(chan outcome, 1)
		go func() {
			c, err := kernelDial(na, end(row.kernels, 80))
			if err == nil {
				c.Close()
			}
			kernel <- outcome{err, time.Since(began)}
		}()
		c, err := dial(ua, end(row.ours, 80))
		took := time.Since(began)
		if err == nil {
			c.Close()
		}
		k := <-kernel
		if !errors.Is(err, syscall.EHOSTUNREACH) || !errors.Is(k.err, syscall.EHOSTUNREACH) {
			t.Errorf("%s: %v; the kernel: %v", row.ours, err, k.err)
		}
		t.Logf("%s: %v, the kernel's client %v", row.ours, took, k.took)
		if took > k.took+patience/2 {
			t.Errorf("%s: told after %v, the kernel's client after %v", row.ours, took, k.took)
		}
	}
}

// One port space: what one stack has the other can't have.
func TestPortsAreInUseForBoth(t *testing.T) {
	a, _ := pair(t, 1500)
	ua := a.attach()
	_, local := listen(t, ua, wire.Endpoint{})
	a.Do(func() {
		for _, addr := range []string{testnet.PairA4, "127.0.0.1", testnet.PairA6} {
			l, err := net.Listen("tcp", net.JoinHostPort(addr, portText(local)))
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("the kernel listens at %s port %d, which is ours: %v", addr, local.Port, err)
			}
			if err == nil {
				l.Close()
			}
		}
	})
	kernel := a.Listen("tcp", testnet.PairA4+":0").Addr().(*net.TCPAddr).AddrPort()
	ctx := context.Background()
	for _, at := range []wire.Endpoint{wire.EndpointFrom(kernel), {Port: kernel.Port()}} {
		if _, _, err := ua.Listen(ctx, at, 1, true); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("we listen at %v, which is the kernel's: %v", at, err)
		}
	}
	// The same port on different addresses is fine.
	if l, _, err := ua.Listen(ctx, end(testnet.PairA6, int(kernel.Port())), 1, true); err != nil {
		t.Errorf("another address: %v", err)
	} else {
		l.Close()
	}
	if _, _, err := ua.Listen(ctx, end("10.1.2.3", 80), 1, true); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("an address that nobody has: %v", err)
	}
}

func portText(e wire.Endpoint) string {
	_, port, _ := net.SplitHostPort(e.String())
	return port
}

// within waits until ok holds.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// fromKernel is a listener of ub's, and a connection to it from the kernel of another host.
func fromKernel(t *testing.T, from *host, ub *user.Stack) (l *half.Socket, k *net.TCPConn, s *half.Socket) {
	t.Helper()
	l, _ = listen(t, ub, end(testnet.PairB4, 80))
	k, err := kernelDial(from.Namespace, end(testnet.PairB4, 80))
	check(t, err)
	s, err = l.Accept()
	check(t, err)
	return l, k, s
}

// A connection that came in by a listener outlives it, and its end is the end of
// what the pool has.
func TestAConnectionOutlivesItsListener(t *testing.T) {
	a, b := pair(t, 1500)
	ub := b.attach()
	l, k, s := fromKernel(t, a, ub)
	check(t, l.Close())
	within(t, "the listener is still there", func() bool {
		_, err := kernelDial(a.Namespace, end(testnet.PairB4, 80))
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	within(t, "the port can't be had again", func() bool {
		again, _, err := ub.Listen(context.Background(), end(testnet.PairB4, 80), 1, true)
		if err == nil {
			again.Close()
		}
		return err == nil
	})
	b.Do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(t, err)
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 80}); err != unix.EADDRINUSE {
			t.Errorf("the kernel binds a port at which a connection of ours goes on: %v", err)
		}
	})
	exchange(t, k, s, 1<<20)
}

// hello sends something from k to s.
func hello(t *testing.T, k, s stream) {
	t.Helper()
	_, err := k.Write([]byte("hello"))
	check(t, err)
	buf := make([]byte, 5)
	_, err = io.ReadFull(s, buf)
	check(t, err)
}

// A server that is killed takes nothing with it; the next one goes on where it was.
func TestAServerIsKilledAndStartedAgain(t *testing.T) {
	a, b := pair(t, 1500)
	ub := b.attach()
	l, k, s := fromKernel(t, a, ub)
	b.server.Kill(syscall.SIGKILL)
	b.server.Wait()
	hello(t, k, s)
	b.start()
	hello(t, k, s)
	k2, err := kernelDial(a.Namespace, end(testnet.PairB4, 80))
	check(t, err)
	s2, err := l.Accept()
	check(t, err)
	exchange(t, k2, s2, 1<<20)
	exchange(t, k, s, 1<<20)
}

// A listener that is closed while there is no connection server gives its port back when
// there is one again; connections that came in by it go on.
func TestAListenerIsClosedWithoutAServer(t *testing.T) {
	a, b := pair(t, 1500)
	ub, other := b.attach(), b.attach()
	l, k, s := fromKernel(t, a, ub)
	b.server.Kill(syscall.SIGKILL)
	b.server.Wait()
	check(t, l.Close())
	hello(t, k, s)
	b.start()
	var again *half.Socket
	within(t, "another program can't have the port", func() bool {
		var err error
		again, _, err = other.Listen(context.Background(), end(testnet.PairB4, 80), 1, true)
		return err == nil
	})
	k2, err := kernelDial(a.Namespace, end(testnet.PairB4, 80))
	check(t, err)
	s2, err := again.Accept()
	check(t, err)
	exchange(t, k2, s2, 1<<20)
	exchange(t, k, s, 1<<20)
	check(t, again.Close())
	within(t, "the listener is still there", func() bool {
		_, err := kernelDial(a.Namespace, end(testnet.PairB4, 80))
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// So does a connection.
func TestAConnectionEndsWithoutAServer(t *testing.T) {
	a, b := pair(t, 1500)
	ub, other := b.attach(), b.attach()
	l := a.Listen("tcp", testnet.PairA4+":0")
	local, remote := end(testnet.PairB4, 4000), wire.EndpointFrom(l.Addr().(*net.TCPAddr).AddrPort())
	open := func(by *user.Stack) (*half.Socket, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return by.Connect(ctx, local, remote)
	}
	u, err := open(ub)
	check(t, err)
	k, err := l.Accept()
	check(t, err)
	b.server.Kill(syscall.SIGKILL)
	b.server.Wait()
	reset(t, u)
	if _, err := k.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer: %v", err)
	}
	b.start()
	within(t, "another program can't have its four numbers", func() bool {
		again, err := open(other)
		if err == nil {
			again.Close()
		}
		return err == nil
	})
}

// A program that ends without a connection server leaves no child behind that waits for
// one.
func TestAProgramEndsWithoutAServer(t *testing.T) {
	a, b := pair(t, 1500)
	ub, other := b.attach(), b.attach()
	l, k, s := fromKernel(t, a, ub)
	pids := ub.Pids()
	b.server.Kill(syscall.SIGKILL)
	b.server.Wait()
	check(t, l.Close())
	hello(t, k, s)
	reset(t, k) // TIME-WAIT would take its minute
	check(t, ub.Close())
	testhost.WantGone(t, pids[len(pids)-1])
	b.start()
	listen(t, other, end(testnet.PairB4, 80))
}
