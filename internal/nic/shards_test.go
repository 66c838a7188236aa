package nic

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// synAt waits until one of the pools has a SYN, and returns which.
func synAt(t *testing.T, pools ...*Pool) (int, *received) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		for i, p := range pools {
			if r := read(t, p, time.Millisecond); r != nil && r.tcp() != nil && syn(r.tcp()) {
				return i, r
			}
		}
	}
	t.Fatal("no SYN")
	return 0, nil
}

// connectedAt has the kernel of b connect, and returns which pool its SYN came to. That
// pool alone can answer.
func connectedAt(t *testing.T, b *testnet.Namespace, addr string, pools ...*Pool) int {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- dialed(b, addr) }()
	i, s := synAt(t, pools...)
	answer(t, pools[i], s)
	if err := <-done; err != nil {
		t.Fatalf("connected by pool %d: %v, %+v", i, err, counters(t, pools[i]))
	}
	return i
}

// Two pools listen together: nothing comes until both are there, then each gets its part
// and may answer, and when one has gone the other gets all. IPv4 and IPv6, at one address
// and at all.
func TestShardsListenTogether(t *testing.T) {
	t.Parallel()
	m, _, b := pair(t, Config{})
	for i, row := range []struct{ listen, dial string }{
		{"10.9.0.1:80", "10.9.0.1:80"},
		{"[::]:81", "10.9.0.1:81"},
		{"[::]:82", "[fd09::1]:82"},
	} {
		p := []*Pool{newPool(t, m, 5), newPool(t, m, 6)}
		at := endpoint(row.listen)
		must(t, p[1].ListenShard(at, 1, 2))
		if err := dialed(b, row.dial); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("one of two listens: %v, want the kernel's refusal", err)
		}
		must(t, p[0].ListenShard(at, 0, 2))
		got := [2]int{}
		for n := 0; n < 8 || n < 60 && (got[0] == 0 || got[1] == 0); n++ {
			got[connectedAt(t, b, row.dial, p...)]++
		}
		if got[0] == 0 || got[1] == 0 {
			t.Errorf("%s: the shards got %v connections", row.listen, got)
		}
		left := i % 2
		must(t, p[1-left].UnlistenShard(at, 1-left, 2))
		for range 8 {
			connectedAt(t, b, row.dial, p[left])
		}
		must(t, p[left].UnlistenShard(at, left, 2))
		if err := dialed(b, row.dial); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("none listens: %v, want the kernel's refusal", err)
		}
		must(t, p[0].Listen(at)) // nothing is left of it
		must(t, p[0].Close())
		must(t, p[1].Close())
	}
}

// Who may not listen together with others.
func TestShardsThatDoNotFit(t *testing.T) {
	t.Parallel()
	m, _, _ := pair(t, Config{})
	p, q := newPool(t, m, 5), newPool(t, m, 6)
	one, at := endpoint("10.9.0.1:80"), endpoint("10.9.0.1:81")
	must(t, p.Listen(one))
	must(t, p.ListenShard(at, 0, 2))
	must(t, q.ListenShard(at, 1, 2))
	for _, row := range []struct {
		about string
		err   error
		want  error
	}{
		{"where one listens alone", q.ListenShard(one, 1, 2), unix.EADDRINUSE},
		{"alone where shards listen", q.Listen(at), unix.EADDRINUSE},
		{"the same shard", q.ListenShard(at, 0, 2), unix.EADDRINUSE},
		{"of another number", q.ListenShard(at, 2, 3), unix.EADDRINUSE},
		{"shard 2 of 2", q.ListenShard(at, 2, 2), unix.EINVAL},
		{"a shard of none", q.ListenShard(at, 1, 0), unix.EINVAL},
		{"too many", q.ListenShard(at, 0, MaxShards+1), unix.EINVAL},
		{"another's", q.UnlistenShard(at, 0, 2), unix.ENOENT},
	} {
		if !errors.Is(row.err, row.want) {
			t.Errorf("%s: %v, want %v", row.about, row.err, row.want)
		}
	}
}

// A server is killed. Its listener, shard 0 of two, waits for the other; the next server
// has it with one of its own beside it, and when its pool has gone the other gets all.
func TestTheNextServerHasShards(t *testing.T) {
	t.Parallel()
	a, b, pins, tap := afterKill(t, "va,lo")
	old := &Pool{file: tap}
	at := endpoint("10.9.0.1:81") // where the victim has a shard
	m := open(t, a, Config{Devices: []string{"va"}, Pins: pins})
	taken := m.Pools()[0]
	p := newPool(t, m, 8)
	must(t, taken.ListenShard(at, 0, 2)) // confirmed
	must(t, p.ListenShard(at, 1, 2))
	got := [2]int{}
	for n := 0; n < 60 && (got[0] == 0 || got[1] == 0); n++ {
		got[connectedAt(t, b, "10.9.0.1:81", old, p)]++
	}
	if got[0] == 0 || got[1] == 0 {
		t.Errorf("the shards got %v connections", got)
	}
	must(t, m.Close())
	m = open(t, a, Config{Devices: []string{"va"}, Pins: pins}) // nothing was left behind
	must(t, newPool(t, m, 9).Listen(at))
}
