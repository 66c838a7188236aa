package pool

import (
	"testing"

	"pgregory.net/rapid"
)

func newBuffers(n, limit int) (*Buffers, *List) {
	var l List
	b := NewBuffers(&l, make([]uint32, n), make([]uint32, n), 4096, 8192)
	b.Reset(limit)
	return &b, &l
}

// buffersModel is a Buffers beside the references that each buffer should have.
type buffersModel struct {
	*Buffers
	list  *List
	want  []uint32
	limit int
	fails uint64
}

func (m *buffersModel) used() (n int) {
	for _, r := range m.want {
		if r > 0 {
			n++
		}
	}
	return n
}

func (m *buffersModel) check(t *rapid.T) {
	for i, r := range m.want {
		if m.Refs(uint32(i)) != r {
			t.Fatalf("buffer %d has %d references, want %d", i, m.Refs(uint32(i)), r)
		}
	}
	if m.Used() != m.used() || m.Available() != max(0, m.limit-m.used()) || m.Limit() != m.limit || m.Fails() != m.fails {
		t.Fatalf("used %d, available %d, limit %d, refused %d; want %d used of %d, %d refused", m.Used(), m.Available(), m.Limit(), m.Fails(), m.used(), m.limit, m.fails)
	}
}

func (m *buffersModel) alloc(t *rapid.T) {
	i, off := m.Alloc()
	if m.used() >= m.limit {
		if m.fails++; i != None {
			t.Fatalf("buffer %d beyond the limit of %d", i, m.limit)
		}
		return
	}
	if i == None || m.want[i] != 0 {
		t.Fatalf("buffer %d allotted, %d of %d in use", i, m.used(), m.limit)
	}
	if off != 8192+4096*i || m.Index(off) != i || m.Index(off+4095) != i || m.End(off) != off+4096 || m.End(off+4095) != off+4096 {
		t.Fatalf("buffer %d begins at %d, ends at %d", i, off, m.End(off))
	}
	m.want[i] = 1
}

// inUse returns some buffer that is in use, false if there is none.
func (m *buffersModel) inUse(t *rapid.T) (i uint32, ok bool) {
	var in []uint32
	for i, r := range m.want {
		if r > 0 {
			in = append(in, uint32(i))
		}
	}
	if len(in) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(in).Draw(t, "buffer"), true
}

func (m *buffersModel) ref(t *rapid.T) {
	if i, ok := m.inUse(t); ok {
		m.Ref(i)
		m.want[i]++
	}
}

func (m *buffersModel) unref(t *rapid.T) {
	i, ok := m.inUse(t)
	if !ok {
		return
	}
	m.want[i]--
	if last := m.Unref(i); last != (m.want[i] == 0) {
		t.Fatalf("reference to buffer %d given back: last %v, %d left", i, last, m.want[i])
	}
}

func (m *buffersModel) setLimit(t *rapid.T) {
	n := rapid.IntRange(-1, len(m.want)+1).Draw(t, "limit")
	m.SetLimit(n)
	m.limit = min(max(n, 0), len(m.want))
}

// rebuild finds out anew who refers to what.
func (m *buffersModel) rebuild(t *rapid.T) {
	m.list.Free.Head = None
	m.Rebuild(func(i uint32) uint32 {
		if m.want[i] > 0 {
			m.want[i] = uint32(rapid.IntRange(0, 3).Draw(t, "references"))
		}
		return m.want[i]
	})
}

func TestBuffersAgainstReferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "buffers")
		m := &buffersModel{want: make([]uint32, n), limit: rapid.IntRange(0, n).Draw(t, "limit")}
		m.Buffers, m.list = newBuffers(n, m.limit)
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "alloc": m.alloc, "ref": m.ref, "unref": m.unref, "limit": m.setLimit, "rebuild": m.rebuild,
		})
	})
}

func TestBufferFreedTwiceIsABug(t *testing.T) {
	b, _ := newBuffers(2, 2)
	i, _ := b.Alloc()
	b.Unref(i)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	b.Unref(i)
}

func TestResetFreesAll(t *testing.T) {
	b, _ := newBuffers(4, 4)
	i, _ := b.Alloc()
	b.Ref(i)
	b.Reset(2)
	if b.Refs(i) != 0 || b.Used() != 0 || b.Available() != 2 || b.Size() != 4096 {
		t.Errorf("after Reset: %d references, %d used, %d available", b.Refs(i), b.Used(), b.Available())
	}
}

func TestLinksMustMatch(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewBuffers(&List{}, make([]uint32, 2), make([]uint32, 3), 1, 0)
}

// A region says by its number whose it is.
func TestRegions(t *testing.T) {
	if IsTx(OwnRegion) {
		t.Error("our own buffers are a circuit's")
	}
	seen := map[uint16]bool{OwnRegion: true}
	for c := range uint16(MaxCircuit + 1) {
		tx, rx := TxRegion(c), RxRegion(c)
		if seen[tx] || seen[rx] || !IsTx(tx) || IsTx(rx) || RegionCircuit(tx) != c || RegionCircuit(rx) != c {
			t.Fatalf("circuit %d: regions %d (of %d) and %d (of %d)", c, tx, RegionCircuit(tx), rx, RegionCircuit(rx))
		}
		seen[tx], seen[rx] = true, true
	}
}
