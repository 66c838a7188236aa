package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"usertcp/internal/perf"
)

// compareFlags are those of compare.
type compareFlags struct {
	setup      setupFlags
	repeat     int
	link, spin string
	offloads   string
	cpus       string
	shards     int
	json       bool
	tuning     perf.Tuning
}

func newCompare() *cobra.Command {
	var f compareFlags
	cmd := &cobra.Command{
		Use:   "compare [flags]",
		Short: "measure user-space TCP and the kernel's in turns",
		Long: `Measure user-space TCP and the kernel's in turns.

It starts two connection servers on a private ring, and for each measurement
a listening and a connecting program; the kernel's TCP runs over loopback, with
CUBIC. Ratios are user space to kernel, pair by pair: above 1, user space did
better.

With -link nic it makes network namespaces joined by veth pairs, which takes
root, and measures all four pairings over them: kernel with kernel, user with
user, user with kernel, and kernel with user, where the client is named first.
Ratios are to kernel with kernel. All of it is gone afterwards.

Placement (-cpus): same puts both sides on one CPU, split each on a CPU of its
own, free leaves it to the scheduler; it is the same for both stacks.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	f.setup.add(flags, 2*time.Second)
	flags.IntVar(&f.repeat, "repeat", 5, "measurements of each stack")
	flags.StringVar(&f.link, "link", "ring", "`link` between the hosts: ring or nic")
	flags.StringVar(&f.offloads, "offloads", "on", "with -link nic, segmentation and checksum offload of\nthe devices: on or off")
	addSpin(flags, &f.spin)
	addShards(flags, &f.shards)
	addTuning(flags, &f.tuning)
	flags.StringVar(&f.cpus, "cpus", "free", "`placement`: same, split or free")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

func (f *compareFlags) run(cmd *cobra.Command) error {
	setup, err := f.setup.get()
	if err != nil {
		return err
	}
	comparison := perf.Comparison{Setup: setup, Repeat: f.repeat, Counted: os.Geteuid() == 0, Distance: perf.DistanceOn(perf.Placement(f.cpus))}
	if err := errors.Join(f.checkLink(), comparison.Check(), checkSpin(f.spin), checkShards(f.shards)); err != nil {
		return err
	}
	if f.link == "nic" {
		return f.runLink(cmd, comparison)
	}
	progress := progressOf(cmd)
	done := 0
	outcome, err := f.compare(cmd.Context(), comparison, func(r *perf.Report) {
		done = min(done+1, 2*f.repeat) // a turn may be taken again
		progress.Step(done, 2*f.repeat, fmt.Sprintf("%s: %.0f %s", r.Stack, r.Rate, r.Unit))
	})
	progress.Done()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), outcome)
	}
	printOutcome(cmd.OutOrStdout(), outcome)
	return nil
}

// checkLink reports what is wrong with the flags about the link.
func (f *compareFlags) checkLink() error {
	switch {
	case f.link != "ring" && f.link != "nic":
		return fmt.Errorf("unknown link %q (there are: ring, nic)", f.link)
	case f.offloads != "on" && f.offloads != "off":
		return fmt.Errorf("unknown value %q of -offloads (there are: on, off)", f.offloads)
	case f.offloads == "off" && f.link != "nic":
		return errors.New("-offloads is for -link nic")
	}
	return nil
}

// compare starts and ends what a comparison over the ring needs.
func (f *compareFlags) compare(ctx context.Context, c perf.Comparison, progress func(*perf.Report)) (o *perf.Outcome, err error) {
	err = f.withRunner(func(r *perf.Runner) error {
		if err := r.StartHosts(ctx); err != nil {
			return err
		}
		o, err = perf.Compare(ctx, r, c, progress)
		return err
	})
	if err != nil {
		return nil, err
	}
	o.Spin, o.CPUs, o.Shards = f.spin, f.cpus, f.shards
	return o, nil
}

// withRunner calls do with a runner, and ends what that has started.
func (f *compareFlags) withRunner(do func(*perf.Runner) error) (err error) {
	command, err := perf.ThisProgram()
	if err != nil {
		return err
	}
	runner, err := perf.NewRunner(command, perf.Options{Placement: perf.Placement(f.cpus), Spin: f.spin, Shards: f.shards, Tuning: f.tuning})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := runner.Close(); err == nil {
			err = closeErr
		}
	}()
	return do(runner)
}

// printOutcome prints a comparison for people.
func printOutcome(w io.Writer, o *perf.Outcome) {
	fmt.Fprintf(w, "%s, %d-octet messages, connections: %d, link: %s\n\n", o.Test, o.Size, o.Conns, o.Link)
	fmt.Fprintf(w, "%-22s %12s %12s %12s\n", "", "min", "median", "max")
	row := func(name string, s perf.Summary, format string) {
		fmt.Fprintf(w, "%-22s "+strings.Repeat(" "+format, 3)[1:]+"\n", name, s.Min, s.Median, s.Max)
	}
	row("user, "+o.User.Unit, o.User, "%12.0f")
	row("kernel, "+o.Kernel.Unit, o.Kernel, "%12.0f")
	row("ratio", o.Ratio, "%12.2f")
	fmt.Fprintln(w)
	if l := o.Latency; l != nil {
		fmt.Fprintf(w, "%-22s %12s %12s %12s %12s\n", "latency, µs", "p50", "p99", "p99.9", "max")
		printLatency(w, "user", l.User)
		printLatency(w, "kernel", l.Kernel)
		fmt.Fprintf(w, "\nCPU seconds for 10^6 transactions: user %.2f, kernel %.2f\n", o.CPUPerOps.User, o.CPUPerOps.Kernel)
	} else {
		fmt.Fprintf(w, "CPU seconds for each GB: user %.3f, kernel %.3f\n", o.CPUPerGB.User, o.CPUPerGB.Kernel)
	}
	fmt.Fprintf(w, "Of them in the kernel: user %.0f %%, kernel %.0f %%\n", 100*o.KernelShare.User, 100*o.KernelShare.Kernel)
	what := "transactions"
	if o.Test.Bulk() {
		what = "messages"
	}
	if c := o.SystemCalls; c != nil && o.Test.Bulk() {
		fmt.Fprintf(w, "System calls for each MB: user %.3g, kernel %.3g\n", c.User.PerMB, c.Kernel.PerMB)
	}
	if c := o.SystemCalls; c != nil {
		fmt.Fprintf(w, "System calls for 1000 %s: user %.4g, kernel %.4g\n", what, c.User.Per1000, c.Kernel.Per1000)
	}
	fmt.Fprintf(w, "Context switches for 1000 %s: user %.4g, kernel %.4g\n", what, o.Switches.User, o.Switches.Kernel)
	if o.Conns > 1 {
		fmt.Fprintf(w, "Jain's fairness index: user %.3f, kernel %.3f\n", o.Jain.User, o.Jain.Kernel)
	}
	fmt.Fprint(w, o.How())
}

// printLatency prints one stack's. A machine that is busy with other things may not
// have got through a single transaction in some measurement.
func printLatency(w io.Writer, stack string, l *perf.Latency) {
	if l == nil {
		fmt.Fprintf(w, "%-22s a measurement without a transaction\n", stack)
		return
	}
	fmt.Fprintf(w, "%-22s %12.1f %12.1f %12.1f %12.1f\n", stack, l.P50, l.P99, l.P999, l.Max)
}

// thisStderr is the standard error when it is what cmd writes errors to.
func thisStderr(cmd *cobra.Command) *os.File {
	f, _ := cmd.ErrOrStderr().(*os.File)
	return f
}
