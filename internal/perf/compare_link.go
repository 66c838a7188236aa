package perf

import (
	"context"
	"fmt"
)

// LinkOutcome is what a comparison of all pairings over a link of network devices
// found.
type LinkOutcome struct {
	Link     string `json:"link"`
	Test     Test   `json:"test"`
	Size     int    `json:"size"`
	Offloads string `json:"offloads"` // of the devices: "on" or "off"

	Pairings []PairingOutcome `json:"pairings"` // the baseline first

	NoDelay bool    `json:"no_delay,omitempty"`
	Conns   int     `json:"conns"`
	Repeat  int     `json:"repeat"`
	Seconds float64 `json:"seconds"` // of each measurement
	Spin    string  `json:"spin"`
	CPUs    string  `json:"cpus"`
	Shards  int     `json:"shards,omitempty"` // of each program over user-space TCP

	CongestionControl string `json:"kernel_congestion_control"`

	Distances *Distances `json:"cpu_distance,omitempty"` // nil where nobody looked
}

// PairingOutcome is what one pairing did. Ratios are to the baseline, turn by turn:
// above 1 means that it did better.
type PairingOutcome struct {
	Pairing
	Rate  Summary  `json:"rate"`
	Ratio *Summary `json:"ratio,omitempty"` // nil for the baseline

	// Processor seconds for 10^9 octets, medians: of all processes, and of the whole
	// machine, which is more by what the kernel does on nobody's account.
	CPUPerGB     float64 `json:"cpu_per_gb"`
	MachinePerGB float64 `json:"machine_cpu_per_gb"`

	// CPURatio is of the processes' seconds for the same work to the baseline's.
	CPURatio *Summary `json:"cpu_ratio,omitempty"`

	// KernelShare is the part of all processes' time that was spent in the kernel, 0
	// to 1, median.
	KernelShare float64           `json:"kernel_share"`
	SystemCalls *SystemCallCounts `json:"system_calls,omitempty"` // nil where they were not counted

	// Processor seconds for 10^6 transactions.
	CPUPerOps     float64 `json:"cpu_per_million_transactions,omitempty"`
	MachinePerOps float64 `json:"machine_cpu_per_million_transactions,omitempty"`

	// Of all processes, for 1,000 messages or transactions, medians.
	Switches float64 `json:"context_switches_per_1000"`
	Calls    float64 `json:"reads_and_writes_per_1000"`

	Jain       float64        `json:"jain"`
	Latency    *Latency       `json:"latency_us,omitempty"` // medians; max is the highest
	CPUSeconds []ProcessShare `json:"cpu_seconds"`
	Machine    float64        `json:"machine_cpu_seconds"` // over all measurements
	Rates      []float64      `json:"rates"`               // of each turn
	Ratios     []float64      `json:"ratios,omitempty"`
}

// pairMeasurer is what CompareLink needs of a Runner.
type pairMeasurer interface {
	MeasurePair(ctx context.Context, p Pairing, setup Setup) (*Report, error)
}

// pairings lists what a comparison measures, the baseline first.
func (c *Comparison) pairings() []Pairing {
	if c.Pairings == nil {
		return Pairings
	}
	return append([]Pairing{Baseline}, c.Pairings...)
}

// CompareLink measures the pairings in turns. progress, which may be nil, is called
// after each measurement.
func CompareLink(ctx context.Context, m pairMeasurer, c Comparison, progress func(Pairing, *Report)) (*LinkOutcome, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	reports, t := map[Pairing][]*Report{}, turns{distance: c.Distance}
	measure := func() error {
		for _, p := range c.pairings() {
			r, err := m.MeasurePair(ctx, p, c.Setup)
			if err != nil {
				return err
			}
			t.look()
			reports[p] = append(reports[p], r)
			if progress != nil {
				progress(p, r)
			}
		}
		return nil
	}
	for range c.Repeat {
		if err := t.take(measure, func() { dropLast(reports) }); err != nil {
			return nil, err
		}
	}
	o := &LinkOutcome{
		Link: "nic", Test: c.Test, Size: c.Size, Offloads: "on",
		NoDelay: c.NoDelay, Conns: c.Conns, Repeat: c.Repeat, Seconds: c.Time.Seconds(),
		CongestionControl: reports[Baseline][0].CongestionControl,
		Distances:         t.distances(),
	}
	for _, p := range c.pairings() {
		po := pairingOutcome(p, reports[p], reports[Baseline])
		if c.Counted {
			r, err := m.MeasurePair(ctx, p, c.counting())
			if err != nil {
				return nil, err
			}
			po.SystemCalls = r.counts()
		}
		o.Pairings = append(o.Pairings, po)
	}
	return o, nil
}

// pairingOutcome computes what the reports of one pairing say.
func pairingOutcome(p Pairing, reports, baseline []*Report) PairingOutcome {
	o := PairingOutcome{
		Pairing: p, Rates: rates(reports),
		Rate:         Summarize(rates(reports), reports[0].Unit),
		CPUPerGB:     medianOf(reports, (*Report).CPUPerGB),
		MachinePerGB: medianOf(reports, (*Report).MachinePerGB),
		Switches:     medianOf(reports, (*Report).SwitchesPer1000),
		KernelShare:  medianOf(reports, (*Report).KernelShare),
		Calls:        medianOf(reports, (*Report).CallsPer1000),
		Jain:         medianOf(reports, func(r *Report) float64 { return r.Jain }),
		CPUSeconds:   shares(reports),
		Machine:      machine(reports),
	}
	if p != Baseline {
		o.Ratios = ratios(reports, baseline, (*Report).rate)
		faster, dearer := Summarize(o.Ratios, ""), Summarize(ratios(reports, baseline, (*Report).cpuPerWork), "")
		o.Ratio, o.CPURatio = &faster, &dearer
	}
	if !reports[0].Test.Bulk() {
		o.Latency = latencies(reports)
		o.CPUPerOps = medianOf(reports, (*Report).CPUPerMillion)
		o.MachinePerOps = medianOf(reports, (*Report).MachinePerMillion)
	}
	return o
}

// How says in a few short lines how the figures came about.
func (o *LinkOutcome) How() string {
	nagle := nagleName(o.Test, o.NoDelay)
	return fmt.Sprintf(`Medians of %s of %v s for each pairing, in turns.
Ratios are to kernel with kernel, turn by turn. The client is named first: it
connects, and sends in a stream test. Hosts are network namespaces with a veth
pair between them, offloads %s; that of kernel with kernel has no eBPF program.
CPU seconds of the machine are more than those of the processes by what the
kernel does on nobody's account, and by what else runs here. Switches (of
context) and calls (system calls) are for 1000 messages or transactions; calls
are counted in a measurement of their own.
Placement: %s. Spinning: %s. Nagle's algorithm: %s, for both.
The kernel's TCP has %s and self-tuning buffers.
`, plural(o.Repeat, "measurement"), o.Seconds, o.Offloads, o.CPUs, o.Spin, nagle, o.CongestionControl) + o.Distances.String() + shardsName(o.Shards)
}
