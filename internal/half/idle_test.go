package half

import (
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// An established connection that has sent, received and lost data, and waits for
// nothing now, costs at most 2 KiB of the segment. It holds no chunk, no buffer and no
// annex, and has no timer.
func TestIdleConnectionCostsLittle(t *testing.T) {
	const pairs, warm, most = 1500, 100, 2048
	b := newBench(t, 512)
	here := wire.Endpoint{Addr: wire.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 1}, Port: 80}
	l, _ := b.top.Open()
	b.top.Listen(l, here, pairs)
	idle := func() {
		for b.top.Step() {
		}
	}
	connect := func(k int) (x, y uint32) {
		x, _ = b.top.Open()
		from := here
		from.Port = uint16(1024 + k)
		if !b.bottom.Connect(x, wire.Flow{Local: from, Remote: here}, 0) {
			t.Fatal("Connect failed")
		}
		idle()
		y, ok := b.top.Accept(l)
		if !ok {
			t.Fatal("nothing to accept")
		}
		b.talk(x, y)
		return x, y
	}
	for k := range warm { // what is there once, whoever comes
		connect(k)
	}
	before, err := b.seg.Resident()
	check(t, err)
	for k := range pairs {
		connect(warm + k)
	}
	b.now += tcp.Second
	idle()
	check(t, b.audit.Check(b.now))
	after, err := b.seg.Resident()
	check(t, err)
	each := float64(after-before) / (2 * pairs)
	t.Logf("%.0f octets of the segment for an idle connection", each)
	if each > most {
		t.Errorf("%.0f octets for an idle connection, want %d at most", each, most)
	}
	b.wantNothingHeld()
}

// talk sends 40,000 octets of which many segments are lost.
func (b *bench) talk(x, y uint32) {
	b.t.Helper()
	n := 0
	b.drv.loses = func(p *pool.Packet) bool {
		n++
		return p.Payload > 0 && n%3 == 0 && n < 90
	}
	left, got := 40_000, 0
	buf := make([]byte, 20_000)
	for tries := 0; got < 40_000; tries++ {
		if tries > 10_000 {
			b.t.Fatalf("%d octets have come", got)
		}
		left -= b.top.Write(x, buf[:min(left, len(buf))])
		b.now += 2 * tcp.Millisecond
		b.top.Step()
		k, _ := b.top.Read(y, buf)
		got += k
	}
	for range 100 { // the last acknowledgement
		b.now += tcp.Millisecond
		b.top.Step()
	}
}

// wantNothingHeld fails the test if anything of a segment is in use but
// connections.
func (b *bench) wantNothingHeld() {
	b.t.Helper()
	ctl := b.top.ctl
	if used := ctl.chunks.Limit - ctl.chunks.Free; used != 0 || b.annexes() != 0 {
		b.t.Errorf("%d chunks and %d annexes are in use", used, b.annexes())
	}
	if p := ctl.packing; b.top.rx.Used() > 1 || p != pool.None && b.top.rx.Refs(p) > 1 {
		b.t.Errorf("%d rx buffers are in use", b.top.rx.Used())
	}
	if free := b.drv.bufs.Available(); free != len(b.drv.octets)/2048 {
		b.t.Errorf("%d buffers for sending are free", free)
	}
	if at := b.top.wheel.deadline(); at != tcp.Never {
		for i := range b.top.conns[:ctl.conns.Fresh] {
			if at := b.top.conns[i].Deadline(); at != tcp.Never {
				b.t.Errorf("connection %d has a timer in %d ms", i, (at-b.now)/tcp.Millisecond)
			}
		}
	}
}

// Of two ends that keep their connection alive one asks for both: half as many packets
// for each of a hundred thousand idle connections.
func TestOneOfBothEndsAsks(t *testing.T) {
	b := newBench(t, 16)
	x, y, _ := b.pair()
	for _, i := range []uint32{x, y} {
		b.top.SetOptions(i, func(o *tcp.ConnOptions) { o.KeepAlive, o.KeepIdle, o.KeepInterval = 1, 15, 15 })
	}
	const periods = 100
	for range periods * 15 {
		b.now += tcp.Second
		b.run()
	}
	px, py := b.top.Conn(x).Stats.Probes, b.top.Conn(y).Stats.Probes
	if most, least := max(px, py), min(px, py); least > 1 || most < periods*9/10 || most > periods {
		t.Errorf("in %d periods one end has asked %d times, the other %d; want only one to ask", periods, px, py)
	}
	if got := b.top.Conn(x).State; got != tcp.Established {
		t.Errorf("the connection is %v", got)
	}
}
