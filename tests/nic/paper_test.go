package nic_test

import (
	"encoding/json"
	"testing"
	"time"

	"usertcp/internal/server"
	"usertcp/internal/testnet"
)

// arranged returns two hosts on a wire whose pools are used as the options say.
func arranged(t *testing.T, o server.PoolOptions) (a, b *host) {
	t.Helper()
	if o.CPU == 0 {
		o.CPU = -1
	}
	options, err := json.Marshal(o)
	check(t, err)
	na, nb := testnet.New(t), testnet.New(t)
	testnet.Pair(na, nb, 1500)
	return newHost(t, na, "va,lo", string(options)), newHost(t, nb, "vb,lo", string(options))
}

// Each part of the paper's machinery carries octets over devices as it does over a
// ring, to our own kind and to the kernel.
func TestOctetsWithThePapersMachinery(t *testing.T) {
	for name, o := range map[string]server.PoolOptions{
		"child receives": {ChildTakes: true},
		"child receives, semaphore, cache, copies": {ChildTakes: true, Lock: "semaphore", Cached: true, Copies: "normal"},
		"real-time child receives, cache":          {ChildTakes: true, Realtime: 10, Cached: true},
		"caller receives, Peterson, cache":         {Lock: "peterson", Cached: true},
		"caller receives, copies":                  {Copies: "normal"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := arranged(t, o)
			ours, theirs := a.attach(), b.attach()
			l, at := listen(t, theirs, end("10.9.0.2", 0))
			c, err := dial(ours, at)
			check(t, err)
			s, err := l.Accept()
			check(t, err)
			exchange(t, c, s, 2<<20)

			at, accepted := kernelAccept(t, b.Namespace, "10.9.0.2")
			c, err = dial(ours, at)
			check(t, err)
			exchange(t, c, <-accepted, 2<<20)
		})
	}
}

// The device wakes a child that takes all packets from the first one on: no program's
// first handshake waits for the child's tick, 10 ms. One program in sixty would do.
func TestTheFirstPacketWakesAChildThatTakesAll(t *testing.T) {
	a, b := arranged(t, server.PoolOptions{ChildTakes: true})
	at, _ := kernelAccept(t, b.Namespace, "10.9.0.2")
	best := time.Hour
	for range 60 {
		s := a.attach()
		began := time.Now()
		c, err := dial(s, at)
		took := time.Since(began)
		check(t, err)
		check(t, c.Close())
		if best = min(best, took); best < 5*time.Millisecond {
			return
		}
	}
	t.Errorf("no program was connected in less than %v", best)
}
