package half

import (
	"fmt"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// kept are connections of a host with itself, over circuit 0, that keep themselves alive.
type kept struct {
	*bench
	from, to []uint32
	idle     tcp.Time
	looks    int // at the segment, for the sake of timers
}

func newKept(t *testing.T, n int, idle uint32, count uint8) *kept {
	k := &kept{bench: newBench(t, 16), idle: tcp.Time(idle) * tcp.Second}
	here := wire.Endpoint{Addr: wire.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 1}, Port: 80}
	l, _ := k.top.Open()
	k.top.Listen(l, here, 4)
	for m := range n {
		x, _ := k.top.Open()
		from := here
		from.Port = uint16(1024 + m)
		if !k.bottom.Connect(x, wire.Flow{Local: from, Remote: here}, 0) {
			t.Fatal("Connect failed")
		}
		k.run()
		y, ok := k.top.Accept(l)
		if !ok {
			t.Fatal("nothing to accept")
		}
		k.from, k.to = append(k.from, x), append(k.to, y)
		k.now += k.idle / tcp.Time(n)
	}
	for _, i := range k.all() {
		k.top.SetOptions(i, func(o *tcp.ConnOptions) { o.KeepAlive, o.KeepIdle, o.KeepInterval, o.KeepCount = 1, idle, idle, count })
	}
	k.run()
	return k
}

// all returns both ends of all connections.
func (k *kept) all() []uint32 { return append(append([]uint32(nil), k.from...), k.to...) }

// pass lets time go by, and looks when a timer is due; each is called at each look.
func (k *kept) pass(d tcp.Time, each func()) {
	k.t.Helper()
	for end := k.now + d; k.now < end; {
		k.now = min(end, max(k.now+1, k.top.Deadline()))
		k.looks++
		k.run()
		if each != nil {
			each()
		}
	}
}

func (k *kept) probes() (n uint32) {
	for _, i := range k.all() {
		n += k.top.Conn(i).Stats.Probes
	}
	return n
}

// Over a circuit one probe tells many connections that their peer is there. Each asks, or
// is asked, now and then nevertheless, and who looks after them need not wake for each.
func TestIdleConnectionsOfACircuitAskForOneAnother(t *testing.T) {
	const n, intervals = 100, 64
	k := newKept(t, n, 15, 9)
	k.pass(9*k.idle, nil) // until the first have come out of step
	began, looks, heard := k.probes(), k.looks, map[uint32]uint64{}
	at := k.now
	for range intervals / 8 {
		for _, i := range k.all() {
			heard[i] = k.top.Conn(i).Stats.SegsIn
		}
		k.pass(9*k.idle, nil)
		for _, i := range k.all() {
			c := k.top.Conn(i)
			if c.State != tcp.Established || c.Stats.SegsIn == heard[i] {
				t.Fatalf("connection %d, %v, has heard nothing for 9 intervals", i, c.State)
			}
		}
	}
	passed := float64((k.now - at) / k.idle)
	probes, each := float64(k.probes()-began)/passed, float64(k.looks-looks)/passed
	t.Logf("%d connections: %.1f probes and %.0f looks in an interval", n, probes, each)
	if probes > n/5+5 {
		t.Errorf("%.1f probes in an interval", probes)
	}
	if each > 8*restSteps {
		t.Errorf("%.0f looks in an interval", each)
	}
}

// A peer that is silent is given up as soon as without others to ask for oneself: an
// interval and the probes after it has last been heard of, and not sooner.
func TestSilentPeerIsGivenUpInTime(t *testing.T) {
	const count = 3
	k := newKept(t, 50, 10, count)
	k.pass(20*k.idle+k.idle/3, nil)
	last := k.now
	k.drv.see = func(*pool.Packet) { last = k.now }
	k.pass(k.idle, nil)
	k.drv.deaf = true
	ended := map[uint32]bool{}
	patience := k.idle + k.idle/8 + count*k.idle
	k.pass(patience+tcp.Millisecond, func() {
		for _, i := range k.all() {
			c := k.top.Conn(i)
			if c.State == tcp.Established || ended[i] {
				continue
			}
			ended[i] = true
			if c.Error != tcp.ErrTimeout || k.now < last+count*k.idle {
				t.Fatalf("connection %d ended %d ms after the last packet: %v", i, (k.now-last)/tcp.Millisecond, c.Error)
			}
		}
	})
	if len(ended) != len(k.all()) {
		t.Errorf("%d of %d connections have ended", len(ended), len(k.all()))
	}
}

