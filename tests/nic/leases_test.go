package nic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// ask1 opens a connection, asks and is answered, closes, and returns the local port.
func ask1(t *testing.T, s *user.Stack, to wire.Endpoint) uint16 {
	t.Helper()
	c, err := dial(s, to)
	check(t, err)
	_, err = c.Write([]byte{1})
	check(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	check(t, err)
	port := c.Flow().Local.Port
	check(t, c.Close())
	return port
}

// leasing lets a program dial until it does so from a leased block, of which the ports
// follow one another.
func leasing(t *testing.T, s *user.Stack, to wire.Endpoint) (block uint16) {
	t.Helper()
	last := uint16(0)
	within(t, "connections come from a block", func() bool {
		port := ask1(t, s, to)
		row := port == last+1
		last = port
		return row
	})
	return last &^ (half.DevicePorts - 1)
}

func block(port uint16) uint16 { return port &^ (half.DevicePorts - 1) }

// A program that connects again and again does so from ports that are its own for a
// while: with the connection server dead, too, and after a child's death. The kernel has these
// ports in use; and the next server knows of them.
func TestConnectionsFromALeasedBlock(t *testing.T) {
	a, b := pair(t, 1500)
	l := answered(t, b)
	to := wire.EndpointFrom(l.Addr().(*net.TCPAddr).AddrPort())
	ua := a.attach()
	first := leasing(t, ua, to)
	inUse := func() bool {
		var err error
		a.Do(func() {
			var k net.Listener
			if k, err = net.Listen("tcp", fmt.Sprintf(":%d", first+half.DevicePorts-1)); err == nil {
				k.Close()
			}
		})
		return errors.Is(err, syscall.EADDRINUSE)
	}
	if !inUse() {
		t.Error("the kernel gives a leased port to somebody else")
	}
	ask1(t, ua, to)
	a.server.Kill(syscall.SIGKILL)
	a.server.Wait()
	n := 0
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); n++ {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		c, err := ua.Connect(ctx, wire.Endpoint{}, to)
		cancel()
		if errors.Is(err, syscall.EHOSTDOWN) {
			break // the way is not fresh any more
		}
		check(t, err)
		check(t, c.Close())
	}
	if n == 0 {
		t.Error("no connection without the connection server")
	}
	if !inUse() {
		t.Error("the kernel's ports went with the server")
	}
	a.start()
	if again := leasing(t, ua, to); again != first {
		t.Logf("another block: %d, before %d", again, first)
	}
	other := a.attach()
	for range 20 {
		if port := ask1(t, other, to); block(port) == first {
			t.Fatalf("port %d is in another program's block", port)
		}
	}
}

// More connections in a short time than a block has ports: more blocks, and ports that
// come again from TIME-WAIT, to the kernel's TCP and to ours.
func TestBlocksDoForManyConnections(t *testing.T) {
	a, b := pair(t, 1500)
	ub := b.attach()
	lu, at := listen(t, ub, end(testnet.PairB4, 80))
	check(t, lu.SetDeadline(true, true, time.Time{}))
	go answerAll(func() (stream, error) { return lu.Accept() })
	lk := answered(t, b)
	for name, to := range map[string]wire.Endpoint{"user": at, "kernel": wire.EndpointFrom(lk.Addr().(*net.TCPAddr).AddrPort())} {
		t.Run(name, func(t *testing.T) {
			ua := a.attach()
			ports := map[uint16]int{}
			most := 0
			// A port may come again a second after its connection has ended: on a fast
			// machine that takes thousands of others.
			for n := 0; n < 1500 || most < 2 && n < 20_000; n++ {
				port := ask1(t, ua, to)
				ports[port]++
				most = max(most, ports[port])
			}
			t.Logf("%d ports, one of them %d times", len(ports), most)
			if most < 2 {
				t.Error("no port came again")
			}
		})
	}
}

// answered is answerAll for a listener of a namespace's kernel.
func answered(t *testing.T, in *host) net.Listener {
	t.Helper()
	l := in.Listen("tcp", net.JoinHostPort(testnet.PairB4, "0"))
	go answerAll(func() (stream, error) {
		c, err := l.Accept()
		if err != nil {
			return nil, err
		}
		return c.(stream), nil
	})
	return l
}

