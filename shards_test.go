package usertcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
	"usertcp/internal/user"
)

// useShards gives the test's process so many shards.
func useShards(t testing.TB, n int) {
	t.Helper()
	if err := SetShards(n); err != nil {
		t.Fatal(err)
	}
}

// shardOf returns the shard that a connection is in, -1 if it is in none.
func shardOf(c net.Conn) int {
	process.Lock()
	defer process.Unlock()
	for i, s := range process.shards {
		if s != nil && s.Owns(c.(*Conn).sock) {
			return i
		}
	}
	return -1
}

// sharded is a listener, and connections to it.
type sharded struct {
	l                *Listener
	clients, servers []net.Conn
	ports            int // that were chosen
}

// meetShards makes n connections to a listener in all shards, half of them from ports of
// their own choice, for which the server is asked each time.
func meetShards(t *testing.T, n int) *sharded {
	t.Helper()
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &sharded{l: l.(*Listener)}
	for i := range n {
		s.meet(t, i%2 == 0)
	}
	return s
}

// meet makes one more connection.
func (s *sharded) meet(t *testing.T, ask bool) {
	t.Helper()
	d := Dialer{Timeout: patience}
	c, err := net.Conn(nil), error(syscall.EADDRINUSE)
	for errors.Is(err, syscall.EADDRINUSE) { // where the kernel says so a port of our choice may be a leased one
		if ask {
			s.ports++
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(10, 1, 0, 1), Port: 20000 + s.ports}
		}
		if c, err = d.Dial("tcp", s.l.Addr().String()); !ask {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := s.l.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	k, err := s.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if k.RemoteAddr().String() != c.LocalAddr().String() {
		t.Fatalf("%v connected, and %v was accepted", c.LocalAddr(), k.RemoteAddr())
	}
	t.Cleanup(func() { k.Close() })
	s.clients, s.servers = append(s.clients, c), append(s.servers, k)
}

// exchange sends octets both ways by all connections at once.
func (s *sharded) exchange(t *testing.T, n int) {
	t.Helper()
	var all group
	for i, c := range s.clients {
		all.Go(func() error { return oneWay(c, s.servers[i], n, uint64(2*i)) })
		all.Go(func() error { return oneWay(s.servers[i], c, n, uint64(2*i+1)) })
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

// oneWay sends n octets, and leaves the connection open.
func oneWay(from, to net.Conn, n int, seed uint64) error {
	data, got := make([]byte, n), make([]byte, n)
	fill(data, seed)
	var both group
	both.Go(func() error {
		from.SetWriteDeadline(time.Now().Add(patience))
		_, err := from.Write(data)
		return err
	})
	both.Go(func() error {
		to.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(to, got); err != nil {
			return err
		}
		return same(got, data)
	})
	return both.Wait()
}

// without returns the connections that have no end in one of the stacks.
func (s *sharded) without(lost *user.Stack) *sharded {
	left := &sharded{l: s.l, ports: s.ports}
	for i, c := range s.clients {
		if !lost.Owns(c.(*Conn).sock) && !lost.Owns(s.servers[i].(*Conn).sock) {
			left.clients, left.servers = append(left.clients, c), append(left.servers, s.servers[i])
		}
	}
	return left
}

// spread counts the connections of each shard.
func spread(conns []net.Conn, shards int) []int {
	n := make([]int, shards)
	for _, c := range conns {
		n[shardOf(c)]++
	}
	return n
}

// Connections are spread over the shards at both ends, and one Listener accepts all of
// them; what each sends arrives.
func TestShards(t *testing.T) {
	useHost(t)
	useShards(t, 3)
	s := meetShards(t, 90)
	if n := spread(s.clients, 3); n[0] != 30 || n[1] != 30 || n[2] != 30 {
		t.Errorf("Dial spread 90 connections like this: %v", n)
	}
	if n := spread(s.servers, 3); min(n[0], n[1], n[2]) == 0 {
		t.Errorf("Listen spread 90 connections like this: %v", n)
	}
	s.exchange(t, 100_000)
	pids, err := Helpers(context.Background())
	if err != nil || len(pids) != 4 { // a server and three children
		t.Errorf("helpers %v, %v", pids, err)
	}
	if err := s.l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if err := s.l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close after Close: %v", err)
	}
	if _, err := DialTimeout("tcp", s.l.Addr().String(), patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial after Close: %v", err)
	}
	s.exchange(t, 10_000) // they outlive the listener
	again, err := Listen("tcp", s.l.Addr().String())
	if err != nil {
		t.Fatalf("the port is not free again: %v", err)
	}
	again.Close()
}

// A shard's child that is killed is no matter of the other's connections, nor, since it
// has a successor, of its own.
func TestAShardsChildKilled(t *testing.T) {
	useHost(t)
	useShards(t, 2)
	s := meetShards(t, 40)
	for round := range 4 {
		child := process.shards[round%2].Pids()[1]
		var all sync.WaitGroup
		all.Go(func() { s.exchange(t, 300_000) })
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		for range 8 {
			s.meet(t, false)
		}
	}
	if n := spread(s.servers, 2); min(n[0], n[1]) == 0 {
		t.Errorf("Listen spread the connections like this: %v", n)
	}
}

// A shard that has ended for good is passed over: the other goes on, and Dial makes
// another one in its place.
func TestAShardThatIsNoMore(t *testing.T) {
	useHost(t)
	useShards(t, 2)
	s := meetShards(t, 40)
	process.Lock()
	lost := process.shards[0]
	process.Unlock()
	left := s.without(lost)
	// Which shard of the listener a connection comes to is a matter of chance, and of
	// those from one shard for which the server is not asked most come to the same.
	for tries := 0; len(left.clients) < 5; tries++ {
		if tries == 200 {
			t.Fatal("all connections have an end in one shard")
		}
		s.meet(t, true)
		left = s.without(lost)
	}
	process.Lock()
	lost.Close() // as if its child had been given up
	process.Unlock()
	left.exchange(t, 200_000)
	for range 20 {
		left.meet(t, false)
	}
	left.exchange(t, 10_000)
	process.Lock()
	defer process.Unlock()
	if process.shards[0] == lost {
		t.Error("Dial has not made another shard")
	}
}

// The next server knows the shards of a listener.
func TestShardsAtTheNextServer(t *testing.T) {
	dir := testhost.Dir(t)
	h, server := testhost.StartProcess(t, dir, testhost.Addrs(1)...)
	useServer(t, h.Socket)
	useShards(t, 2)
	s := meetShards(t, 20)
	server.Kill(syscall.SIGKILL)
	server.Wait()
	s.exchange(t, 50_000)
	testhost.Restart(t, dir, h, testhost.Addrs(1)...)
	before := len(s.servers)
	for range 40 {
		s.meet(t, true)
	}
	if n := spread(s.servers[before:], 2); min(n[0], n[1]) == 0 {
		t.Errorf("behind the next server Listen spreads connections like this: %v", n)
	}
	s.exchange(t, 50_000)
}

// Deadlines and Close end calls of Accept that wait, and many may wait at once.
func TestAcceptFromShards(t *testing.T) {
	useHost(t)
	useShards(t, 2)
	s := meetShards(t, 0)
	for _, d := range []time.Duration{-time.Second, 50 * time.Millisecond} {
		s.l.SetDeadline(time.Now().Add(d))
		_, err := s.l.Accept()
		wantTimeout(t, err, "accept")
	}
	s.l.SetDeadline(time.Now().Add(patience)) // which takes the last one's place
	const n = 16
	conns, ended := make(chan net.Conn, n), make(chan error, n)
	for range n {
		go func() {
			for {
				c, err := s.l.Accept()
				if err != nil {
					ended <- err
					return
				}
				conns <- c
			}
		}()
	}
	for range 3 * n {
		c, err := DialTimeout("tcp", s.l.Addr().String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		select {
		case k := <-conns:
			defer k.Close()
		case <-time.After(patience):
			t.Fatal("nobody has accepted it")
		}
	}
	s.l.SetDeadline(time.Now())
	for range n {
		wantTimeout(t, <-ended, "accept")
	}
	s.l.SetDeadline(time.Time{})
	go func() {
		_, err := s.l.Accept()
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	s.l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept that waits at Close: %v", err)
	}
	if err := s.l.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetDeadline after Close: %v", err)
	}
}

// Options of a listener are those of its sockets in all shards.
func TestOptionsInAllShards(t *testing.T) {
	useHost(t)
	useShards(t, 2)
	s := meetShards(t, 0)
	for _, err := range []error{
		s.l.SetOption(syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1234), s.l.SetCongestionControl("reno"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 40 {
		s.meet(t, true)
	}
	if n := spread(s.servers, 2); min(n[0], n[1]) == 0 {
		t.Fatalf("spread like this: %v", n)
	}
	for _, k := range s.servers {
		if got := k.(*Conn).CongestionControl(); got != "reno" {
			t.Errorf("shard %d: %s", shardOf(k), got)
		}
	}
}

// What can't be had with shards is said in so many words.
func TestWhatShardsCanNot(t *testing.T) {
	useHost(t)
	for _, n := range []int{-1, 0, MaxShards + 1} {
		if err := SetShards(n); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%d shards: %v", n, err)
		}
	}
	for _, v := range []string{"x", "0", "-1", "17", "1e1", " 2"} {
		t.Setenv("USERTCP_SHARDS", v)
		if _, err := Listen("tcp", ":0"); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("USERTCP_SHARDS=%s: %v", v, err)
		}
	}
	t.Setenv("USERTCP_SHARDS", "2")
	s := meetShards(t, 2)
	if err := SetShards(3); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("SetShards after Listen: %v", err)
	}
	if len(process.shards) != 2 {
		t.Errorf("%d shards by the environment", len(process.shards))
	}
	ctx := context.Background()
	for about, err := range map[string]error{
		"a listener":                 HandOver(ctx, "shards", time.Second, Handed{Listener: s.l}),
		"a listener alone":           s.l.HandOver(ctx, "shards", time.Second, nil),
		"connections of both shards": HandOver(ctx, "shards", time.Second, Handed{Conn: s.clients[0].(*Conn)}, Handed{Conn: s.clients[1].(*Conn)}),
	} {
		if !errors.Is(err, syscall.EXDEV) {
			t.Errorf("%s is handed over: %v", about, err)
		}
	}
	s.exchange(t, 1000)
}

// A program that is killed loses nothing that it has written in any of its shards.
func TestAProgramWithShardsIsKilled(t *testing.T) {
	dir := testhost.Dir(t)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)...).Socket)
	other := testhost.Start(t, dir, testhost.Addrs(2)...)
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("USERTCP_SHARDS", "3")
	const n = 12
	p := testhost.Run(t, other.Socket, "writes in shards", l.Addr().String(), fmt.Sprint(n))
	var conns []net.Conn
	for range n {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	p.Want("written")
	p.Kill(syscall.SIGKILL)
	for i, c := range conns {
		c.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c); err != nil || len(got) != shardsWrite {
			t.Errorf("connection %d: %d of %d octets, %v", i, len(got), shardsWrite, err)
		}
	}
}

