package half

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// counted is a driver that says in what order it is looked at and the CPU is given away.
type counted struct {
	pool.Driver
	order []byte // l: looked, c: the CPU given away
	after int    // looks after which there is something
}

func (d *counted) Pending() bool {
	d.order = append(d.order, 'l')
	d.after--
	return d.after < 0
}

func (d *counted) Glance() bool { return d.Pending() }

// spinOrder spins until the fifth look finds something.
func spinOrder(t *testing.T, costly, oneCPU bool) string {
	a, _ := newHosts(t, SpinDefault)
	top := a.top
	d := &counted{Driver: top.drv, after: 4}
	top.drv, top.costly, top.oneCPU = d, costly, oneCPU
	top.cede = func() { d.order = append(d.order, 'c') }
	if !top.look(top.clock(), time.Hour) {
		t.Error("a spin without an end has ended")
	}
	top.drv = d.Driver
	return string(d.order)
}

// On one CPU the peer can't answer before it gets that CPU. Once a leader over devices
// looked for 25 µs before it gave the CPU away, about 100 system calls for each
// transaction: a third of the kernel's rate.
func TestALeaderOnOneCPUGivesItAwayBetweenLooks(t *testing.T) {
	for _, c := range []struct {
		costly, oneCPU bool
		want           string
	}{
		{costly: false, oneCPU: true, want: "lclclclcl"},
		{costly: true, oneCPU: true, want: "clclclclcl"},
		{costly: false, oneCPU: false, want: "lllll"},
		{costly: true, oneCPU: false, want: "lllll"},
	} {
		if got := spinOrder(t, c.costly, c.oneCPU); got != c.want {
			t.Errorf("costly looks %v, one CPU %v: %s, want %s", c.costly, c.oneCPU, got, c.want)
		}
	}
}

// A look costs as much as to take a packet. A transaction on one CPU took each end two
// looks that found nothing, or only that there was something: five system calls, where
// a write, a CPU given away and a read do.
func TestALeaderOnOneCPUGivesItAwayAndTakes(t *testing.T) {
	for _, spin := range []Spin{SpinDefault, SpinOn} {
		a, _ := newHosts(t, spin)
		top := a.top
		d := &counted{Driver: top.drv}
		top.cede = func() { d.order = append(d.order, 'c') }
		top.Change(func() {
			top.drv, top.costly, top.oneCPU, top.counted = d, true, true, top.clock()+tcp.Time(time.Hour)
			top.pause()
			if got := string(d.order); got != "c" {
				t.Errorf("%v: a wait begins with %s, want c", spin, got)
			}
			top.pause() // nothing was found
			if got := string(d.order); got != "ccl" {
				t.Errorf("%v: a wait goes on with %s, want ccl", spin, got)
			}
			top.drv, top.ceded = d.Driver, true
			top.enlist(listTop, 0)
			if !top.step() || top.ceded {
				t.Errorf("%v: who has found something looks before he gives the CPU away", spin)
			}
		})
	}
}

// A call that has not looked, since somebody had a moment ago, does not either when it
// waits on the one CPU: the peer has to have that first.
func TestALeaderOnOneCPULooksLater(t *testing.T) {
	for _, c := range []struct {
		why  string
		set  func(*Top)
		want bool
	}{
		{"the only CPU", func(*Top) {}, true},
		{"more CPUs", func(t *Top) { t.oneCPU = false }, false},
		{"the call has looked", func(t *Top) { t.skipped = false }, false},
		{"the last look was long ago", func(t *Top) { t.stepped -= 2 * tcp.Time(lookFresh) }, false},
		{"it has given the CPU away already", func(t *Top) { t.ceded = true }, false},
		{"it does not spin", func(t *Top) { t.spin = SpinOff }, false},
		{"somebody was woken", func(t *Top) { t.woken = true }, false},
	} {
		a, _ := newHosts(t, SpinDefault)
		a.top.Change(func() {
			top := a.top
			top.costly, top.oneCPU, top.skipped = true, true, true
			top.now = top.clock()
			top.stepped = top.now
			c.set(top)
			if got := top.looksLater(); got != c.want {
				t.Errorf("%s: %v, want %v", c.why, got, c.want)
			}
			if top.skipped {
				t.Errorf("%s: a second wait would not look either", c.why)
			}
			top.woken = false
		})
	}
}

