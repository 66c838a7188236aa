package half

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// bare returns a half of a fresh segment, without a clock that anybody asks.
func bare(t *testing.T) *Half {
	t.Helper()
	seg, err := shm.Create("test-half", Version, Specs(ring.Specs())...)
	check(t, err)
	t.Cleanup(func() { seg.Close() })
	check(t, Initialise(seg, 1500))
	check(t, ring.Initialise(seg, false))
	h := &Half{}
	drv, err := ring.NewDriver(seg, wire.NewVCI(1, 1))
	check(t, err)
	check(t, h.init(Config{Segment: seg, Driver: drv}, shm.BottomHalf))
	return h
}

func endpoint(s string) wire.Endpoint { return wire.EndpointFrom(netip.MustParseAddrPort(s)) }

// tableModel is the hash table and the lists beside maps.
type tableModel struct {
	h     *Half
	flows map[wire.Flow]uint32
	open  []uint32
	lists [numLists][]uint32
}

func flowOf(t *rapid.T) wire.Flow {
	return wire.Flow{
		Local:  endpoint(fmt.Sprintf("10.1.0.1:%d", rapid.IntRange(1, 3).Draw(t, "local"))),
		Remote: endpoint(fmt.Sprintf("10.1.0.2:%d", rapid.IntRange(1, 10).Draw(t, "remote"))),
	}
}

func (m *tableModel) insert(t *rapid.T) {
	f := flowOf(t)
	if _, ok := m.flows[f]; ok {
		return // there is one
	}
	i := m.h.allocConn(useProgram)
	if i == none || slices.Contains(m.open, i) {
		t.Fatalf("slot %d allotted, %d in use", i, len(m.open))
	}
	m.h.conns[i].Flow = f
	m.h.insert(i)
	m.flows[f] = i
	m.open = append(m.open, i)
}

// any returns some connection; if there is none, a new one.
func (m *tableModel) any(t *rapid.T) uint32 {
	if len(m.open) == 0 {
		m.insert(t)
	}
	return rapid.SampledFrom(m.open).Draw(t, "connection")
}

// forget takes i's flow out, unless it is another connection's by now.
func (m *tableModel) forget(i uint32) {
	if f := m.h.conns[i].Flow; m.flows[f] == i {
		delete(m.flows, f)
	}
}

func (m *tableModel) unhash(t *rapid.T) {
	i := m.any(t)
	m.h.unhash(i)
	m.h.unhash(i) // does nothing
	m.forget(i)
}

func (m *tableModel) freeOne(t *rapid.T) {
	i := m.any(t)
	gen := m.h.aux[i].gen
	m.h.freeConn(i)
	if m.h.aux[i].gen == gen {
		t.Fatalf("slot %d is free, its generation is still %d", i, gen)
	}
	m.forget(i)
	m.open = slices.DeleteFunc(m.open, func(k uint32) bool { return k == i })
	for l := range m.lists {
		m.lists[l] = slices.DeleteFunc(m.lists[l], func(k uint32) bool { return k == i })
	}
}

func (m *tableModel) enlist(t *rapid.T) {
	l, i := rapid.IntRange(0, numLists-1).Draw(t, "list"), m.any(t)
	m.h.enlist(l, i)
	if !slices.Contains(m.lists[l], i) {
		m.lists[l] = append(m.lists[l], i)
	}
}

func (m *tableModel) unlist(t *rapid.T) {
	l, i := rapid.IntRange(0, numLists-1).Draw(t, "list"), m.any(t)
	m.h.unlist(l, i)
	m.lists[l] = slices.DeleteFunc(m.lists[l], func(k uint32) bool { return k == i })
}

func (m *tableModel) delist(t *rapid.T) {
	l := rapid.IntRange(0, numLists-1).Draw(t, "list")
	want := none
	if len(m.lists[l]) > 0 {
		want, m.lists[l] = m.lists[l][0], m.lists[l][1:]
	}
	if got := m.h.delist(l); got != want {
		t.Fatalf("first of list %d is %d, want %d", l, got, want)
	}
}

