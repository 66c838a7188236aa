package ring

import (
	"fmt"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
)

// crossing is a packet's way over a circuit and back to a free buffer: sent, shown,
// received, released, and the release seen. Payloads are not copied here.
type crossing struct {
	a, b *side
	in   pool.Packet
	ring shm.Rings
}

func newCrossing(t tb) *crossing {
	a, b := newPair(t, false)
	return &crossing{a: a, b: b}
}

func (c *crossing) pass(t testing.TB, p *pool.Packet, buffers int) {
	for i := range buffers {
		buf, off := c.a.Alloc(0)
		if buf == pool.None {
			t.Fatal("no buffer left")
		}
		p.Bufs[i], p.Pieces[i].Off = buf, off
	}
	c.a.Send(p)
	c.a.drop(p)
	c.a.Flush(&c.ring)
	if !c.b.Receive(&c.in) {
		t.Fatal("nothing has come")
	}
	c.b.free(&c.in)
	c.b.Flush(&c.ring)
	c.a.Receive(&c.in) // notices the release
	c.ring = shm.Rings{}
}

// packet has a header, and payload in the packet itself or in buffers.
func (c *crossing) packet(inline, buffers int) *pool.Packet {
	p := &pool.Packet{Header: 52, Inline: uint16(inline), Payload: uint32(inline), Partial: true}
	if buffers > 0 {
		p.Region, p.NPieces = pool.TxRegion(0), uint8(buffers)
	}
	for i := range buffers {
		p.Pieces[i].Len = BufferSize
		p.Payload += BufferSize
	}
	return p
}

// BenchmarkCrossing is what the ring costs for a packet beside its copies, both sides
// together.
func BenchmarkCrossing(b *testing.B) {
	for _, bm := range []struct {
		name            string
		inline, buffers int
	}{{"64 octets inline", 64, 0}, {"one buffer", 0, 1}, {"64 KiB", 0, 3}} {
		b.Run(bm.name, func(b *testing.B) {
			c := newCrossing(b)
			p := c.packet(bm.inline, bm.buffers)
			b.ReportAllocs()
			for b.Loop() {
				c.pass(b, p, bm.buffers)
			}
		})
	}
}

func TestACrossingDoesNotAllocate(t *testing.T) {
	for _, buffers := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(buffers, " buffers"), func(t *testing.T) {
			c := newCrossing(t)
			p := c.packet(100*(1-min(buffers, 1)), buffers)
			turn := func() { c.pass(t, p, buffers) }
			for range 3 * Slots {
				turn()
			}
			if n := testing.AllocsPerRun(500, turn); n != 0 {
				t.Errorf("%v allocations for a packet", n)
			}
			wantCounters(t, c.a, Counters{})
			wantCounters(t, c.b, Counters{})
		})
	}
}