func TestCPUsAreCountedNowAndThen(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	check(t, unix.SchedGetaffinity(0, &before))
	for c := 0; one.Count() == 0; c++ {
		if before.IsSet(c) {
			one.Set(c)
		}
	}
	check(t, unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &before)
	a, _ := newHosts(t, SpinDefault)
	top := a.top
	now := top.counted + tcp.Time(countPeriod)
	if top.countCPUs(now); !top.oneCPU {
		t.Error("one CPU was not found to be one")
	}
	check(t, unix.SchedSetaffinity(0, &before))
	if top.countCPUs(now + tcp.Time(countPeriod/2)); !top.oneCPU {
		t.Error("counted again too soon")
	}
	if top.countCPUs(now + tcp.Time(countPeriod)); top.oneCPU != (before.Count() == 1) {
		t.Errorf("one CPU: %v, of %d", top.oneCPU, before.Count())
	}
}

// executed is a driver that counts the scripts that it executes.
type executed struct {
	pool.Driver
	n int
}

func (d *executed) Execute(ops []pool.Op) {
	d.n++
	d.Driver.Execute(ops)
}

// A turn that would find nothing ends at a glance; one for which there is a packet, a
// timer or somebody who waits for room does not.
func TestATurnThatFindsNothing(t *testing.T) {
	w := newCrashWorld(t, false)
	i, j := w.a.pair(w.b, 1001)
	w.settle()
	h := w.a.top
	d := &executed{Driver: h.drv}
	h.drv, h.glances = d, true
	scripts := func() int {
		d.n = 0
		h.Step()
		return d.n
	}
	if n := scripts(); n != 0 {
		t.Errorf("nothing, and %d scripts", n)
	}
	w.b.top.Write(j, []byte("x"))
	if scripts() == 0 {
		t.Error("a packet is not taken")
	}
	if scripts(); scripts() != 0 { // the first may move timers
		t.Error("a turn behind it does not end at a glance")
	}
	for name, l := range map[string]int{"touched": listTouched, "without room": listBlocked, "starved": listStarved} {
		if h.enlist(l, i); h.nothing() {
			t.Errorf("%s: nothing to do", name)
		}
		if h.Step(); scripts() != 0 {
			t.Errorf("%s: a turn behind it does not end at a glance", name)
		}
	}
	if h.now = h.wheel.deadline(); h.now == tcp.Never || h.nothing() {
		t.Error("a timer that is due is nothing to do")
	}
	if h.glances = false; scripts() == 0 {
		t.Error("where a glance is a system call there is none")
	}
}

// Of a wait on the one CPU, whose end the first look behind it finds, the clock is read
// once: for the end, and for the turn that takes what has come.
func TestWhoWaitsReadsTheClockOnce(t *testing.T) {
	a, _ := newHosts(t, SpinDefault)
	top := a.top
	reads, clock := 0, top.clock
	top.clock = func() tcp.Time {
		reads++
		return clock()
	}
	d := &counted{Driver: top.drv, after: 1}
	top.cede = func() { d.order = append(d.order, 'c') }
	top.Change(func() {
		top.oneCPU, top.now = true, clock()
		top.counted = top.now
		top.drv = d
		defer func() { top.drv = d.Driver }()
		top.pause()
		if got := string(d.order); got != "lcl" || reads != 1 {
			t.Errorf("%s, and the clock read %d times; want lcl and once", got, reads)
		}
		if top.step(); reads != 1 {
			t.Error("the turn reads it again")
		}
		if top.step(); reads != 2 {
			t.Error("the turn after that does not read it")
		}
	})
}
