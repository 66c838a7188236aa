package half

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"usertcp/internal/interleave"
	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// holdBench is a host with a device that swallows what it is given, so that all of it
// is in flight, and a connection without Nagle's algorithm.
type holdBench struct {
	*bench
	x     uint32
	sizes []int // of payloads that have left
}

func newHoldBench(t *testing.T, change func(*tcp.ConnOptions)) *holdBench {
	b := &holdBench{bench: newBench(t, 64)}
	b.x, _, _ = b.pair()
	b.top.SetOptions(b.x, func(o *tcp.ConnOptions) {
		o.NoDelay = 1
		change(o)
	})
	b.top.conns[b.x].Opt.LeastTrain = 60
	b.run()
	b.drv.offload = pool.MaxPDU
	b.drv.refuses = func(*pool.Packet) bool { return false }
	b.drv.loses = func(p *pool.Packet) bool {
		b.sizes = append(b.sizes, int(p.Payload))
		return true
	}
	return b
}

// write writes n times size octets, each that long after the one before.
func (b *holdBench) write(n, size int, after tcp.Time) {
	b.t.Helper()
	for range n {
		b.now += after
		if k := b.top.Write(b.x, make([]byte, size)); k != size {
			b.t.Fatalf("wrote %d of %d", k, size)
		}
		check(b.t, b.audit.Check(b.now))
	}
}

func (b *holdBench) wantSizes(want ...int) {
	b.t.Helper()
	if !slices.Equal(b.sizes, want) {
		b.t.Errorf("packets of %d octets have left, want %d", b.sizes, want)
	}
	b.sizes = nil
}

func unchanged(*tcp.ConnOptions) {}

// A packet to a device costs a system call: who writes little in short order shares
// packets, of which one leaves every holdMax. The first ones leave at once.
func TestSmallWritesInShortOrderShareAPacket(t *testing.T) {
	b := newHoldBench(t, unchanged)
	b.write(holdAfter+60, 10, tcp.Microsecond)
	b.wantSizes(append(tens(holdAfter), 190, 200, 200)...) // each call looks first, and then writes
	if b.top.Counters().Held == 0 {
		t.Error("not counted")
	}
}

// tens are n packets of ten octets.
func tens(n int) []int { return slices.Repeat([]int{10}, n) }

// Who writes now and then, much at once, or does not want it, has nothing held back;
// nor does the child hold back anything, or anybody on a ring.
func TestWhatIsNotHeldBack(t *testing.T) {
	for name, x := range map[string]struct {
		change  func(*tcp.ConnOptions)
		prepare func(b *holdBench)
		after   tcp.Time
	}{
		"now and then":     {after: holdSoon},
		"auto-corking off": {change: func(o *tcp.ConnOptions) { o.NoAutoCork = 1 }},
		"on a ring":        {prepare: func(b *holdBench) { b.drv.refuses = nil }},
		"without a child":  {prepare: func(b *holdBench) { b.top.mayHold = false }},
		"long ones between": {prepare: func(b *holdBench) {
			b.top.conns[b.x].Opt.SndBuf = 1 << 20
			for range 4 {
				b.write(holdAfter/2, 10, 0)
				b.top.aux[b.x].pace = b.top.aux[b.x].pace.wrote(holdSmall, b.now)
			}
			b.wantSizes(tens(4 * holdAfter / 2)...)
			b.top.mayHold = false
		}},
	} {
		t.Run(name, func(t *testing.T) {
			change := unchanged
			if x.change != nil {
				change = x.change
			}
			b := newHoldBench(t, change)
			if x.prepare != nil {
				x.prepare(b)
			}
			b.write(20, 10, max(x.after, 1))
			b.wantSizes(tens(20)...)
			if b.bottom.Watched() {
				t.Error("the child is to watch")
			}
		})
	}
}

// A request, and what answers it, leave at once however fast they follow each other:
// nothing is in flight then behind which they could wait.
func TestRequestsAreNotHeldBack(t *testing.T) {
	b := newBench(t, 64)
	x, y, _ := b.pair()
	b.drv.refuses = func(*pool.Packet) bool { return false }
	var sizes []int
	b.drv.see = func(p *pool.Packet) {
		if p.Payload > 0 {
			sizes = append(sizes, int(p.Payload))
		}
	}
	for range 5 * holdAfter {
		for _, way := range [][2]uint32{{x, y}, {y, x}} {
			b.now++
			b.top.Write(way[0], make([]byte, 10))
			b.run()
			if n, _ := b.top.Read(way[1], make([]byte, 100)); n != 10 {
				t.Fatalf("read %d octets", n)
			}
		}
	}
	if want := tens(10 * holdAfter); !slices.Equal(sizes, want) {
		t.Errorf("packets of %d octets have left, want %d of ten", sizes, len(want))
	}
}

// What was written before the end, or urgently, waits no longer than that.
func TestTheEndIsNotHeldBack(t *testing.T) {
	b := newHoldBench(t, unchanged)
	b.write(holdAfter+5, 10, 0)
	b.wantSizes(tens(holdAfter)...)
	b.top.Shutdown(b.x)
	b.wantSizes(50)
}

