package half

import (
	"runtime"
	"testing"
	"time"
)

// A process always spins with one leader, and never on all its processors.
func TestHowManyLeadersSpin(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for procs, want := range map[int]int{1: 1, 2: 1, 3: 2, 8: 7} {
		runtime.GOMAXPROCS(procs)
		n := 0
		for maySpin() {
			n++
		}
		if n != want {
			t.Errorf("with %d processors %d leaders spin, want %d", procs, n, want)
		}
		if spinning.Add(int32(-n)) != 0 {
			t.Fatal("a refusal counts")
		}
	}
}

// A leader that may not spin does not look at all, and one that has spun lets another.
func TestSpinningEnds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	runtime.GOMAXPROCS(2)
	a, _ := strictHosts(t, true)
	top := a.top
	top.enter()
	defer top.leave()
	top.spin = SpinDefault
	for range 3 {
		const long = 2 * time.Millisecond
		top.spinBusy = long
		if began := time.Now(); !top.spun(top.clock()) && time.Since(began) < long {
			t.Error("it may spin, and has not")
		}
		if !maySpin() {
			t.Error("it has spun, and nobody may spin now")
		}
		top.spinBusy = time.Hour
		late := time.AfterFunc(20*time.Second, func() { top.poked.Store(true) })
		if top.spun(top.clock()) || !late.Stop() {
			t.Error("two leaders spin on two processors")
		}
		spinning.Add(-1)
	}
}
