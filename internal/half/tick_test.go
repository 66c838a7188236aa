package half

import (
	"testing"

	"usertcp/internal/pool"
)

// rested makes the child of a program that has had next to nothing to do for long enough.
func rested(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, 16)
	b.pair()
	b.bottom.Look(true)
	b.bottom.quiet = 0 // it has been busy
	for range quietTicks {
		if got := b.bottom.NextTick(); got != Tick {
			t.Fatalf("the next tick is in %v", got)
		}
		for range quietDrives { // some timers
			b.top.ctl.drives.Add(1)
		}
		b.bottom.Look(true)
	}
	if got := b.bottom.NextTick(); got != RestTick {
		t.Fatalf("after %d quiet ticks the next is in %v", quietTicks, got)
	}
	return b
}

// The child of a program that does nothing at all looks less often still.
func TestTicksOfAProgramThatDoesNothing(t *testing.T) {
	b := rested(t)
	for range idleTicks {
		if got := b.bottom.NextTick(); got != RestTick {
			t.Fatalf("the next tick is in %v", got)
		}
		b.bottom.Look(true)
	}
	if got := b.bottom.NextTick(); got != LongTick {
		t.Fatalf("after %d idle ticks the next is in %v", idleTicks, got)
	}
	b.bottom.Look(true)
	b.bottom.Look(true)
	if got := b.bottom.NextTick(); got != LongTick {
		t.Fatalf("… and then in %v", got)
	}
	b.top.ctl.drives.Add(1)
	b.bottom.Look(true)
	if got := b.bottom.NextTick(); got != RestTick {
		t.Errorf("it has done something: the next is in %v", got)
	}
}

// The children of programs with thousands of idle connections never rested once, since
// these have their keep-alive timers looked at many at once.
func TestTicksOfAProgramThatIsBusyNowAndThen(t *testing.T) {
	b := rested(t)
	for range 100 {
		for range 27 {
			b.bottom.Look(true)
			if got := b.bottom.NextTick(); got != RestTick {
				t.Fatalf("the next tick is in %v", got)
			}
		}
		b.top.ctl.drives.Add(12 * quietDrives)
	}
}

// A program that has become busy is noticed, and one that was is not soon taken for idle.
func TestTicksOfAProgramThatHasBecomeBusy(t *testing.T) {
	b := rested(t)
	ticks := 0
	for ; b.bottom.NextTick() != Tick; ticks++ {
		if ticks > quietTicks {
			t.Fatal("nobody notices")
		}
		b.top.ctl.drives.Add(4 * quietDrives)
		b.bottom.Look(true)
	}
	for range quietTicks / 2 {
		b.bottom.Look(true)
		if got := b.bottom.NextTick(); got != Tick {
			t.Fatalf("it is not busy any more: the next tick is in %v at once", got)
		}
	}
}

// The child of an idle program looks as often as ever at once when there is something for
// it, or the program is busy or has ended.
func TestTicksOfAnIdleProgram(t *testing.T) {
	for what, do := range map[string]func(b *bench){
		"something lies there": func(b *bench) {
			b.drv.rx = append(b.drv.rx, pool.Packet{Circuit: 0})
		},
		"the program is busy":    func(b *bench) { b.top.ctl.drives.Add(quietDrives * quietTicks) },
		"the program has ended":  func(b *bench) { b.bottom.ProgramEnded(func() bool { return true }) },
		"the child takes it all": func(b *bench) { b.top.ctl.childTakes = 1 },
	} {
		t.Run(what, func(t *testing.T) {
			b := rested(t)
			do(b)
			b.bottom.Look(true)
			if got := b.bottom.NextTick(); got != Tick {
				t.Errorf("the next tick is in %v", got)
			}
		})
	}
}
