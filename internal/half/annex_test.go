package half

import (
	"bytes"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// gaps makes a pair of which one end sends and every other packet is lost from
// some moment on, so that both ends have more gaps than their Conns hold.
func gaps(t *testing.T, prepare ...func(*bench)) (b *bench, x, y uint32, sent []byte) {
	t.Helper()
	b = newBench(t, 512)
	for _, f := range prepare {
		f(b)
	}
	x, y, _ = b.pair()
	write := func(n int) {
		p := bytes.Repeat([]byte{byte(len(sent)), 'u'}, n/2)
		if got := b.top.Write(x, p); got != n {
			t.Fatalf("wrote %d of %d", got, n)
		}
		sent = append(sent, p...)
	}
	for range 10 { // the congestion window grows
		write(30000)
		for range 50 {
			b.now += tcp.Millisecond
			b.run()
			b.top.Read(y, make([]byte, 1<<20))
		}
	}
	sent = nil
	n := 0
	b.drv.loses = func(p *pool.Packet) bool {
		n++
		return p.Payload > 0 && n%2 == 0
	}
	for range 6 {
		write(30000)
	}
	for range 30 { // enough for gaps, too little for repair
		b.top.Step()
		check(t, b.audit.Check(b.now))
	}
	return b, x, y, sent
}

func (b *bench) annexes() int {
	return int(b.top.ctl.annexes.Limit - b.top.ctl.annexes.Free)
}

// finish lets the time pass until y has read what x has sent.
func (b *bench) finish(y uint32, want []byte) {
	b.t.Helper()
	b.drv.loses = nil
	var got []byte
	for range 200 {
		b.now += 10 * tcp.Millisecond
		b.run()
		p := make([]byte, 1<<20)
		n, _ := b.top.Read(y, p)
		got = append(got, p[:n]...)
	}
	if !bytes.Equal(got, want) {
		b.t.Errorf("%d octets arrived of %d, or others", len(got), len(want))
	}
}

func TestAnnexIsGivenAndTakenBack(t *testing.T) {
	b, x, y, sent := gaps(t)
	if b.annexes() != 2 || b.top.conns[x].Annex == 0 || b.top.conns[y].Annex == 0 {
		t.Fatalf("%d annexes are in use: nothing was tested", b.annexes())
	}
	b.finish(y, sent)
	if b.annexes() != 0 {
		t.Errorf("%d annexes are in use after the gaps have gone", b.annexes())
	}
}

func TestWithoutAnnexesAllArrives(t *testing.T) {
	b, x, y, sent := gaps(t, func(b *bench) { b.top.ctl.annexes.Reset(0) })
	if b.annexes() != 0 || b.top.conns[x].Annex != 0 {
		t.Fatal("an annex came from nowhere")
	}
	b.finish(y, sent)
}

func TestDeathWithAnnexes(t *testing.T) {
	b, x, y, _ := gaps(t)
	before := b.top.conns[y].Stats.OutOfOrder
	b.top.DieReading(y, 0xa5)
	b.bottom.ProgramEnded(func() bool { return true })
	check(t, b.audit.Check(b.now))
	if b.top.Counters().Repairs != 1 || b.top.conns[y].Stats.OutOfOrder < before || x == y {
		t.Error("the connection is not what it was")
	}
	b.drv.loses = nil
	b.now += 300 * tcp.Second
	for range 5 {
		b.bottom.Look(true)
	}
	check(t, b.audit.Nothing())
}
