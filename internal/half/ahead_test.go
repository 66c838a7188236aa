package half

import (
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
// own.
func TestLookingAheadChangesNothing(t *testing.T) {
	f := newFlock(t, 200)
	f.crowd()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		var burst []*member
		for _, k := range r.Perm(len(f.conns))[:1+r.IntN(turnPackets)] {
			burst = append(burst, &f.conns[k])
		}
		f.top.coming.n = 0
		f.burst(burst)
	}
}

// What has not been checked yet, and a hash table that somebody has ruined, are no
// reason to panic before the packet's own turn.
func TestLookingAheadAtRuins(t *testing.T) {
	f := newFlock(t, 20)
	f.crowd()
	h := &f.top.Half
	p := f.packet(&f.conns[0], 10)
	var flow wire.Flow
	if !readFlow(p.Data[:p.Header], &flow) {
		t.Fatal("no flow")
	}
	b, next := &h.hash[h.hashFlow(&flow)], &h.aux[0].hashNext
	was, wasNext := *b, *next
	for _, i := range []uint32{0, 1, MaxConns, MaxConns + 1, ^uint32(0)} {
		*b, *next = i, ^uint32(0)
		h.lookAhead([]pool.Packet{p, {}, {Header: 40}, p})
		if h.coming.n != 4 || h.coming.hash[1] != none || h.coming.hash[2] != none || h.coming.flow[3] != flow {
			t.Errorf("it sees %d packets, %v", h.coming.n, h.coming.hash[:4])
		}
		for n := range turnPackets {
			h.fetchFor(n)
		}
	}
	*b, *next = was, wasNext
}

// With few connections all of them are in the caches, and nobody looks.
func TestFewConnectionsAreNotLookedFor(t *testing.T) {
	f := newFlock(t, 20)
	f.burst([]*member{&f.conns[0], &f.conns[1]})
	if f.top.coming.n != 0 {
		t.Error("looked for")
	}
}
