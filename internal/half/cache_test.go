package half

import (
	"bytes"
	"testing"

	"usertcp/internal/pool"
)

// With caches buffers come from there, and those of a program that does nothing any
// more go back.
func TestBufferCachesAreUsedAndEmptied(t *testing.T) {
	arrange(t, SetBufferCache)
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	ca, cb := connect(t, a, b)
	data := octets(5, 200_000)
	for range 20 {
		go ca.Write(data)
		wantRead(t, cb, data)
	}
	var w Work
	wantWithin(t, "the caches of an idle program are full", func() bool {
		a.bottom.Look(true)
		w = a.bottom.Work()
		return w.Cache.Flushes > 0
	})
	if w.Cache.Hits < 20*200_000/16384 || w.Cache.Misses == 0 || w.Cache.Misses > w.Cache.Hits/2 {
		t.Errorf("%+v", w.Cache)
	}
	for i := range a.top.ctl.rx.Caches {
		if n := a.top.ctl.rx.Caches[i].Count; n != 0 {
			t.Errorf("%d buffers of the pool's own in cache %d", n, i)
		}
	}
}

// Without the option there is none.
func TestNoCacheByDefault(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	go ca.Write(make([]byte, 100_000))
	wantRead(t, cb, make([]byte, 100_000))
	if w := a.bottom.Work(); w.Cache != (pool.CacheStats{}) {
		t.Errorf("%+v", w.Cache)
	}
}

// All data goes by scripts: octets are copied in and out by them, buffers taken and
// given back, packets sent and received; and they are fewer than what they do.
func TestDataGoesByScripts(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	data := bytes.Repeat([]byte("script"), 1<<16)
	go ca.Write(data)
	wantRead(t, cb, data)
	from, to := a.bottom.Work(), b.bottom.Work()
	buffers := uint64(len(data)+ring16-1) / ring16
	if from.Operations[pool.OpAlloc] < buffers || from.Operations[pool.OpCopyIn] < buffers || from.Operations[pool.OpSend] == 0 {
		t.Errorf("the sender did %+v", from)
	}
	if to.Operations[pool.OpReceive] == 0 || to.Operations[pool.OpCopyOut] < buffers || to.Operations[pool.OpFree] == 0 {
		t.Errorf("the receiver did %+v", to)
	}
	for _, w := range []Work{from, to} {
		n := uint64(0)
		for _, m := range w.Operations {
			n += m
		}
		if w.Scripts == 0 || w.Scripts >= n {
			t.Errorf("%d operations in %d scripts", n, w.Scripts)
		}
	}
}

// With the copies of a normal TCP every octet that does not travel beside the headers is
// copied once more on each side.
func TestCopiesAreCounted(t *testing.T) {
	for _, more := range []bool{false, true} {
		if more {
			arrange(t, SetCopies)
		}
		a, b := newHosts(t, SpinOff)
		a.run()
		b.run()
		ca, cb := connect(t, a, b)
		data := octets(6, 300_000)
		go ca.Write(data)
		wantRead(t, cb, data)
		from, to := a.bottom.Work().Copied, b.bottom.Work().Copied
		if more && (from < 290_000 || to < 290_000) || !more && from != 0 {
			t.Errorf("copied once more: %d and %d octets of 300,000; wanted: %v", from, to, more)
		}
	}
}

const ring16 = 16 << 10 // octets of a ring's buffer
