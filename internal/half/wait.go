package half

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/shm"
	"usertcp/internal/tcp"
)

// Spin says how long a leader looks for packets before it parks.
type Spin int

// The ways to spin.
const (
	SpinDefault Spin = iota // a bounded time, if packets have come soon of late
	SpinOff
	SpinOn // until a packet comes
)

// Times of the top half.
const (
	watchPeriod = time.Millisecond
	watchMost   = 4 * time.Millisecond // beside a program that calls all the time
	spinMax     = 50 * time.Microsecond
	spinMin     = 2 * time.Microsecond
	spinYield   = 25 * time.Microsecond  // between two times that a leader whose looks are system calls gives its CPU away
	spinWorth   = 125 * time.Microsecond // waits shorter than that make the next one spin
	dozeMax     = 5 * time.Millisecond   // longer than a tick of the kernel's: a sooner end would set the CPU's timer
	dozeWorth   = time.Millisecond       // waits shorter than that make the next one a nap
	countPeriod = 100 * time.Millisecond // between two looks at the CPUs that are ours
	looksYield  = 64                     // looks, where they cost next to nothing, after which the CPU is given away
	lookFresh   = 20 * time.Microsecond  // so soon after a costly look a call does not look again
	lookSeldom  = 60 * time.Microsecond  // … one that writes what leaves at once
)

// pause waits for something to do: it spins for a while if that promises to be
// of use, and sleeps then. The turn before it has found nothing, a moment ago.
func (t *Top) pause() {
	began := t.now
	t.countCPUs(began)
	if t.cedes() {
		return
	}
	t.ceded = false
	if t.spin == SpinOn {
		t.leave()
		t.look(began, 0)
		t.enter()
		return
	}
	if !t.letGather() && !t.spun(began) && !t.nap() {
		t.park()
	}
	t.now, t.stamped = t.clock(), true
	t.adapt(time.Duration(t.now - began))
}

// cedes gives the CPU away, if it is the only one and a look costs as much as taking a
// packet does: the leader comes back to take what the peer has sent meanwhile, and waits
// otherwise if it finds nothing then.
func (t *Top) cedes() bool {
	if t.ceded || !t.oneCPU || !t.costly || t.spin == SpinOff || t.passive || !maySpin() {
		return false
	}
	defer spinning.Add(-1)
	t.ceded = true
	t.leave()
	t.cede()
	t.enter()
	return true
}

// spinning counts the leaders of this process that spin or nap, each on a processor of
// the runtime's.
var spinning atomic.Int32

// maySpin reports whether one more leader may do so, who then counts: a program with
// several segments (shards) keeps a processor for the goroutines for whom the packets
// are.
func maySpin() bool {
	if n := int(spinning.Add(1)); n == 1 || n < runtime.GOMAXPROCS(0) {
		return true
	}
	spinning.Add(-1)
	return false
}

// spun spins as long as is allowed, and reports whether there is something.
func (t *Top) spun(began tcp.Time) bool {
	if t.spin == SpinOff || !maySpin() {
		return false
	}
	defer spinning.Add(-1)
	t.leave()
	defer t.enter()
	return t.look(began, t.spinBusy)
}

// adapt decides how long the next wait spins. If this one was so short that a
// spin would have caught what it waited for, or nearly (a peer that answers at
// once may itself have had to wake up), the next spins as long as is allowed;
// otherwise half as long as this one, down to next to nothing.
func (t *Top) adapt(waited time.Duration) {
	if t.brisk = waited < dozeWorth; waited < spinWorth {
		t.spinBusy = spinMax
	} else {
		t.spinBusy = max(spinMin, t.spinBusy/2)
	}
}

// nap sleeps for a short time, this thread and not only this goroutine, and reports
// whether something has come. The poller would have to be armed for the sleep, wakes
// one more descriptor, and hands the goroutine over to a thread; but it gives this
// goroutine's processor to others at once, and here the scheduler comes for it when it
// notices. So this is for waits that promise to be short, and for a leader whom nobody
// waits behind.
//
// Nothing is missed: the bell says that we sleep before we look a last time, and
// device and doorbell are looked at as they are, so that what came before counts.
func (t *Top) nap() bool {
	if t.doze == nil || t.passive || !t.brisk || t.followers.first() != nil || !maySpin() {
		return false
	}
	defer spinning.Add(-1)
	return t.sleep(t.doze, dozeMax)
}