// kernelAsks is ask1 by the kernel's TCP, which ends in TIME-WAIT.
func kernelAsks(t *testing.T, from *host, to string) (port uint16) {
	t.Helper()
	var c net.Conn
	var err error
	from.Do(func() { c, err = net.DialTimeout("tcp", to, patience) })
	check(t, err)
	defer c.Close()
	_, err = c.Write([]byte{1})
	check(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	check(t, err)
	check(t, c.(*net.TCPConn).CloseWrite())
	_, err = io.Copy(io.Discard, c) // so that we are first
	check(t, err)
	return uint16(c.LocalAddr().(*net.TCPAddr).Port)
}

// lentTo returns how many blocks the children of a host have.
func lentTo(t *testing.T, h *host) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	snap, err := server.Status(ctx, h.args[0])
	check(t, err)
	for _, c := range snap.Children {
		n += c.Leases
	}
	return n
}

// Beside a kernel that has a port in each block, in TIME-WAIT or connected, programs are lent
// the others: nobody gets a port that somebody else has, before and after the server's death,
// and what the kernel has is not disturbed.
func TestPortsBesideAKernelInTimeWait(t *testing.T) {
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	const low, high = 40000, 40000 + 10*half.DevicePorts - 1
	na.Do(func() {
		check(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", low, high), 0))
	})
	a, b := newHost(t, na, "va,lo"), newHost(t, nb, "vb,lo")
	lk := answered(t, b)
	kernels := kernelInEachBlock(t, a, lk.Addr().String(), low, high)
	var kept net.Conn
	var err error
	a.Do(func() { kept, err = net.Dial("tcp", lk.Addr().String()) })
	check(t, err)
	defer kept.Close()
	kernels[uint16(kept.LocalAddr().(*net.TCPAddr).Port)] = true

	to := wire.EndpointFrom(lk.Addr().(*net.TCPAddr).AddrPort())
	ua := a.attach()
	ask := func() {
		t.Helper()
		for range 100 {
			if port := ask1(t, ua, to); kernels[port] {
				t.Fatalf("port %d is the kernel's", port)
			}
		}
	}
	within(t, "ports are lent", func() bool { ask(); return lentTo(t, a) > 0 })
	a.server.Kill(syscall.SIGKILL)
	a.server.Wait()
	a.start()
	ask()
	if lentTo(t, a) == 0 {
		t.Error("the next server does not know of the ports that are lent")
	}
	wantOthersForKernel(t, a, ua, to)
	check(t, kept.SetDeadline(time.Now().Add(patience)))
	_, err = kept.Write([]byte{1})
	check(t, err)
	_, err = io.ReadFull(kept, make([]byte, 1))
	check(t, err)
}

// kernelInEachBlock lets the kernel connect until it has ports in TIME-WAIT in each block
// between low and high, and returns them.
func kernelInEachBlock(t *testing.T, a *host, to string, low, high int) map[uint16]bool {
	t.Helper()
	ports, inBlock := map[uint16]bool{}, map[uint16]int{}
	for range 9 * (high - low + 1) / 20 {
		port := kernelAsks(t, a, to)
		if !ports[port] {
			inBlock[block(port)]++
		}
		ports[port] = true
	}
	for first := block(uint16(low + half.DevicePorts - 1)); int(first)+half.DevicePorts-1 <= high; first += half.DevicePorts {
		if inBlock[first] == 0 {
			t.Fatalf("the kernel has no port in block %d: %v", first, inBlock)
		}
	}
	return ports
}

// wantOthersForKernel opens connections of ours, whose ports the kernel must give to nobody,
// and has others to give.
func wantOthersForKernel(t *testing.T, a *host, ua *user.Stack, to wire.Endpoint) {
	t.Helper()
	open := map[uint16]bool{}
	for range 50 {
		c, err := dial(ua, to)
		check(t, err)
		defer c.Close()
		open[c.Flow().Local.Port] = true
	}
	for range 10 {
		if port := kernelAsks(t, a, to.String()); open[port] {
			t.Errorf("port %d is ours", port)
		}
	}
	for port := range open {
		a.Do(func() {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("the kernel gives port %d to somebody else: %v, %v", port, l, err)
			}
		})
	}
}