// BenchmarkShards has a program talk with itself, both ends in its own segments, so that
// with one all takes turns at one lock: 64 KiB by each of two connections, or an octet to
// and fro by each of 64.
func BenchmarkShards(b *testing.B) {
	for _, bench := range []struct {
		name        string
		conns, size int
		echo        bool
	}{{"stream", 2, 64 << 10, false}, {"rr", 64, 1, true}} {
		for _, shards := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, shards), func(b *testing.B) {
				useHost(b)
				useShards(b, shards)
				conns := make([][2]net.Conn, bench.conns)
				for i := range conns {
					conns[i][0], conns[i][1] = pair(b)
					defer conns[i][0].Close()
					defer conns[i][1].Close()
				}
				b.SetBytes(int64(bench.conns * bench.size))
				b.ResetTimer()
				var all sync.WaitGroup
				for _, c := range conns {
					all.Go(func() { passes(b, c[0], c[1], bench.size, bench.echo) })
					all.Go(func() { passes(b, c[1], c[0], bench.size, bench.echo) })
				}
				all.Wait()
			})
		}
	}
}

// passes is one end's part in b.N messages: it sends, or if they are echoed both send and
// receive in turns.
func passes(b *testing.B, c, peer net.Conn, size int, echo bool) {
	buf := make([]byte, size)
	first := c.LocalAddr().String() < peer.LocalAddr().String()
	for range b.N {
		var err error
		if first {
			_, err = c.Write(buf)
		}
		if echo || !first {
			_, err = io.ReadFull(c, buf)
		}
		if echo && !first {
			_, err = c.Write(buf)
		}
		if err != nil {
			b.Error(err)
			return
		}
	}
}

const shardsWrite = 100_000

func init() {
	testhost.Programs["writes in shards"] = func(args []string) int {
		var n int
		fmt.Sscan(args[1], &n)
		for range n {
			c, err := DialTimeout("tcp", args[0], patience)
			if err == nil {
				_, err = c.Write(make([]byte, shardsWrite))
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		fmt.Println("written")
		time.Sleep(time.Minute)
		return 0
	}
}