// A connection that the peer has forgotten, without a word that arrived, finds out,
// though its circuit is alive.
func TestForgottenConnectionFindsOut(t *testing.T) {
	k := newKept(t, 20, 15, 9)
	k.pass(3*k.idle, nil)
	x, y := k.from[7], k.to[7]
	k.top.fail(y, tcp.ErrReset)
	k.run()
	if got := k.top.Conn(x).State; got != tcp.Established {
		t.Fatalf("the other end knows at once: %v", got)
	}
	k.pass(9*k.idle, nil)
	if c := k.top.Conn(x); c.Error != tcp.ErrReset {
		t.Errorf("%v, %v", c.State, c.Error)
	}
	for _, i := range k.from {
		if i != x && k.top.Conn(i).State != tcp.Established {
			t.Errorf("connection %d is %v", i, k.top.Conn(i).State)
		}
	}
}

// Whoever changes the interval of a connection that rests has what he asks for.
func TestRestHeedsAChangedInterval(t *testing.T) {
	k := newKept(t, 20, 60, 9)
	k.pass(3*k.idle, nil)
	x := k.from[3]
	k.top.SetOptions(x, func(o *tcp.ConnOptions) { o.KeepIdle, o.KeepInterval = 1, 1 })
	before := k.top.Conn(x).Stats.Probes
	k.drv.loses = func(*pool.Packet) bool { return true }
	k.pass(4*tcp.Second, nil)
	if got := k.top.Conn(x).Stats.Probes - before; got < 2 {
		t.Errorf("%d probes in four seconds of silence", got)
	}
}

// Devices lead to many hosts: what comes from one of them says nothing of another.
func TestNoRestOverDevices(t *testing.T) {
	k := newKept(t, 2, 15, 9)
	k.now += k.idle
	h, x := &k.top.Half, k.from[0]
	h.now = k.now
	h.hears(0)
	h.wheel.remove(h.aux, x)
	if !h.rests(x) {
		t.Fatal("over a ring it does not rest")
	}
	for _, circuit := range []uint16{pool.NIC, pool.NoCircuit} {
		h.hears(circuit)
		h.wheel.remove(h.aux, x)
		h.aux[x].circuit = circuit
		if h.rests(x) {
			t.Errorf("by circuit %d it rests", circuit)
		}
	}
	h.aux[x].circuit = 0
	h.rearm(x)
}

// Connections of one circuit that rest come out of it in few moments, none late.
func TestRestUntil(t *testing.T) {
	const idle = 15 * tcp.Second
	now := 12345 * tcp.Second
	until := now + idle - idle/10
	moments := map[tcp.Time]int{}
	for i := range uint32(1000) {
		at := restUntil(i, now, until, idle)
		if at <= now || at > until || at < until-idle/askFirst-idle/restSteps {
			t.Fatalf("connection %d rests until %d ms of %d", i, (at-now)/tcp.Millisecond, (until-now)/tcp.Millisecond)
		}
		moments[at]++
	}
	if len(moments) < restSteps/askFirst-1 || len(moments) > 2*restSteps/askFirst+2 {
		t.Errorf("%d moments", len(moments))
	}
	if at := restUntil(3, now, now+1, idle); at != now+1 {
		t.Errorf("late by %d", at-now-1)
	}
}

// BenchmarkRests is what it costs for each that connections which rest are looked at when
// their time comes.
func BenchmarkRests(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				f := newFlock(b, n)
				for _, m := range f.conns {
					f.top.SetOptions(m.i, func(o *tcp.ConnOptions) { o.KeepAlive, o.KeepIdle, o.KeepInterval, o.KeepCount = 1, 15, 15, 9 })
				}
				f.rest(32 * tcp.Second)
				b.StartTimer()
				f.rest(48 * tcp.Second)
			}
			looks := 48. / 15 * 8 / 7 * float64(n)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/looks, "ns/look")
		})
	}
}

// rest lets time go by in which something else comes by the circuit.
func (f *flock) rest(d tcp.Time) {
	for end := f.now + d; f.now < end; f.now += 10 * tcp.Millisecond {
		f.top.onCircuit[0].signs.heard = f.now
		f.top.Step()
	}
}
