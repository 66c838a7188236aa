package half

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

func TestReadFlowAgreesWithTheParser(t *testing.T) {
	v4 := func(last byte) wire.Addr { return wire.Addr{10: 0xff, 11: 0xff, 12: 10, 15: last} }
	v6 := func(last byte) wire.Addr { return wire.Addr{0: 0xfd, 8: 3, 15: last} }
	for _, addr := range []func(byte) wire.Addr{v4, v6} {
		ip := wire.IP{Src: addr(1), Dst: addr(2), Proto: protoTCP, TTL: 64}
		tcp := wire.TCP{SrcPort: 1025, DstPort: 80}
		var b [128]byte
		n := ip.Emit(b[:], tcp.Len())
		tcp.Emit(b[n:])
		n += tcp.Len()
		var f wire.Flow
		want := wire.Flow{Local: wire.Endpoint{Addr: ip.Dst, Port: 80}, Remote: wire.Endpoint{Addr: ip.Src, Port: 1025}}
		if !readFlow(b[:n], &f) || f != want {
			t.Errorf("flow %v, want %v", f, want)
		}
		for k := range n {
			readFlow(b[:k], &f) // no panic
		}
		proto := map[bool]int{true: 9, false: 6}[ip.Src.Is4()]
		b[proto] = wire.ProtoICMP
		if readFlow(b[:n], &f) {
			t.Error("a flow of a packet that is not TCP's")
		}
	}
	if readFlow(nil, new(wire.Flow)) {
		t.Error("a flow of nothing")
	}
}

// crowd makes the half believe that there are so many connections that it looks ahead.
func (f *flock) crowd() { f.top.ctl.live += aheadConns }

// Packets of many connections arrive as they would without looking ahead, each at its
// own, whatever the driver shows of them before, and whatever lies in the hash table.
func TestLookingAheadChangesNothing(t *testing.T) {
	f := newFlock(t, 200)
	f.crowd()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	shown := 0
	f.top.foresees = shows(func(n int) []byte {
		b := f.drv.Ahead(n)
		if b == nil {
			return nil
		}
		shown++
		b = bytes.Clone(b)
		if r.IntN(2) == 0 {
			b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
		}
		return b[:r.IntN(len(b)+1)]
	})
	var burst [turnPackets]*member
	for range 300 {
		for k := range burst {
			burst[k] = &f.conns[r.IntN(len(f.conns))]
		}
		for k, m := range burst { // once each, since the burst is read once
			for _, o := range burst[:k] {
				if o == m {
					burst[k] = nil
				}
			}
		}
		f.burst(compact(burst[:]))
	}
	if shown < 300 {
		t.Errorf("only %d packets were looked at before their turn", shown)
	}
}

type shows func(int) []byte

func (s shows) Ahead(n int) []byte { return s(n) }

func compact(all []*member) (some []*member) {
	for _, m := range all {
		if m != nil {
			some = append(some, m)
		}
	}
	return some
}

// A ruined hash table is no reason to panic before the packet's own turn.
func TestLookingAheadAtARuinedTable(t *testing.T) {
	f := newFlock(t, 20)
	f.crowd()
	h := &f.top.Half
	var p pool.Packet
	for _, i := range []uint32{0, 1, MaxConns, MaxConns + 1, ^uint32(0)} {
		p = f.packet(&f.conns[0], 10)
		f.drv.rx = append(f.rx[:0], p)
		var flow wire.Flow
		if !readFlow(p.Data[:p.Header], &flow) {
			t.Fatal("no flow")
		}
		b := &h.hash[h.hashFlow(&flow)]
		was := *b
		next := &h.aux[0].hashNext
		wasNext := *next
		*b, *next = i, ^uint32(0)
		var a ahead
		h.lookAhead(&a)
		if a.n != 1 {
			t.Errorf("%d packets were seen", a.n)
		}
		for n := range turnPackets {
			h.fetchFor(&a, n)
		}
		*b, *next = was, wasNext
	}
}

// With few connections all of them are in the caches, and nobody looks.
func TestFewConnectionsAreNotLookedFor(t *testing.T) {
	f := newFlock(t, 20)
	f.top.foresees = shows(func(int) []byte { t.Error("looked"); return nil })
	f.burst([]*member{&f.conns[0], &f.conns[1]})
}