func (m *tableModel) lookup(t *rapid.T) {
	f := flowOf(t)
	want, ok := m.flows[f]
	if !ok {
		want = none
	}
	if got := m.h.lookup(&f); got != want {
		t.Fatalf("%v is connection %d, want %d", f, got, want)
	}
}

func (m *tableModel) check(t *rapid.T) {
	if int(m.h.ctl.live) != len(m.open) {
		t.Fatalf("%d live, want %d", m.h.ctl.live, len(m.open))
	}
	for l, want := range m.lists {
		var got []uint32
		for at := m.h.ctl.lists[l].head; at != 0 && len(got) <= len(m.open); at = m.h.aux[at-1].listNext[l] {
			got = append(got, at-1)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("list %d has %v, want %v", l, got, want)
		}
	}
}

func TestTableAndListsAgainstMaps(t *testing.T) {
	h := bare(t)
	rapid.Check(t, func(t *rapid.T) {
		m := &tableModel{h: h, flows: map[wire.Flow]uint32{}}
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "insert": m.insert, "unhash": m.unhash, "free": m.freeOne, "lookup": m.lookup,
			"enlist": m.enlist, "enlist more": m.enlist, "unlist": m.unlist, "delist": m.delist,
		})
		for len(m.open) > 0 {
			m.freeOne(t)
			m.check(t)
		}
		for i, b := range h.hash {
			if b != 0 {
				t.Fatalf("chain %d is not empty at the end", i)
			}
		}
	})
}

// Flows that meet in one chain are told apart, and come out of it in any order.
func TestFlowsInOneChain(t *testing.T) {
	h := bare(t)
	chains := map[uint32][]wire.Flow{}
	var chain []wire.Flow
	for port := range uint16(60000) {
		for k := range 4 {
			f := wire.Flow{Local: endpoint(fmt.Sprintf("10.1.0.%d:80", k)), Remote: wire.Endpoint{Port: port}}
			b := h.hashFlow(&f)
			chains[b] = append(chains[b], f)
			if len(chains[b]) > len(chain) {
				chain = chains[b]
			}
		}
	}
	if len(chain) < 4 || len(chain) > 30 {
		t.Fatalf("the longest chain of 240,000 flows has %d: want some, and not many", len(chain))
	}
	var at []uint32
	for _, f := range chain {
		i := h.allocConn(useProgram)
		h.conns[i].Flow = f
		h.insert(i)
		at = append(at, i)
	}
	for _, gone := range []int{1, len(chain) - 1, 0} {
		h.unhash(at[gone])
		at[gone] = none
		for k, f := range chain {
			if got := h.lookup(&f); got != at[k] {
				t.Errorf("without %d: %v is connection %d, want %d", gone, f, int32(got), int32(at[k]))
			}
		}
	}
}

func TestListenerIsTheMostExact(t *testing.T) {
	h := bare(t)
	add := func(s string) uint32 {
		i := h.allocConn(useProgram)
		h.conns[i].Flow = wire.Flow{Local: endpoint(s)}
		h.insert(i)
		return i
	}
	exact, any4, any6 := add("10.1.0.1:80"), add("0.0.0.0:80"), add("[::]:80")
	only6 := add("[::]:81")
	four, six := add("0.0.0.0:83"), add("[::]:84")
	h.unhash(six)
	h.conns[six].Flow.Local = wire.Endpoint{Addr: wire.Any6, Port: 83}
	h.insert(six)
	for _, c := range []struct {
		to   string
		want uint32
	}{
		{"10.1.0.1:80", exact}, {"10.1.0.2:80", any4}, {"[fd00::1]:80", any6},
		{"10.1.0.1:81", only6}, {"[fd00::1]:81", only6}, {"10.1.0.1:82", none},
		{"10.1.0.1:83", four}, {"[fd00::1]:83", six},
	} {
		if got := h.listener(endpoint(c.to)); got != c.want {
			t.Errorf("for %s listens %d, want %d", c.to, int32(got), int32(c.want))
		}
	}
}

func TestHashedTwiceIsABug(t *testing.T) {
	h := bare(t)
	i := h.allocConn(useProgram)
	h.insert(i)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	h.insert(i)
}