// Of a program that has ended the next one has the ports at once, although all of them are
// in TIME-WAIT: with the connections that are there, whose ends it uses again. What the
// ended program still sends keeps its port.
func TestPortsOfAProgramThatHasEnded(t *testing.T) {
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	const blocks = 10 // of which 8 can be lent
	na.Do(func() {
		check(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", 39999, 40000+blocks*half.DevicePorts-1), 0))
	})
	a, b := newHost(t, na, "va,lo"), newHost(t, nb, "vb,lo")
	warm := wire.EndpointFrom(answered(t, b).Addr().(*net.TCPAddr).AddrPort())
	to := wire.EndpointFrom(answered(t, b).Addr().(*net.TCPAddr).AddrPort())
	silent := b.Listen("tcp", net.JoinHostPort(testnet.PairB4, "0"))
	defer silent.Close()
	before := map[uint16]bool{}
	for n := range 3 {
		s := a.attach()
		used, again := map[uint16]bool{}, 0
		ask := func() {
			port := ask1(t, s, to)
			if before[port] && !used[port] {
				again++
			}
			used[port] = true
		}
		within(t, "ports are lent", func() bool { ask1(t, s, warm); return lentTo(t, a) > n }) // one is each orphan's
		for range 3 {                                                                          // bursts, for which it needs 4 blocks
			for range 4 * half.DevicePorts * 7 / 8 {
				ask()
			}
			time.Sleep(150 * time.Millisecond)
		}
		t.Logf("program %d has used %d ports, %d of them of those before it", n, len(used), again)
		if n >= 2 && again < half.DevicePorts/2 {
			t.Errorf("program %d has used %d ports of those before it", n, again)
		}
		first, err := dial(s, wire.EndpointFrom(silent.Addr().(*net.TCPAddr).AddrPort()))
		check(t, err)
		check(t, first.Close())
		c, err := dial(s, first.Flow().Remote) // without asking
		check(t, err)
		_, err = c.Write(make([]byte, 1<<19))
		check(t, err)
		orphan := c.Flow().Local.Port
		if before[orphan] = true; n > 0 {
			delete(before, orphan)
		}
		check(t, s.Close())
		for port := range used {
			before[port] = true
		}
		_, err = silent.Accept()
		check(t, err)
		got, err := silent.Accept()
		check(t, err)
		defer func() {
			if rest, err := io.Copy(io.Discard, got); err != nil || rest != 1<<19 {
				t.Errorf("of what a program has left %d octets, %v", rest, err)
			}
			got.Close()
		}()
		within(t, "the rest goes back", func() bool { return lentTo(t, a) == n+1 })
	}
}

// A host with devices leases ports for the ring, too: there is a block for
// each, and connections by the ring are opened while the servers are stopped.
func TestPortsForTheRingBesideDevices(t *testing.T) {
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	dir := testhost.Dir(t)
	a := newHost(t, na, "va,lo", "ring="+dir+",10.77.0.1")
	b := newHost(t, nb, "vb,lo", "ring="+dir+",10.77.0.2")
	ub := b.attach()
	answers := func(addr string) wire.Endpoint {
		l, at := listen(t, ub, end(addr, 80))
		check(t, l.SetDeadline(true, true, time.Time{}))
		go answerAll(func() (stream, error) { return l.Accept() })
		return at
	}
	byRing, byDevice := answers("10.77.0.2"), answers(testnet.PairB4)
	ua := a.attach()
	for n, to := range []wire.Endpoint{byRing, byDevice} {
		within(t, "ports are lent", func() bool { ask1(t, ua, to); return lentTo(t, a) > n })
	}
	for range 30 { // what is asked for now and then has been
		ask1(t, ua, byRing)
	}
	for _, h := range []*host{a, b} {
		server := h.server
		server.Kill(syscall.SIGSTOP)
		defer server.Kill(syscall.SIGCONT)
	}
	for range 150 { // fewer than a block has ports
		ask1(t, ua, byRing)
	}
}
