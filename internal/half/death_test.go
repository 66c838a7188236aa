package half

import (
	"testing"

	"usertcp/internal/tcp"
)

// A program that dies while it copies, without the lock, has reserved chunks and
// buffers that no connection knows of. They stayed in use until the child ended.
func TestDeathBetweenReserveAndSend(t *testing.T) {
	b := newBench(t, 16)
	x, _, _ := b.pair()
	var r reservation
	if b.top.reserve(x, 9000, &r) == 0 {
		t.Fatal("nothing was reserved")
	}
	dead := false
	b.bottom.ProgramEnded(func() bool { return dead })
	if b.audit.Check(b.now) == nil {
		t.Error("what a living program has reserved was taken from it")
	}
	dead = true
	b.bottom.Look(true)
	check(t, b.audit.Check(b.now))
	b.now += 300 * tcp.Second
	for range 5 {
		b.bottom.Look(true)
	}
	check(t, b.audit.Nothing())
	if n := b.top.Counters().Repairs; n != 0 {
		t.Errorf("%d repairs: nobody died with the lock", n)
	}
}

// What a death between two steps leaves, by what resolve makes of it: nothing may
// stay for ever.
func TestDeathBetweenSteps(t *testing.T) {
	for name, die := range map[string]func(b *bench, x, y, l uint32){
		"a slot taken for a SYN": func(b *bench, x, y, l uint32) { b.top.embryo(l, 0) },
		"taken out of the accept queue": func(b *bench, x, y, l uint32) {
			b.top.aux[y].use, b.top.aux[y].accepted, b.top.aux[y].parent = useEmbryo, 1, none
		},
		"given up, and the engine not told": func(b *bench, x, y, l uint32) { b.top.aux[x].use = useOrphan },
		"closed, and not handed over": func(b *bench, x, y, l uint32) {
			b.top.unhash(l)
			b.top.conns[l].State = tcp.Closed
			b.top.aux[l].use = useOrphan
		},
		"half of a circuit's count": func(b *bench, x, y, l uint32) { b.top.aux[x].circuit = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 16)
			x, y, l := b.pair()
			b.top.lock.Lock(-1)
			die(b, x, y, l)
			b.bottom.ProgramEnded(func() bool { return true })
			check(t, b.audit.Check(b.now))
			b.now += 300 * tcp.Second
			for range 5 {
				b.bottom.Look(true)
			}
			check(t, b.audit.Nothing())
		})
	}
}
