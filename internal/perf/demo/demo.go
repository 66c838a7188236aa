package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"usertcp/internal/perf"
)

// Config says what to show.
type Config struct {
	File   string        // to transfer; empty means this program's own executable
	Out    string        // directory for figure and report; made if it is missing
	Sizes  []int         // of messages, octets
	Time   time.Duration // of each measurement
	Repeat int           // measurements of each stack at each size
	Spin   string        // "off", "default" or "on"
	CPUs   perf.Placement
	NoLink string // why nothing is measured over network devices; empty: it is

	Stdout   io.Writer // table
	Progress *Progress // what is going on meanwhile
}

// Sizes are the message sizes of the sweep, octets.
var Sizes = []int{64, 1 << 10, 4 << 10, 16 << 10, 64 << 10}

// warmup before each measurement: connections over memory open up in no time.
const warmup = 100 * time.Millisecond

// Result is everything that the demo found out.
type Result struct {
	Date    time.Time       `json:"date"`
	Machine Machine         `json:"machine"`
	File    perf.FileReport `json:"file"`
	Sweep   []*perf.Outcome `json:"sweep"`

	Link   []*perf.LinkOutcome `json:"link,omitempty"` // over network devices
	NoLink string              `json:"no_link,omitempty"`
}

// lab is what the demo needs of a perf.Runner.
type lab interface {
	StartHosts(ctx context.Context) error
	Transfer(ctx context.Context, path string) (*perf.FileReport, error)
	Measure(ctx context.Context, stack string, setup perf.Setup) (*perf.Report, error)
	StartLink(ctx context.Context, o perf.LinkOptions) error
	MeasurePair(ctx context.Context, p perf.Pairing, setup perf.Setup) (*perf.Report, error)
	Close() error
}

// Run shows everything. Whatever it started is gone when it returns.
func Run(ctx context.Context, c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	command, err := perf.ThisProgram()
	if err != nil {
		return err
	}
	runner, err := perf.NewRunner(command, perf.Options{Placement: c.CPUs, Spin: c.Spin})
	if err != nil {
		return err
	}
	return run(ctx, &c, runner)
}

// run is Run with the processes behind an interface.
func run(ctx context.Context, c *Config, l lab) (err error) {
	// First of all: a minute's work that can't be written down is lost.
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	defer func() {
		c.Progress.Done()
		if closeErr := l.Close(); err == nil {
			err = closeErr
		}
	}()
	c.Progress.Say("starting two hosts, 10.1.0.1 and 10.1.0.2, on a private ring")
	if err := l.StartHosts(ctx); err != nil {
		return err
	}
	r := &Result{Date: time.Now().UTC().Truncate(time.Second), Machine: ThisMachine()}
	if err := r.transfer(ctx, c, l); err != nil {
		return err
	}
	if err := r.sweep(ctx, c, l); err != nil {
		return err
	}
	if err := r.overLink(ctx, c, l); err != nil {
		return err
	}
	c.Progress.Done()
	fmt.Fprintf(c.Stdout, "%s\n%s\n%s\n", r.Table(PlainTable), r.how(), r.linkTable(PlainTable))
	if len(r.Link) > 0 {
		fmt.Fprint(c.Stdout, linkLegend)
	}
	return r.write(c)
}

// transfer sends the file and compares its checksum with one of our own.
func (r *Result) transfer(ctx context.Context, c *Config, l lab) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	want, err := checksum(path)
	if err != nil {
		return err
	}
	c.Progress.Say("sending " + path)
	got, err := l.Transfer(ctx, path)
	if err != nil {
		return err
	}
	if got.SHA256 != want {
		return fmt.Errorf("%s has SHA-256 %s, what arrived %s", path, want, got.SHA256)
	}
	r.File = *got
	c.Progress.Done()
	_, err = fmt.Fprintln(c.Stdout, r.fileLine())
	return err
}

// fileLine tells about the transfer.
func (r *Result) fileLine() string {
	return fmt.Sprintf("file of %.1f MB sent in %.2f s (%.0f Mbit/s); its SHA-256 %s… agrees",
		float64(r.File.Octets)/1e6, r.File.Seconds, r.File.Mbit(), r.File.SHA256[:8])
}

// how tells how the figures came about, which is the same for all sizes.
func (r *Result) how() string {
	if len(r.Sweep) == 0 {
		return ""
	}
	return r.Sweep[0].How()
}

// path returns the file to transfer.
func (c *Config) path() (string, error) {
	if c.File != "" {
		return c.File, nil
	}
	return os.Executable()
}

func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// comparison is what is done at one message size.
func (c *Config) comparison(size int) perf.Comparison {
	return perf.Comparison{
		Setup:  perf.Setup{Test: perf.Stream, Size: size, Conns: 1, Time: c.Time, Warmup: warmup},
		Repeat: c.Repeat,
	}
}

// check reports what is wrong with the configuration, before anything is started.
func (c *Config) check() error {
	for _, size := range c.Sizes {
		comparison := c.comparison(size)
		if err := comparison.Check(); err != nil {
			return err
		}
	}
	if c.File == "" {
		return nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	return f.Close()
}

// sweep compares both stacks at each message size.
func (r *Result) sweep(ctx context.Context, c *Config, l lab) error {
	step, steps := 0, len(c.Sizes)*c.Repeat*len(perf.StackNames)
	for _, size := range c.Sizes {
		o, err := perf.Compare(ctx, l, c.comparison(size), func(m *perf.Report) {
			step++
			c.Progress.Step(step, steps, fmt.Sprintf("%d-octet messages, %s TCP: %.0f %s", size, m.Stack, m.Rate, m.Unit))
		})
		if err != nil {
			return err
		}
		o.Spin, o.CPUs = c.Spin, string(c.CPUs)
		r.Sweep = append(r.Sweep, o)
	}
	return nil
}
