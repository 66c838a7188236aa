package perf

import (
	"context"
	"fmt"
)

// Comparison says what to compare: user-space with kernel TCP, in turns.
type Comparison struct {
	Setup
	Repeat int // pairs of measurements
	// Counted adds a measurement of each stack that counts system calls, in which
	// nothing else counts.
	Counted bool
	// Distance tells how far apart the CPUs are, see DistanceOn; nil: nobody looks. A turn
	// in which that changes is taken again.
	Distance func() float64
	// Pairings are what CompareLink compares with the baseline; nil: all others.
	Pairings []Pairing
}

// MaxRepeat limits a comparison.
const MaxRepeat = 1000

// Check reports the first thing that is wrong.
func (c *Comparison) Check() error {
	if c.Repeat < 1 || c.Repeat > MaxRepeat {
		return fmt.Errorf("%d repetitions are not between 1 and %d", c.Repeat, MaxRepeat)
	}
	return c.Setup.Check()
}

// Outcome is what a comparison found. Ratios are user to kernel, pair by pair:
// above 1 means that user space did better.
type Outcome struct {
	Link     string            `json:"link"`
	Test     Test              `json:"test"`
	Size     int               `json:"size"`
	User     Summary           `json:"user"`
	Kernel   Summary           `json:"kernel"`
	Ratio    Summary           `json:"ratio"`
	CPUPerGB PerStack[float64] `json:"cpu_per_gb"` // processor seconds of all processes for 10^9 octets, median
	CPURatio Summary           `json:"cpu_ratio"`  // of processor seconds for the same work: below 1, user space did better

	// KernelShare is the part of all processes' time that was spent in the kernel, 0
	// to 1, median. SystemCalls is nil where they were not counted.
	KernelShare PerStack[float64]            `json:"kernel_share"`
	SystemCalls *PerStack[*SystemCallCounts] `json:"system_calls,omitempty"`

	Switches PerStack[float64] `json:"context_switches_per_1000"` // messages or transactions, of all processes, median
	Jain     PerStack[float64] `json:"jain"`                      // fairness between the connections, median

	NoDelay bool    `json:"no_delay,omitempty"`
	Conns   int     `json:"conns"`
	Repeat  int     `json:"repeat"`
	Seconds float64 `json:"seconds"` // of each measurement
	Spin    string  `json:"spin"`
	CPUs    string  `json:"cpus"`
	Shards  int     `json:"shards,omitempty"` // of each program over user-space TCP

	CongestionControl string `json:"kernel_congestion_control"`

	Distances *Distances `json:"cpu_distance,omitempty"` // nil where nobody looked

	Latency    *PerStack[*Latency]      `json:"latency_us,omitempty"` // medians; max is the highest
	CPUPerOps  *PerStack[float64]       `json:"cpu_per_million_transactions,omitempty"`
	CPUSeconds PerStack[[]ProcessShare] `json:"cpu_seconds"`
	Machine    PerStack[float64]        `json:"machine_cpu_seconds"` // over all measurements
	Pairs      []PairRates              `json:"pairs"`
}

// PerStack holds one value for each stack.
type PerStack[T any] struct {
	User   T `json:"user"`
	Kernel T `json:"kernel"`
}

// ProcessShare is the processor time of the processes with one part in the
// measurements, over all of them.
type ProcessShare struct {
	Side    string  `json:"side"`
	Role    string  `json:"role"`
	Seconds float64 `json:"seconds"`
}

// PairRates is one turn: a measurement of each stack.
type PairRates struct {
	User   float64 `json:"user"`
	Kernel float64 `json:"kernel"`
	Ratio  float64 `json:"ratio"`
}

// measurer is what Compare needs of a Runner.
type measurer interface {
	Measure(ctx context.Context, stack string, setup Setup) (*Report, error)
}

