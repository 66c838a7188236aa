package shm

import (
	"testing"

	"pgregory.net/rapid"
)

// listModel is a free list beside the set of indices in use.
type listModel struct {
	list  FreeList
	links []uint32
	used  map[uint32]bool
	fresh int // indices that have ever been in use
	freed []uint32
}

func (m *listModel) Check(t *rapid.T) {
	if got, want := int(m.list.Free), len(m.links)-len(m.used); got != want {
		t.Fatalf("%d free, want %d", got, want)
	}
}

func (m *listModel) alloc(t *rapid.T) {
	i := m.list.Alloc(m.links)
	switch {
	case len(m.used) == len(m.links):
		if i != None {
			t.Fatalf("index %d allotted, though all are in use", i)
		}
		return
	case i == None || int(i) >= len(m.links) || m.used[i]:
		t.Fatalf("index %d allotted: %d of %d in use", i, len(m.used), len(m.links))
	case len(m.freed) > 0:
		if last := m.freed[len(m.freed)-1]; last != i {
			t.Fatalf("index %d allotted, want %d, which was released last", i, last)
		}
		m.freed = m.freed[:len(m.freed)-1]
	case int(i) != m.fresh:
		t.Fatalf("index %d allotted, want %d, the next that was never in use", i, m.fresh)
	default:
		m.fresh++
	}
	m.used[i] = true
}

func (m *listModel) release(t *rapid.T) {
	if len(m.used) == 0 {
		return
	}
	i := m.pick(t)
	m.list.Release(m.links, i)
	delete(m.used, i)
	m.freed = append(m.freed, i)
}

func (m *listModel) pick(t *rapid.T) uint32 {
	var in []uint32
	for i := range uint32(len(m.links)) {
		if m.used[i] {
			in = append(in, i)
		}
	}
	return rapid.SampledFrom(in).Draw(t, "index")
}

// rebuild damages what can be derived and makes it anew.
func (m *listModel) rebuild(t *rapid.T) {
	m.list.Head = rapid.Uint32().Draw(t, "head")
	m.list.Free = rapid.Uint32().Draw(t, "free")
	for i := range m.links {
		m.links[i] = rapid.Uint32Range(0, 2).Draw(t, "link")
	}
	m.list.Rebuild(m.links, func(i uint32) bool { return m.used[i] })
	m.freed = nil
	for i := m.fresh; i > 0; i-- {
		if !m.used[uint32(i-1)] {
			m.freed = append(m.freed, uint32(i-1))
		}
	}
}

func TestFreeListAgainstASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "indices")
		m := &listModel{links: make([]uint32, n), used: map[uint32]bool{}}
		m.list.Reset(n)
		t.Repeat(map[string]func(*rapid.T){
			"":        m.Check,
			"alloc":   m.alloc,
			"alloc2":  m.alloc,
			"release": m.release,
			"rebuild": m.rebuild,
		})
	})
}

func TestReleaseOfWhatIsNotInUse(t *testing.T) {
	links := make([]uint32, 4)
	for name, i := range map[string]uint32{"an index that was never in use": 2, "an index beyond the limit": 4, "none": None} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("release of %s: no panic", name)
				}
			}()
			var f FreeList
			f.Reset(4)
			f.Alloc(links)
			f.Alloc(links)
			f.Release(links, i)
		}()
	}
	var f FreeList
	f.Reset(4)
	i := f.Alloc(links)
	f.Release(links, i)
	defer func() {
		if recover() == nil {
			t.Error("release twice: no panic")
		}
	}()
	f.Release(links, i)
}

// A list whose head or count the other side has made up does not lead Rebuild
// beyond the array.
func TestRebuildOfADamagedList(t *testing.T) {
	f := FreeList{Head: 77, Fresh: 1 << 30, Free: 12345, Limit: 4}
	links := make([]uint32, 4)
	f.Rebuild(links, func(i uint32) bool { return i == 2 })
	seen := map[uint32]bool{}
	for i := f.Alloc(links); i != None; i = f.Alloc(links) {
		if seen[i] || i == 2 || i > 3 {
			t.Fatalf("index %d allotted", i)
		}
		seen[i] = true
	}
	if len(seen) != 3 || f.Free != 0 {
		t.Errorf("%d indices allotted, %d free; want 3, 0", len(seen), f.Free)
	}
}
