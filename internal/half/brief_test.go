package half

import (
	"sync"
	"testing"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// woken counts what a driver is told of who sleeps; something lies there always.
type woken struct {
	pool.Driver
	awake, armed int
}

func (w *woken) Awake()        { w.awake++ }
func (w *woken) Pending() bool { return true }
func (w *woken) Glance() bool  { return true }

func (w *woken) Arm() bool {
	w.armed++
	return false
}

// A child that takes all packets does not stand in for anybody: a program that comes
// while packets lie there, tick after tick, is no reason to stop listening to the device.
func TestAChildThatTakesAllIsNotRelieved(t *testing.T) {
	for _, takes := range []bool{false, true} {
		if takes {
			arrange(t, SetChildTakes)
		}
		a, _ := newHosts(t, SpinOff)
		d := &woken{Driver: a.bottom.drv}
		a.bottom.drv = d
		a.bottom.Look(true)
		a.bottom.Look(true)
		a.bottom.Look(true)
		a.bottom.ctl.drives.Add(1)
		a.bottom.Look(false)
		if want := 1; !takes && d.awake != want || takes && d.awake != 0 {
			t.Errorf("child takes all: %v; the driver was told %d times that the program is back", takes, d.awake)
		}
		if d.armed == 0 {
			t.Errorf("child takes all: %v; the device was not armed", takes)
		}
	}
}

// It gives the lock back in time, says that there is more, and then goes on.
func TestAChildThatTakesAllGivesTheLockBack(t *testing.T) {
	arrange(t, SetChildTakes)
	a, b := newHosts(t, SpinOff)
	a.run()
	b.run()
	c, s := connect(t, a, b)
	b.halt()
	check(t, writeOctets(c, octets(1, 100_000)))
	before := b.counters().PacketsIn
	clock := b.bottom.clock
	var later tcp.Time
	b.bottom.clock = func() tcp.Time { // a turn takes long
		later += tcp.Time(standBrief)
		return clock() + later
	}
	if !b.bottom.Look(false) {
		t.Error("the child has looked for long, and does not say that there is more")
	}
	if n := b.counters().PacketsIn - before; n == 0 {
		t.Error("it has taken nothing")
	}
	stop := make(chan struct{})
	var child sync.WaitGroup
	defer child.Wait()
	defer close(stop)
	fixed := later
	b.bottom.clock = func() tcp.Time { return clock() + fixed }
	child.Go(func() { // what comes later, too, is the child's to take
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				b.bottom.Look(false)
			}
		}
	})
	check(t, readOctets(s, octets(1, 100_000)))
}
