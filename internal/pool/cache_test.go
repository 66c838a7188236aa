package pool

import (
	"testing"

	"pgregory.net/rapid"
)

// twoHalves is one set of buffers as two halves use it, each with a cache, beside the
// buffers that each should have in use.
type twoHalves struct {
	halves [2]*Buffers
	list   *List
	used   map[uint32]bool
	limit  int
}

func newTwoHalves(n, limit int) *twoHalves {
	m := &twoHalves{list: new(List), used: map[uint32]bool{}, limit: limit}
	refs, links := make([]uint32, n), make([]uint32, n)
	for i := range m.halves {
		b := NewBuffers(m.list, refs, links, 4096, 0)
		b.UseCache(i)
		m.halves[i] = &b
	}
	m.halves[0].Reset(limit)
	return m
}

func (m *twoHalves) check(t *rapid.T) {
	for _, b := range m.halves {
		if b.Used() != len(m.used) || b.Available() != max(0, m.limit-len(m.used)) {
			t.Fatalf("%d used, %d available; want %d of %d used", b.Used(), b.Available(), len(m.used), m.limit)
		}
	}
}

// alloc: a buffer that lies in a cache, whoever's, is no reason to refuse one.
func (m *twoHalves) alloc(t *rapid.T) {
	b := m.halves[rapid.IntRange(0, 1).Draw(t, "half")]
	i, _ := b.Alloc()
	switch {
	case len(m.used) >= m.limit:
		if i != None {
			t.Fatalf("buffer %d beyond the limit of %d", i, m.limit)
		}
	case i == None || m.used[i]:
		t.Fatalf("buffer %d, %d of %d in use", i, len(m.used), m.limit)
	default:
		m.used[i] = true
	}
}

func (m *twoHalves) free(t *rapid.T) {
	for i := range m.used {
		delete(m.used, i)
		m.halves[rapid.IntRange(0, 1).Draw(t, "half")].Unref(i)
		return
	}
}

func TestCachesOfTwoHalves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 100).Draw(t, "buffers")
		m := newTwoHalves(n, rapid.IntRange(0, n).Draw(t, "limit"))
		any := func(*rapid.T) *Buffers { return m.halves[rapid.IntRange(0, 1).Draw(t, "half")] }
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "alloc": m.alloc, "alloc again": m.alloc, "free": m.free,
			"flush": func(t *rapid.T) { any(t).FlushCaches() },
			"tick":  func(t *rapid.T) { any(t).FlushIdle() },
			"limit": func(t *rapid.T) {
				m.limit = rapid.IntRange(0, n).Draw(t, "limit")
				any(t).SetLimit(m.limit)
			},
			"repair": func(t *rapid.T) {
				any(t).Rebuild(func(i uint32) uint32 {
					if m.used[i] {
						return 1
					}
					return 0
				})
			},
		})
	})
}

// The cache is filled by a few buffers at a time, keeps what comes back, and is emptied
// when it has not been used for a whole tick.
func TestCacheCountsAndIsEmptiedWhenIdle(t *testing.T) {
	m := newTwoHalves(64, 64)
	b := m.halves[0]
	if !b.Dry() {
		t.Error("a fresh cache has something")
	}
	var got []uint32
	for range cacheFill + 1 {
		i, _ := b.Alloc()
		got = append(got, i)
	}
	if s := b.CacheStats(); s.Hits != cacheFill+1 || s.Misses != 2 || s.Flushes != 0 || b.Dry() {
		t.Errorf("%+v", s)
	}
	for _, i := range got {
		b.Unref(i)
	}
	if int(m.list.Caches[0].Count) != 2*cacheFill {
		t.Errorf("%d buffers in the cache", m.list.Caches[0].Count)
	}
	b.FlushIdle() // it has been used
	if m.list.Caches[0].Count == 0 {
		t.Error("a cache in use was emptied")
	}
	m.halves[1].FlushIdle() // whoever comes
	if s := b.CacheStats(); m.list.Caches[0].Count != 0 || s.Flushes != 1 || int(m.list.Free.Free) != 64 {
		t.Errorf("an idle cache was not emptied: %+v", s)
	}
}

func TestCacheIsBounded(t *testing.T) {
	m := newTwoHalves(3*cacheMost, 3*cacheMost)
	var got []uint32
	for range 2 * cacheMost {
		i, _ := m.halves[0].Alloc()
		got = append(got, i)
	}
	for _, i := range got {
		m.halves[0].Unref(i)
	}
	if n := m.list.Caches[0].Count; n != cacheMost {
		t.Errorf("%d buffers in the cache, want %d", n, cacheMost)
	}
}

// A count that somebody has made up leads nowhere.
func TestDamagedCacheIsABug(t *testing.T) {
	m := newTwoHalves(8, 8)
	m.list.Caches[1] = Cache{Head: 3, Count: 1 << 30}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	m.halves[0].FlushCaches()
}

func BenchmarkAllocFree(b *testing.B) {
	for name, set := range map[string]*Buffers{"list": newTwoHalves(64, 64).halves[0], "cache": newTwoHalves(64, 64).halves[0]} {
		if name == "list" {
			set.cache = nil
		}
		b.Run(name, func(b *testing.B) {
			for range b.N {
				i, _ := set.Alloc()
				set.Unref(i)
			}
		})
	}
}
