package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"usertcp/internal/perf"
	"usertcp/internal/perf/demo"
)

// Config says what to measure and where to leave it.
type Config struct {
	Out  string // directory for table.md and table.json
	Into string // file whose table is replaced (see Begin); empty: none

	Rows    []Row
	NoLink  string // why nothing is measured over devices; empty: it is
	Time    time.Duration
	Warmup  time.Duration
	Repeat  int
	Counted bool // system calls are counted, which takes root
	// Distance returns what tells how far apart the CPUs of a placement are (perf.DistanceOn);
	// nil: nobody looks.
	Distance func(perf.Placement) func() float64

	Stdout   io.Writer
	Progress *demo.Progress
}

// Figures are what one end of a comparison did: medians.
type Figures struct {
	Rate        perf.Summary `json:"rate"`
	CPU         float64      `json:"cpu_seconds"`         // of all processes, for each GB or for 10^6 transactions
	Machine     float64      `json:"machine_cpu_seconds"` // over devices: of the whole machine, else 0
	KernelShare float64      `json:"kernel_share"`        // of CPU, 0 to 1
	Switches    float64      `json:"context_switches_per_1000"`
	Jain        float64      `json:"jain"`
	P50         float64      `json:"p50_us,omitempty"` // latency of a transaction

	SystemCalls *perf.SystemCallCounts `json:"system_calls,omitempty"`
}

// Entry is a line of the table: a row, for one pairing.
type Entry struct {
	Row
	perf.Pairing
	Command string       `json:"command"`
	Aim     float64      `json:"aim,omitempty"` // the least ratio; 0: there is none
	User    Figures      `json:"user"`
	Kernel  Figures      `json:"kernel"`
	Ratio   perf.Summary `json:"ratio"`

	CPURatio perf.Summary `json:"cpu_ratio"` // of CPU seconds for the same work

	Distances *perf.Distances `json:"cpu_distance,omitempty"`

	Failed string `json:"failed,omitempty"` // then there are no figures
}

// Reached reports whether the entry is as good as is aimed at.
func (e *Entry) Reached() bool {
	return e.Failed == "" && e.Ratio.Median >= e.Aim && (e.CPUGoal == 0 || e.CPURatio.Median > 0 && e.CPURatio.Median <= e.CPUGoal)
}

// Result is the table.
type Result struct {
	Date    time.Time    `json:"date"`
	Machine demo.Machine `json:"machine"`
	Repeat  int          `json:"repeat"`
	Seconds float64      `json:"seconds"`
	NoLink  string       `json:"no_link,omitempty"`
	Entries []Entry      `json:"entries"`
}

// lab measures; it is a perf.Runner.
type lab interface {
	StartHosts(ctx context.Context) error
	StartLink(ctx context.Context, o perf.LinkOptions) error
	Measure(ctx context.Context, stack string, setup perf.Setup) (*perf.Report, error)
	MeasurePair(ctx context.Context, p perf.Pairing, setup perf.Setup) (*perf.Report, error)
	Close() error
}

// Run measures all rows and writes them. A row that fails is in the table as that,
// and makes Run fail in the end.
func Run(ctx context.Context, c Config) error {
	command, err := perf.ThisProgram()
	if err != nil {
		return err
	}
	return run(ctx, &c, func(o perf.Options) (lab, error) { return perf.NewRunner(command, o) })
}

func run(ctx context.Context, c *Config, open func(perf.Options) (lab, error)) error {
	// First of all: minutes of work that can't be written down are lost.
	if err := c.prepare(); err != nil {
		return err
	}
	defer c.Progress.Done()
	r := &Result{
		Date: time.Now().UTC().Truncate(time.Second), Machine: demo.ThisMachine(),
		Repeat: c.Repeat, Seconds: c.Time.Seconds(), NoLink: c.NoLink,
	}
	var failures []error
	for i, row := range c.Rows {
		if row.Link == "nic" && c.NoLink != "" {
			continue
		}
		entries, err := c.measure(ctx, row, open)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s, %s: %w", row.Link, row.Name, err))
			entries = []Entry{{Row: row, Pairing: perf.Alike("user"), Command: row.Flags(), Aim: row.Goal, Failed: err.Error()}}
		}
		r.Entries = append(r.Entries, entries...)
		c.Progress.Step(i+1, len(c.Rows), entries[0].line())
	}
	c.Progress.Done()
	return errors.Join(r.write(c), errors.Join(failures...))
}