// The bottom half sends what the program holds back and does not come for: when its
// doorbell rings, at each tick, and in its watch. Not before it is due.
func TestTheChildSendsWhatIsHeldBack(t *testing.T) {
	for name, look := range map[string]func(b *holdBench){
		"a ring of its doorbell": func(b *holdBench) { b.bottom.Look(false) },
		"a tick":                 func(b *holdBench) { b.bottom.Look(true) },
		"its watch":              func(b *holdBench) { b.bottom.release() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newHoldBench(t, unchanged)
			b.write(holdAfter+5, 10, 0)
			b.wantSizes(tens(holdAfter)...)
			if !b.bottom.Watched() {
				t.Error("the child is not told")
			}
			b.now += holdMax - 1
			look(b)
			b.wantSizes()
			b.now++
			look(b)
			b.wantSizes(50)
			check(t, b.audit.Check(b.now))
			if b.top.ctl.hold.since.Load() != 0 {
				t.Error("something is held back still")
			}
		})
	}
}

// Whoever takes an acknowledgement, or looks for any other reason, sends what is due;
// of a program that dies its child sends it.
func TestWhoeverLooksSendsWhatIsHeldBack(t *testing.T) {
	b := newHoldBench(t, unchanged)
	b.write(holdAfter+5, 10, 0)
	b.wantSizes(tens(holdAfter)...)
	b.top.Step()
	b.wantSizes()
	b.now += holdMax
	b.top.Step()
	b.wantSizes(50)

	b.write(5, 10, 1)
	b.wantSizes()
	b.bottom.ProgramEnded(func() bool { return true })
	if len(b.sizes) == 0 || b.sizes[0] != 50 {
		t.Errorf("after the program's death packets of %d octets leave, want 50 first", b.sizes)
	}
}

// The watch goes on while something is held back now and then, and ends after a while
// of nothing; then the child has to be told again.
func TestTheChildsWatch(t *testing.T) {
	b := newHoldBench(t, unchanged)
	b.write(holdAfter+1, 10, 0)
	b.wantSizes(tens(holdAfter)...)
	looks := 0
	b.bottom.Watch(func(d time.Duration) {
		if b.now += tcp.Time(d); looks == 30 {
			b.write(1, 10, 0)
			b.write(holdAfter+1, 10, 1)
		}
		looks++
	})
	if len(b.sizes) < 3 || b.sizes[0] != 10 || b.sizes[len(b.sizes)-1] == 0 {
		t.Errorf("packets of %d octets have left", b.sizes)
	}
	if want := 30 + 1 + watchEnd; looks < want || looks > want+1 {
		t.Errorf("%d looks, want about %d", looks, want)
	}
	if b.bottom.Watched() {
		t.Error("it is still told to watch")
	}
	b.write(holdAfter+1, 10, 1)
	if !b.bottom.Watched() {
		t.Error("it is not told again")
	}
}

// A program may write into the segment what it likes: a time to come is no reason to
// watch for ever without doing anything.
func TestHeldBackUntilNever(t *testing.T) {
	var d hold
	d.since.Store(1 << 62)
	if !d.due(1000) {
		t.Error("a time to come is waited for")
	}
	d.since.Store(-1)
	if !d.due(tcp.Second) {
		t.Error("a time before all times is not due")
	}
}

// In every interleaving of the program, which begins to hold back, and the child, which
// ends its watch, the child is told again or goes on. The same test finds a child that
// looks first and says then that it does not watch.
func TestTheChildMissesNothingHeldBack(t *testing.T) {
	for name, x := range map[string]struct {
		unwatched func(d *hold) bool
		misses    bool
	}{
		"as it is": {(*hold).unwatched, false},
		"in the wrong order": {func(d *hold) bool {
			shm.Step()
			none := d.since.Load() == 0
			shm.Step()
			d.watched.Store(0)
			return none
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			defer shm.SetYield(nil)
			e := &interleave.Explorer{Preemptions: -1}
			r, err := e.Explore(func(s *interleave.Scheduler) interleave.Run {
				shm.SetYield(s.Yield)
				d := &hold{}
				d.watched.Store(1)
				var told, ended bool
				return interleave.Run{
					Tasks: []interleave.Task{
						{Name: "program", Do: func() {
							for n := range tcp.Time(2) {
								d.none()
								told = d.note(n+1) || told
							}
						}},
						{Name: "child", Do: func() { ended = x.unwatched(d) }},
					},
					Check: func() error {
						if ended && !told && d.since.Load() != 0 {
							return errors.New("something is held back, and nobody watches")
						}
						return nil
					},
				}
			})
			t.Log(r)
			if (err != nil) != x.misses {
				t.Errorf("%v; something missed: want %v", err, x.misses)
			}
		})
	}
}

// The time of the last packet is kept in 24 bits.
func TestPaceKnowsWhenAPacketLeft(t *testing.T) {
	for _, now := range []tcp.Time{0, 1, 999, tcp.Second, 1000 * tcp.Second, 1 << 50} {
		for _, d := range []tcp.Time{0, tcp.Microsecond, 49 * tcp.Microsecond, tcp.Second, 16 * tcp.Second} {
			p := pace(7 * paceWrite).sent(now)
			got := p.since(now + d)
			if got < d-tcp.Microsecond || got > d+tcp.Microsecond || p.writes() != 7 {
				t.Errorf("sent at %d, looked at %d later: %d, %d writes", now, d, got, p.writes())
			}
		}
	}
	p := pace(0).sent(0)
	for range 1000 {
		p = p.wrote(1, 1)
	}
	if got := fmt.Sprint(p.writes(), p.since(0)); got != "255 0s" && got != "255 0" {
		t.Errorf("after a thousand writes: %s", got)
	}
}