// Compare measures both stacks in turns, so that whatever else the machine does
// meanwhile falls on both. progress, which may be nil, is called after each
// measurement.
func Compare(ctx context.Context, m measurer, c Comparison, progress func(*Report)) (*Outcome, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	reports, t := map[string][]*Report{}, turns{distance: c.Distance}
	measure := func() error {
		for _, stack := range StackNames {
			r, err := m.Measure(ctx, stack, c.Setup)
			if err != nil {
				return err
			}
			t.look()
			reports[stack] = append(reports[stack], r)
			if progress != nil {
				progress(r)
			}
		}
		return nil
	}
	for range c.Repeat {
		if err := t.take(measure, func() { dropLast(reports) }); err != nil {
			return nil, err
		}
	}
	o := outcome(&c, &PerStack[[]*Report]{reports["user"], reports["kernel"]})
	o.Distances = t.distances()
	if c.Counted {
		if err := o.count(ctx, m, c.Setup); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// dropLast forgets the last turn.
func dropLast[K comparable](reports map[K][]*Report) {
	for k, rs := range reports {
		reports[k] = rs[:len(rs)-1]
	}
}

// count adds the counts of system calls, if both stacks' can be had.
func (o *Outcome) count(ctx context.Context, m measurer, s Setup) error {
	user, err := m.Measure(ctx, "user", s.counting())
	if err != nil {
		return err
	}
	kernel, err := m.Measure(ctx, "kernel", s.counting())
	if err != nil {
		return err
	}
	if user.Uncounted == "" && kernel.Uncounted == "" {
		o.SystemCalls = &PerStack[*SystemCallCounts]{user.counts(), kernel.counts()}
	}
	return nil
}

// outcome computes what the reports say together.
func outcome(c *Comparison, reports *PerStack[[]*Report]) *Outcome {
	o := &Outcome{
		Link: "ring", Test: c.Test, Size: c.Size,
		NoDelay: c.NoDelay, Conns: c.Conns, Repeat: c.Repeat, Seconds: c.Time.Seconds(),
		User:        Summarize(rates(reports.User), c.Test.Unit()),
		Kernel:      Summarize(rates(reports.Kernel), c.Test.Unit()),
		CPUPerGB:    both(reports, func(r []*Report) float64 { return medianOf(r, (*Report).CPUPerGB) }),
		KernelShare: both(reports, func(r []*Report) float64 { return medianOf(r, (*Report).KernelShare) }),
		Switches:    both(reports, func(r []*Report) float64 { return medianOf(r, (*Report).SwitchesPer1000) }),
		Jain:        both(reports, func(r []*Report) float64 { return medianOf(r, func(r *Report) float64 { return r.Jain }) }),
		CPUSeconds:  both(reports, shares),
		Machine:     both(reports, machine),
	}
	faster := ratios(reports.User, reports.Kernel, (*Report).rate)
	for i, u := range reports.User {
		o.Pairs = append(o.Pairs, PairRates{u.Rate, reports.Kernel[i].Rate, faster[i]})
	}
	o.Ratio = Summarize(faster, "")
	o.CPURatio = Summarize(ratios(reports.User, reports.Kernel, (*Report).cpuPerWork), "")
	o.CongestionControl = reports.Kernel[0].CongestionControl
	if !c.Test.Bulk() {
		latency := both(reports, latencies)
		perOps := both(reports, func(r []*Report) float64 { return medianOf(r, (*Report).CPUPerMillion) })
		o.Latency, o.CPUPerOps = &latency, &perOps
	}
	return o
}

// How says in a few short lines how the figures came about.
func (o *Outcome) How() string {
	nagle := nagleName(o.Test, o.NoDelay)
	return fmt.Sprintf(`Medians of %s of %v s for each stack, in turns.
Ratios are user to kernel, pair by pair. CPU seconds are of all measurements.
Placement: %s. Spinning: %s. Nagle's algorithm: %s, for both.
The kernel's TCP runs over loopback, with %s and self-tuning buffers.
`, plural(o.Repeat, "measurement"), o.Seconds, o.CPUs, o.Spin, nagle, o.CongestionControl) + o.Distances.String() + shardsName(o.Shards)
}

// shardsName says how many shards there were, if there were several.
func shardsName(n int) string {
	if n < 2 {
		return ""
	}
	return fmt.Sprintf("Each program over user-space TCP has %d shards.\n", n)
}

// nagleName says whether Nagle's algorithm is on.
func nagleName(t Test, noDelay bool) string {
	if t.Bulk() && !noDelay {
		return "on"
	}
	return "off"
}

// both applies f to both stacks' reports.
func both[T any](reports *PerStack[[]*Report], f func([]*Report) T) PerStack[T] {
	return PerStack[T]{f(reports.User), f(reports.Kernel)}
}

func (r *Report) rate() float64 { return r.Rate }

func rates(reports []*Report) []float64 {
	values := make([]float64, len(reports))
	for i, r := range reports {
		values[i] = r.Rate
	}
	return values
}

// medianOf returns the median of one figure of the reports.
func medianOf(reports []*Report, figure func(*Report) float64) float64 {
	values := make([]float64, len(reports))
	for i, r := range reports {
		values[i] = figure(r)
	}
	return Median(values)
}

func machine(reports []*Report) float64 {
	var sum float64
	for _, r := range reports {
		sum += r.CPU.Machine
	}
	return sum
}

// latencies returns nil when a report has none.
func latencies(reports []*Report) *Latency {
	var highest float64
	for _, r := range reports {
		if r.Latency == nil {
			return nil
		}
		highest = max(highest, r.Latency.Max)
	}
	return &Latency{
		P50:  medianOf(reports, func(r *Report) float64 { return r.Latency.P50 }),
		P99:  medianOf(reports, func(r *Report) float64 { return r.Latency.P99 }),
		P999: medianOf(reports, func(r *Report) float64 { return r.Latency.P999 }),
		Max:  highest,
	}
}

// shares adds up the processor time of each part, in the order in which the
// parts first appear: client and its helpers, server and its helpers.
func shares(reports []*Report) []ProcessShare {
	var all []ProcessShare
	for _, r := range reports {
		for _, p := range r.CPU.Processes {
			all = addShare(all, p)
		}
	}
	return all
}

func addShare(all []ProcessShare, p ProcessCPU) []ProcessShare {
	for i := range all {
		if all[i].Side == p.Side && all[i].Role == p.Role {
			all[i].Seconds += p.Seconds
			return all
		}
	}
	return append(all, ProcessShare{p.Side, p.Role, p.Seconds})
}
