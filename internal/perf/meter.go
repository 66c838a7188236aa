package perf

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"usertcp/internal/perf/proc"
)

// counter counts one worker's octets or transactions. It has a cache line to
// itself, since its neighbours belong to other workers.
type counter struct {
	n atomic.Int64
	_ [56]byte
}

// ProcessCPU is the processor time that one process used in the measured time.
type ProcessCPU struct {
	Side    string  `json:"side"` // "client" or "server"
	Role    string  `json:"role"` // "program", "child" or "server"
	PID     int     `json:"pid"`
	Seconds float64 `json:"seconds"`

	// Switches is how often its threads gave a CPU up in that time.
	Switches int64 `json:"context_switches"`

	// Calls is how many reads and writes, system calls on any descriptor, it has done,
	// 0 where this user may not see it.
	Calls int64 `json:"reads_and_writes"`
	// System is the part of Seconds that was spent in the kernel.
	System float64 `json:"system_seconds"`
	// SystemCalls is how many system calls of any kind it has begun, if they were
	// counted.
	SystemCalls int64 `json:"system_calls,omitempty"`
}

// window is what one side saw in its measured time.
type window struct {
	Seconds   float64      `json:"seconds"` // measured time as it turned out
	Count     int64        `json:"count"`   // octets received, or transactions
	Jain      float64      `json:"jain"`    // index of how evenly the workers shared it: 1 is evenly, 1/n all to one
	Processes []ProcessCPU `json:"processes"`
	Machine   float64      `json:"machine_cpu_seconds"` // of all CPUs of this side's machine
	// Uncounted is why system calls were not counted, though they were to be.
	Uncounted string `json:"uncounted,omitempty"`
}

// meter watches a test's counters and the clocks of its processes.
type meter struct {
	side      string
	counters  []counter
	helpers   func() []Helper
	recording atomic.Bool // between the two readings: latencies count

	// standstill is how long nothing may be counted before the test has failed.
	standstill time.Duration
	syscalls   *proc.SystemCalls // nil if they are not counted
	uncounted  error             // why they are not, though they were to be
}

// newMeter prepares for n workers.
func newMeter(side string, n int, st Stack) *meter {
	return &meter{side: side, counters: make([]counter, n), helpers: st.Helpers, standstill: patience}
}

// measure sleeps through the warm-up, reads everything, sleeps through the
// measured time, and reads everything again. It ends early when the crew fails.
func (m *meter) measure(s *Setup, c *crew) window {
	m.watch(s.Warmup, c)
	if s.CountCalls {
		m.syscalls, m.uncounted = m.countCalls()
		defer m.syscalls.Close()
	}
	first := m.read()
	m.recording.Store(true)
	m.watch(s.Time, c)
	m.recording.Store(false)
	w := first.until(m.read())
	if s.CountCalls && m.uncounted != nil {
		w.Uncounted = m.uncounted.Error()
	}
	return w
}

// countCalls begins to count the system calls of all processes that have a part.
func (m *meter) countCalls() (*proc.SystemCalls, error) {
	var pids []int
	for _, h := range m.involved() {
		pids = append(pids, h.PID)
	}
	return proc.CountSystemCalls(pids)
}

// involved lists this program and its helpers.
func (m *meter) involved() []Helper {
	return append([]Helper{{Role: "program", PID: os.Getpid()}}, m.helpers()...)
}

// watch sleeps for d, and looks now and then whether anything is still being
// counted: the other side may be gone without a word.
func (m *meter) watch(d time.Duration, c *crew) {
	for before := m.total(); d > m.standstill; d -= m.standstill {
		pause(m.standstill, c.failed)
		now := m.total()
		if now == before {
			c.fail(fmt.Errorf("nothing has come or gone for %v", m.standstill))
		}
		before = now
	}
	pause(d, c.failed)
}

// pause sleeps for d, less when abort is closed.
func pause(d time.Duration, abort <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-abort:
	}
}

// reading is the state of all counters and clocks at one moment.
type reading struct {
	at        time.Time
	counts    []int64      // of each worker
	processes []ProcessCPU // Seconds and the rest since the process's start
	machine   time.Duration
}

// read reads the clocks of the processes as near as possible to the counters.
func (m *meter) read() reading {
	var r reading
	r.machine, _ = proc.MachineCPU() // 0 both times where /proc is not shown
	r.processes = m.readProcesses()
	r.at = time.Now()
	for i := range m.counters {
		r.counts = append(r.counts, m.counters[i].n.Load())
	}
	return r
}

// total returns the sum of the counters.
func (m *meter) total() int64 {
	var sum int64
	for i := range m.counters {
		sum += m.counters[i].n.Load()
	}
	return sum
}

// readProcesses leaves out processes that are gone.
func (m *meter) readProcesses() []ProcessCPU {
	var all []ProcessCPU
	for _, h := range m.involved() {
		used, err := proc.CPUTime(h.PID)
		if err != nil {
			continue
		}
		switches, _ := proc.Switches(h.PID) // 0 both times where /proc is not shown
		calls, _ := proc.Calls(h.PID)
		system, _ := proc.SystemTime(h.PID)
		all = append(all, ProcessCPU{
			Side: m.side, Role: h.Role, PID: h.PID, Seconds: used.Seconds(), Switches: switches, Calls: calls,
			System: system.Seconds(), SystemCalls: m.syscalls.Of(h.PID),
		})
	}
	return all
}

// until returns what happened between two readings.
func (r reading) until(later reading) window {
	w := window{
		Seconds: later.at.Sub(r.at).Seconds(),
		Machine: (later.machine - r.machine).Seconds(),
	}
	shares := make([]float64, len(later.counts))
	for i, n := range later.counts {
		w.Count += n - r.counts[i]
		shares[i] = float64(n - r.counts[i])
	}
	w.Jain = jain(shares)
	for _, p := range later.processes {
		was := of(r.processes, p.PID)
		p.Seconds -= was.Seconds
		p.Switches -= was.Switches
		p.Calls -= was.Calls
		p.System -= was.System
		p.SystemCalls -= was.SystemCalls
		w.Processes = append(w.Processes, p)
	}
	return w
}

// of returns zero for a process that is not listed: it started later.
func of(all []ProcessCPU, pid int) ProcessCPU {
	for _, p := range all {
		if p.PID == pid {
			return p
		}
	}
	return ProcessCPU{}
}

// jain is Jain's index of fairness of some shares, 1 if there are none.
func jain(shares []float64) float64 {
	var sum, squares float64
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(shares)) * squares)
}