// prepare checks that the results can be written.
func (c *Config) prepare() error {
	if c.Into != "" {
		b, err := os.ReadFile(c.Into)
		if err != nil {
			return err
		}
		if _, err := replace(string(b), ""); err != nil {
			return fmt.Errorf("%s: %w", c.Into, err)
		}
	}
	return os.MkdirAll(c.Out, 0o755)
}

// measure takes one row, with hosts of its own.
func (c *Config) measure(ctx context.Context, row Row, open func(perf.Options) (lab, error)) (entries []Entry, err error) {
	l, err := open(perf.Options{Placement: row.CPUs, Spin: row.Spin})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	comparison := perf.Comparison{
		Setup:  perf.Setup{Test: row.Test, Size: row.Size, Conns: row.Conns, NoDelay: row.NoDelay, Time: c.Time, Warmup: c.Warmup},
		Repeat: c.Repeat, Counted: c.Counted, Pairings: row.pairings(),
	}
	if c.Distance != nil {
		comparison.Distance = c.Distance(row.CPUs)
	}
	if row.Link == "nic" {
		if err := l.StartLink(ctx, perf.LinkOptions{NoOffloads: row.NoOffloads}); err != nil {
			return nil, err
		}
		o, err := perf.CompareLink(ctx, l, comparison, nil)
		if err != nil {
			return nil, err
		}
		return ofLink(row, o), nil
	}
	if err := l.StartHosts(ctx); err != nil {
		return nil, err
	}
	o, err := perf.Compare(ctx, l, comparison, nil)
	if err != nil {
		return nil, err
	}
	return []Entry{ofRing(row, o)}, nil
}

// ofRing is the entry of a comparison over the ring.
func ofRing(row Row, o *perf.Outcome) Entry {
	e := Entry{Row: row, Pairing: perf.Alike("user"), Command: row.Flags(), Aim: row.Goal, Ratio: o.Ratio, CPURatio: o.CPURatio, Distances: o.Distances}
	e.User = Figures{Rate: o.User, CPU: o.CPUPerGB.User, KernelShare: o.KernelShare.User, Switches: o.Switches.User, Jain: o.Jain.User}
	e.Kernel = Figures{Rate: o.Kernel, CPU: o.CPUPerGB.Kernel, KernelShare: o.KernelShare.Kernel, Switches: o.Switches.Kernel, Jain: o.Jain.Kernel}
	if p := o.CPUPerOps; p != nil {
		e.User.CPU, e.Kernel.CPU = p.User, p.Kernel
	}
	if l := o.Latency; l != nil && l.User != nil && l.Kernel != nil {
		e.User.P50, e.Kernel.P50 = l.User.P50, l.Kernel.P50
	}
	if s := o.SystemCalls; s != nil {
		e.User.SystemCalls, e.Kernel.SystemCalls = s.User, s.Kernel
	}
	return e
}

// ofLink are the entries of a comparison over devices, one for each pairing but the
// baseline, which is the first.
func ofLink(row Row, o *perf.LinkOutcome) (entries []Entry) {
	base := figuresOf(o, &o.Pairings[0])
	for i := range o.Pairings[1:] {
		p := &o.Pairings[1+i]
		e := Entry{Row: row, Pairing: p.Pairing, Command: row.Flags(), Aim: row.Goal, Kernel: base, User: figuresOf(o, p), Ratio: *p.Ratio, CPURatio: *p.CPURatio, Distances: o.Distances}
		if p.Pairing != perf.Alike("user") {
			e.Aim, e.CPUGoal = row.Mixed, 0
		}
		entries = append(entries, e)
	}
	return slices.Clip(entries)
}

func figuresOf(o *perf.LinkOutcome, p *perf.PairingOutcome) Figures {
	f := Figures{
		Rate: p.Rate, CPU: p.CPUPerGB, Machine: p.MachinePerGB, KernelShare: p.KernelShare,
		Switches: p.Switches, Jain: p.Jain, SystemCalls: p.SystemCalls,
	}
	if !o.Test.Bulk() {
		f.CPU, f.Machine = p.CPUPerOps, p.MachinePerOps
	}
	if p.Latency != nil {
		f.P50 = p.Latency.P50
	}
	return f
}