// sleep sleeps as how does, for limit at most, unless there is something to do for this
// process already, and reports whether there is.
func (t *Top) sleep(how func(time.Duration) bool, limit time.Duration) bool {
	t.bell.Sleep(shm.TopHalf)
	t.leave()
	if runtime.GOMAXPROCS(0) == 1 {
		runtime.Gosched() // nobody else can run who is ready
	}
	came := t.poked.Load() || t.left(listTop) || how(limit)
	t.enter()
	return came
}

// countCPUs finds out, from time to time, whether this process may use one CPU only.
// Whom it waits for may need just that one then, so that the CPU is given away after
// each look that finds nothing.
func (t *Top) countCPUs(now tcp.Time) {
	if now-t.counted < tcp.Time(countPeriod) {
		return
	}
	t.counted = now
	var cpus unix.CPUSet
	t.oneCPU = unix.SchedGetaffinity(0, &cpus) == nil && cpus.Count() == 1
}

// schedYield gives this thread's CPU to whoever waits for it.
func schedYield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// look looks for packets until some come, or limit has passed since it began.
func (t *Top) look(began tcp.Time, limit time.Duration) bool {
	if t.costly {
		return t.lookRarely(began, limit)
	}
	every := looksYield
	if t.oneCPU {
		every = 1
	}
	for n := 1; ; n++ {
		if !t.passive && t.drv.Glance() || t.poked.Load() || t.left(listTop) {
			return true
		}
		if n%every != 0 {
			continue
		}
		// Where there is no hurry the clock is not read.
		if t.spin != SpinOn && n > every && time.Duration(t.clock()-began) > limit {
			return false
		}
		// Whom we wait for may be waiting for this CPU.
		t.cede()
		if t.spin == SpinOn && n%looksYield == 0 {
			runtime.Gosched()
		}
	}
}

// lookRarely is look where each look is a system call. A CPU that is given away comes
// back late when others want it, and the kernel would wake us at once: so that is
// done for long waits only, or if the peer may have no other CPU: then even before the
// first look, since it can't have answered yet.
func (t *Top) lookRarely(began tcp.Time, limit time.Duration) bool {
	last := began
	if t.oneCPU {
		t.cede()
	}
	for n := 1; ; n++ {
		if t.drv.Glance() || t.poked.Load() || t.left(listTop) {
			return true
		}
		if n%8 != 0 && !t.oneCPU {
			continue
		}
		now := t.clock()
		if t.spin != SpinOn && time.Duration(now-began) > limit {
			return false
		}
		if t.oneCPU || now-last > tcp.Time(spinYield) {
			last = now
			t.cede()
			if t.spin == SpinOn && n%8 == 0 {
				runtime.Gosched()
			}
		}
	}
}

// left reports, without the lock, whether list l has somebody in it.
func (t *Top) left(l int) bool { return atomic.LoadUint32(&t.ctl.lists[l].head) != 0 }

// park sleeps on the doorbell until a peer, the other half, or somebody in this
// process rings it. The bell says that we sleep before we look a last time.
func (t *Top) park() {
	if !t.passive {
		t.bell.Sleep(shm.TopHalf)
	}
	t.leave()
	t.parked = false
	t.doorbell.Read(t.awake)
	if !t.passive {
		t.drv.Awake()
	}
	t.enter()
}

// awaken tells the poller whether the leader need not park (any longer). The
// poller forgets what came before the call of its Read, so that the first time
// this asks the peers to ring again, and then looks again. If the bottom half has
// taken over the bell meanwhile there is something to do.
func (t *Top) awaken(uintptr) bool {
	if t.parked {
		return true
	}
	t.parked = true
	if t.passive {
		return t.poked.Load() || t.left(listTop)
	}
	return !t.bell.Renew(shm.TopHalf) || t.drv.Arm() || t.poked.Load() || t.left(listTop)
}
