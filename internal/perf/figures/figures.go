package figures

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"usertcp/internal/perf"
	"usertcp/internal/perf/demo"
)

// Config says what to measure and where to leave it.
type Config struct {
	Out    string
	Sizes  []int
	Time   time.Duration // of each measurement
	Repeat int           // measurements of each point
	CPUs   perf.Placement
	Root   bool     // variants and settings that need root are measured, too
	Only   []string // names of settings; empty: all

	Stdout   io.Writer
	Progress *demo.Progress
}

// warmup lets windows open; both stacks need less.
const warmup = 100 * time.Millisecond

// Point is what one variant did at one size.
type Point struct {
	Size int          `json:"size"` // octets of a message
	Rate perf.Summary `json:"mbit_per_s"`
	CPU  perf.Summary `json:"sender_cpu_percent"` // of one CPU: program, child and server
}

// Curve is a variant over all sizes, in one setting.
type Curve struct {
	Setting string `json:"setting"`
	Variant
	Points []Point `json:"points"`
}

// Result is what was measured.
type Result struct {
	Date    time.Time      `json:"date"`
	Machine demo.Machine   `json:"machine"`
	CPUs    perf.Placement `json:"cpus"`
	Repeat  int            `json:"repeat"`
	Seconds float64        `json:"seconds"`
	Left    []string       `json:"left_out,omitempty"` // variants and settings that need root
	Setting []Setting      `json:"settings"`
	Curves  []Curve        `json:"curves"`
}

// lab measures one variant in one setting.
type lab interface {
	StartHosts(ctx context.Context) error
	StartLink(ctx context.Context, o perf.LinkOptions) error
	Measure(ctx context.Context, stack string, setup perf.Setup) (*perf.Report, error)
	Close() error
}

// Run measures all figures and writes them.
func Run(ctx context.Context, c Config) error {
	command, err := perf.ThisProgram()
	if err != nil {
		return err
	}
	return run(ctx, &c, func(o perf.Options) (lab, error) { return perf.NewRunner(command, o) })
}

func run(ctx context.Context, c *Config, open func(perf.Options) (lab, error)) error {
	// First of all: minutes of work that can't be written down are lost.
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	defer c.Progress.Done()
	r := &Result{
		Date: time.Now().UTC().Truncate(time.Second), Machine: demo.ThisMachine(),
		CPUs: c.CPUs, Repeat: c.Repeat, Seconds: c.Time.Seconds(),
	}
	var variants []Variant
	for _, v := range Variants {
		if v.Root && !c.Root {
			r.Left = append(r.Left, v.Name)
			continue
		}
		variants = append(variants, v)
	}
	if err := r.choose(c); err != nil {
		return err
	}
	for i, s := range r.Setting {
		if err := r.measure(ctx, c, s, variants, i*len(c.Sizes)*c.Repeat*len(variants), open); err != nil {
			return fmt.Errorf("%s: %w", s.Title, err)
		}
	}
	c.Progress.Done()
	return r.write(c)
}

// choose decides which settings are measured.
func (r *Result) choose(c *Config) error {
	for _, name := range c.Only {
		if !slices.ContainsFunc(Settings, func(s Setting) bool { return s.Name == name }) {
			var names []string
			for _, s := range Settings {
				names = append(names, s.Name)
			}
			return fmt.Errorf("unknown setting %q (there are: %s)", name, strings.Join(names, ", "))
		}
	}
	for _, s := range Settings {
		switch {
		case len(c.Only) > 0 && !slices.Contains(c.Only, s.Name):
		case s.NIC != nil && !c.Root:
			r.Left = append(r.Left, s.Title)
		default:
			r.Setting = append(r.Setting, s)
		}
	}
	if len(r.Setting) == 0 {
		return errors.New("nothing is left to be measured without root")
	}
	return nil
}

// measure measures all variants in one setting, in turns. done is how many
// measurements there have been before.
func (r *Result) measure(ctx context.Context, c *Config, s Setting, variants []Variant, done int, open func(perf.Options) (lab, error)) (err error) {
	labs, err := openAll(ctx, c, s, variants, open)
	defer func() {
		for _, l := range labs {
			err = errors.Join(err, l.Close())
		}
	}()
	if err != nil {
		return err
	}
	steps := len(r.Setting) * len(c.Sizes) * c.Repeat * len(variants)
	curves := make([]Curve, len(variants))
	for i, v := range variants {
		curves[i] = Curve{Setting: s.Name, Variant: v}
	}
	for _, size := range c.Sizes {
		rates, cpu := make([][]float64, len(variants)), make([][]float64, len(variants))
		for range c.Repeat {
			for i, v := range variants {
				m, err := labs[i].Measure(ctx, v.Stack, perf.Setup{Test: perf.Stream, Size: size, Conns: 1, Time: c.Time, Warmup: warmup})
				if err != nil {
					return fmt.Errorf("%s, %d octets: %w", v.Name, size, err)
				}
				rates[i], cpu[i] = append(rates[i], m.Rate), append(cpu[i], senderCPU(m))
				done++
				c.Progress.Step(done, steps, fmt.Sprintf("%s, %d octets, %s: %.0f %s", s.Name, size, v.Name, m.Rate, m.Unit))
			}
		}
		for i := range variants {
			curves[i].Points = append(curves[i].Points, Point{size, perf.Summarize(rates[i], perf.Stream.Unit()), perf.Summarize(cpu[i], "%")})
		}
	}
	r.Curves = append(r.Curves, curves...)
	return nil
}

// openAll starts what all variants need: each user-space one has hosts of its own.
func openAll(ctx context.Context, c *Config, s Setting, variants []Variant, open func(perf.Options) (lab, error)) (labs []lab, err error) {
	for _, v := range variants {
		l, err := open(perf.Options{Placement: c.CPUs, Spin: v.Spin, Tuning: s.Tuning, Server: slices.Concat(v.Server, s.Server)})
		if err != nil {
			return labs, err
		}
		labs = append(labs, l)
		switch {
		case s.NIC != nil:
			err = l.StartLink(ctx, *s.NIC)
		case v.Stack == "user":
			err = l.StartHosts(ctx)
		}
		if err != nil {
			return labs, fmt.Errorf("%s: %w", v.Name, err)
		}
	}
	return labs, nil
}

// senderCPU is the CPU time of the sender's processes in per cent of the time.
func senderCPU(r *perf.Report) float64 {
	sum := 0.0
	for _, p := range r.CPU.Processes {
		if p.Side == "client" {
			sum += p.Seconds
		}
	}
	return 100 * sum / max(r.Seconds, 1e-9)
}
