package perf

import (
	"fmt"
	"strings"
)

// Report is the outcome of one measurement.
type Report struct {
	Stack     string   `json:"stack"`
	Test      Test     `json:"test"`
	Size      int      `json:"size"`
	Conns     int      `json:"conns"`
	Seconds   float64  `json:"seconds"`              // measured time, warm-up excluded
	Count     int64    `json:"count"`                // octets received, or transactions, in that time
	Rate      float64  `json:"rate"`                 // in Unit
	Unit      string   `json:"unit"`                 // "Mbit/s" or "transactions/s"
	Latency   *Latency `json:"latency_us,omitempty"` // of transactions
	Jain      float64  `json:"jain"`                 // index of fairness between the connections
	PortWaits int64    `json:"port_waits,omitempty"` // times that no port was free (crr)
	// CongestionControl is the kernel's; empty for user-space TCP.
	CongestionControl string `json:"congestion_control,omitempty"`
	// Peer is the server's stack.
	Peer string `json:"peer_stack,omitempty"`

	// Uncounted is why system calls were not counted, though they were to be.
	Uncounted string `json:"uncounted,omitempty"`

	CPU CPUReport `json:"cpu"`
}

// CPUReport is the processor time used in the measured time, in seconds.
type CPUReport struct {
	Processes   []ProcessCPU `json:"processes"`
	Machine     float64      `json:"machine_seconds"`      // the client's whole machine
	PeerMachine float64      `json:"peer_machine_seconds"` // the server's: often the same one
}

// Total is the processor time of all processes involved, in seconds.
func (c *CPUReport) Total() float64 {
	var sum float64
	for _, p := range c.Processes {
		sum += p.Seconds
	}
	return sum
}

// System is the part of Total that was spent in the kernel, in seconds.
func (c *CPUReport) System() float64 {
	var sum float64
	for _, p := range c.Processes {
		sum += p.System
	}
	return sum
}

// newReport computes the rate.
func newReport(stack string, s *Setup, w window) *Report {
	r := &Report{
		Stack: stack, Test: s.Test, Size: s.Size, Conns: s.Conns,
		Seconds: w.Seconds, Count: w.Count, Unit: s.Test.Unit(), Jain: w.Jain,
	}
	if w.Seconds > 0 {
		r.Rate = float64(w.Count) / w.Seconds
	}
	if s.Test.Bulk() {
		r.Rate *= 8 / 1e6
	}
	return r
}

// Gigabytes is the data moved, both ways together, in 10^9 octets. Of HTTP it is the
// bodies.
func (r *Report) Gigabytes() float64 {
	if r.Test.Bulk() {
		return float64(r.Count) / 1e9
	}
	octets := float64(r.Count) * float64(r.Size)
	if r.Test == HTTP {
		return octets / 1e9
	}
	return 2 * octets / 1e9
}

// CPUPerGB is processor seconds of all processes for each gigabyte moved.
func (r *Report) CPUPerGB() float64 {
	return quotient(r.CPU.Total(), r.Gigabytes())
}

// CPUPerMillion is processor seconds of all processes for 10^6 transactions.
func (r *Report) CPUPerMillion() float64 {
	return quotient(r.CPU.Total()*1e6, float64(r.Count))
}

// cpuPerWork is CPUPerGB of bulk data, CPUPerMillion of transactions.
func (r *Report) cpuPerWork() float64 {
	if r.Test.Bulk() {
		return r.CPUPerGB()
	}
	return r.CPUPerMillion()
}

// SwitchesPer1000 is context switches of all processes for 1,000 messages or
// transactions.
func (r *Report) SwitchesPer1000() float64 {
	return r.per1000(func(p *ProcessCPU) int64 { return p.Switches })
}

// CallsPer1000 is reads and writes of all processes for 1,000 messages or
// transactions.
func (r *Report) CallsPer1000() float64 {
	return r.per1000(func(p *ProcessCPU) int64 { return p.Calls })
}

// SystemCallsPer1000 is system calls of all processes, of any kind, for 1,000 messages
// or transactions; 0 if they were not counted.
func (r *Report) SystemCallsPer1000() float64 {
	return r.per1000(func(p *ProcessCPU) int64 { return p.SystemCalls })
}

// SystemCallsPerMB is the same for 10^6 octets.
func (r *Report) SystemCallsPerMB() float64 {
	sum := int64(0)
	for i := range r.CPU.Processes {
		sum += r.CPU.Processes[i].SystemCalls
	}
	return quotient(float64(sum), 1000*r.Gigabytes())
}

// KernelShare is the part of the processes' time that they spent in the kernel, 0 to 1.
func (r *Report) KernelShare() float64 { return quotient(r.CPU.System(), r.CPU.Total()) }

// MachinePerGB is processor seconds of the whole machine, on which both sides run,
// for each gigabyte moved.
func (r *Report) MachinePerGB() float64 {
	return quotient(r.CPU.Machine, r.Gigabytes())
}

// MachinePerMillion is the same for 10^6 transactions.
func (r *Report) MachinePerMillion() float64 {
	return quotient(r.CPU.Machine*1e6, float64(r.Count))
}

// per1000 is a count of all processes for 1,000 messages or transactions.
func (r *Report) per1000(count func(*ProcessCPU) int64) float64 {
	messages := float64(r.Count)
	if r.Test.Bulk() {
		messages /= float64(r.Size)
	}
	sum := int64(0)
	for i := range r.CPU.Processes {
		sum += count(&r.CPU.Processes[i])
	}
	return quotient(1000*float64(sum), messages)
}

// String is the report for people: rate, latency and processor time, a line each.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, %d-octet messages, %s, %.2f s: %.1f %s\n",
		r.Stack, r.Test, r.Size, plural(r.Conns, "connection"), r.Seconds, r.Rate, r.Unit)
	if l := r.Latency; l != nil {
		fmt.Fprintf(&b, "latency µs: p50 %.1f, p99 %.1f, p99.9 %.1f, max %.1f\n", l.P50, l.P99, l.P999, l.Max)
	}
	if r.PortWaits > 0 {
		fmt.Fprintf(&b, "waited %d times for a port to leave TIME-WAIT\n", r.PortWaits)
	}
	fmt.Fprintf(&b, "CPU seconds: %.2f (", r.CPU.Total())
	for i, p := range r.CPU.Processes {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s's %s %.2f", p.Side, p.Role, p.Seconds)
	}
	fmt.Fprintf(&b, "), this whole machine %.2f\n", r.CPU.Machine)
	return b.String()
}

// plural writes a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
