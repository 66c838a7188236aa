package half

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// BenchmarkConns is what a packet costs in one half when there are many
// connections, which come in random order: headers, hash table, journal, engine,
// wheel. In: a packet of 100 octets, read, and acknowledged if that is due. Out:
// 100 octets written, their packet, and the acknowledgement of it.
func BenchmarkConns(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		f := newFlock(b, n)
		b.Run(fmt.Sprintf("In/%d", n), func(b *testing.B) { f.measure(b, f.in) })
		b.Run(fmt.Sprintf("Out/%d", n), func(b *testing.B) { f.measure(b, f.out) })
		b.Run(fmt.Sprintf("Burst/%d", n), func(b *testing.B) { f.measureBursts(b, nil) })
		b.Run(fmt.Sprintf("BurstUnforeseen/%d", n), func(b *testing.B) {
			f.top.ctl.live -= uint32(n)
			f.measureBursts(b, nil)
			f.top.ctl.live += uint32(n)
		})
		b.Run(fmt.Sprintf("OneBusy/%d", n), func(b *testing.B) { f.measureBursts(b, &f.conns[n/2]) })
	}
}

// flock is a half with many connections that are copies of one.
type flock struct {
	*bench
	conns []member
	order []uint32    // in which they come
	pkt   pool.Packet // of 100 octets
	ip    wire.IP
	tcp   wire.TCP
	buf   [100]byte
	rx    [1]pool.Packet
	many  [turnPackets]pool.Packet
}

// member is a connection of a flock, as its peer sees it.
type member struct {
	i        uint32 // in the segment
	at, seen tcpSeq // octets sent to it, and received of it
	remote   wire.Endpoint
}

func newFlock(tb testing.TB, n int) *flock {
	f := &flock{bench: newBench(tb, 64), conns: make([]member, n), order: make([]uint32, max(n, 1<<12))}
	x, y, _ := f.pair()
	var sent []pool.Packet
	f.drv.loses = func(p *pool.Packet) bool { sent = append(sent, *p); return true }
	f.top.Write(x, f.buf[:])
	f.pkt = sent[0]
	f.drv.loses = func(*pool.Packet) bool { return true }
	check(tb, wire.ParseIP(f.pkt.Data[:f.pkt.Header], &f.ip))
	if _, err := wire.ParseTCP(f.pkt.Data[f.ip.HeaderLen:f.pkt.Header], &f.tcp); err != nil {
		tb.Fatal(err)
	}
	for k := range f.conns {
		f.conns[k] = f.clone(y, k)
	}
	for k := range f.order {
		f.order[k] = uint32(k % n)
	}
	// The members are shuffled, and come in turn: what is measured is how the half finds
	// its memory, and not how the benchmark finds its own.
	r := rand.New(rand.NewPCG(1, 1e5))
	r.Shuffle(n, func(i, j int) { f.conns[i], f.conns[j] = f.conns[j], f.conns[i] })
	return f
}

// clone makes a connection like y, with another peer.
func (f *flock) clone(y uint32, k int) member {
	h := &f.top.Half
	i := h.allocConn(useProgram)
	c := &h.conns[i]
	*c = h.conns[y]
	c.Flow.Remote.Addr[13], c.Flow.Remote.Addr[14] = byte(1+k>>16), byte(k>>8)
	c.Flow.Remote.Port = uint16(2000 + k&0xff)
	h.insert(i)
	h.setCircuit(i, 0)
	return member{i: i, at: f.tcp.Seq, seen: f.tcp.Ack, remote: c.Flow.Remote}
}

// measure lets step happen to one connection after the other. Between two steps of
// one connection 10 us go by.
func (f *flock) measure(b *testing.B, step func(*member)) {
	for k := range f.conns {
		step(&f.conns[k])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		step(&f.conns[f.order[i]])
		if i++; i == len(f.order) {
			i = 0
		}
		if i%len(f.conns) == 0 {
			f.now += 10 * tcp.Microsecond
		}
	}
}

// measureBursts lets packets come as drivers bring them, several at a time, each for
// another connection, or for the busy one while all others are idle.
func (f *flock) measureBursts(b *testing.B, busy *member) {
	for range 2000 { // what is due comes, so that the others are idle
		f.now += tcp.Millisecond
		f.top.Step()
	}
	var burst [turnPackets]*member
	b.ReportAllocs()
	at := 0
	for n := 0; b.Loop(); n++ {
		k := n % turnPackets
		if burst[k] = busy; busy == nil {
			burst[k] = &f.conns[f.order[at]]
			at = (at + 1) % len(f.order)
		}
		if k == turnPackets-1 {
			f.burst(burst[:])
			if busy != nil || at < turnPackets {
				f.now += 10 * tcp.Microsecond
			}
		}
	}
}

// burst lets a packet arrive for each of some connections, and be read.
func (f *flock) burst(to []*member) {
	f.drv.rx = f.many[:0]
	for _, m := range to {
		f.drv.rx = append(f.drv.rx, f.packet(m, len(f.buf)))
		m.at += tcpSeq(len(f.buf))
	}
	f.top.Step()
	for _, m := range to {
		if n, _ := f.top.Read(m.i, f.buf[:]); n != len(f.buf) {
			panic("the packet has not arrived")
		}
	}
}

// packet makes the next packet of m's peer, with n octets.
func (f *flock) packet(m *member, n int) pool.Packet {
	p := f.pkt
	f.ip.Src, f.tcp.SrcPort = m.remote.Addr, m.remote.Port
	f.tcp.Seq, f.tcp.Ack = m.at, m.seen
	k := f.ip.Emit(p.Data[:], f.tcp.Len()+n)
	f.tcp.Emit(p.Data[k:])
	p.Payload, p.Inline = uint32(n), uint16(n)
	return p
}

func (f *flock) in(m *member) {
	p := f.packet(m, len(f.buf))
	f.drv.rx = append(f.rx[:0], p)
	m.at += tcpSeq(len(f.buf))
	if n, _ := f.top.Read(m.i, f.buf[:]); n != len(f.buf) {
		panic("the packet has not arrived")
	}
}

func (f *flock) out(m *member) {
	if f.top.Write(m.i, f.buf[:]) != len(f.buf) {
		panic("no room")
	}
	m.seen += tcpSeq(len(f.buf))
	p := f.packet(m, 0)
	f.drv.rx = append(f.rx[:0], p)
	f.top.Step()
}
