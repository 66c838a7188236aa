package half

import (
	"testing"
	"time"

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
	b.bottom.TakeOver(nil, func() bool { return dead })
	if b.audit.Check(b.now) == nil {
		t.Error("a child's successor has taken what a living program has reserved")
	}
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
	if n := b.top.Counters().Repairs; n != 1 {
		t.Errorf("%d repairs, want the successor's: nobody died with the lock", n)
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

// A program that is stopped while it has the lock keeps its own connections from going
// on, and nobody waiting: each call of the child comes back within its bound.
func TestStoppedWithTheLock(t *testing.T) {
	b := newBench(t, 16)
	x, y, _ := b.pair()
	b.top.Write(x, []byte("said before"))
	b.top.lock.Lock(-1) // and it is stopped
	for name, call := range map[string]struct {
		bound time.Duration
		f     func()
	}{
		"look at a tick": {lockBound, func() { b.bottom.Look(true) }},
		"count":          {lockBound, func() { b.bottom.Live() }},
		"change":         {time.Second, func() { b.bottom.Change(func() { t.Error("changed without the lock") }) }},
		"a packet":       {time.Second, func() { b.bottom.Arrive(nil, 0) }},
	} {
		began := time.Now()
		call.f()
		if took := time.Since(began); took > call.bound+patience/2 {
			t.Errorf("%s: waited %v for a stopped program", name, took)
		}
	}
	b.top.lock.Unlock() // SIGCONT
	b.run()
	if n, _ := b.top.Read(y, make([]byte, 100)); n != 11 {
		t.Errorf("read %d octets", n)
	}
}
