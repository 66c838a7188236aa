package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"usertcp/internal/nic"
	"usertcp/internal/perf"
)

// runLink is run over network devices.
func (f *compareFlags) runLink(cmd *cobra.Command, c perf.Comparison) error {
	if err := nic.Check(); err != nil {
		return err
	}
	progress := progressOf(cmd)
	done := 0
	outcome, err := f.compareLink(cmd.Context(), c, func(p perf.Pairing, r *perf.Report) {
		done = min(done+1, len(perf.Pairings)*f.repeat) // a turn may be taken again
		progress.Step(done, len(perf.Pairings)*f.repeat, fmt.Sprintf("%v: %.0f %s", p, r.Rate, r.Unit))
	})
	progress.Done()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), outcome)
	}
	printLinkOutcome(cmd.OutOrStdout(), outcome)
	return nil
}

// compareLink starts and ends what a comparison over devices needs.
func (f *compareFlags) compareLink(ctx context.Context, c perf.Comparison, progress func(perf.Pairing, *perf.Report)) (o *perf.LinkOutcome, err error) {
	err = f.withRunner(func(r *perf.Runner) error {
		if err := r.StartLink(ctx, perf.LinkOptions{NoOffloads: f.offloads == "off"}); err != nil {
			return err
		}
		o, err = perf.CompareLink(ctx, r, c, progress)
		return err
	})
	if err != nil {
		return nil, err
	}
	o.Spin, o.CPUs, o.Offloads, o.Shards = f.spin, f.cpus, f.offloads, f.shards
	return o, nil
}

// printLinkOutcome prints a comparison of pairings for people.
func printLinkOutcome(w io.Writer, o *perf.LinkOutcome) {
	fmt.Fprintf(w, "%s, %d-octet messages, connections: %d, link: %s, offloads: %s\n\n", o.Test, o.Size, o.Conns, o.Link, o.Offloads)
	table := func(row func(*perf.PairingOutcome) string, head ...any) {
		fmt.Fprintf(w, "%-20s"+strings.Repeat(" %13s", len(head)-1)+"\n", head...)
		for i := range o.Pairings {
			fmt.Fprintf(w, "%-20v%s\n", o.Pairings[i].Pairing, row(&o.Pairings[i]))
		}
		fmt.Fprintln(w)
	}
	table(rateRow, o.Pairings[0].Rate.Unit, "min", "median", "max", "ratio")
	if o.Test.Bulk() {
		table(bulkCosts, "", "CPU s/GB", "of machine", "in kernel, %", "switches/1000", "calls/1000", "calls/MB")
	} else {
		table(latencyRow, "latency, µs", "p50", "p99", "p99.9", "max")
		table(transactionCosts, "", "CPU s/10^6", "of machine", "in kernel, %", "switches/1000", "calls/1000")
	}
	fmt.Fprint(w, o.How())
}

// rateRow is a row of rates, with the ratio to the baseline, and its spread.
func rateRow(p *perf.PairingOutcome) string {
	row := fmt.Sprintf(" %13.0f %13.0f %13.0f", p.Rate.Min, p.Rate.Median, p.Rate.Max)
	if r := p.Ratio; r != nil {
		row += fmt.Sprintf(" %13.2f  (%.2f to %.2f)", r.Median, r.Min, r.Max)
	}
	return row
}

func latencyRow(p *perf.PairingOutcome) string {
	l := p.Latency
	if l == nil {
		return " a measurement without a transaction"
	}
	return fmt.Sprintf(" %13.1f %13.1f %13.1f %13.1f", l.P50, l.P99, l.P999, l.Max)
}

// bulkCosts and transactionCosts are rows of what a pairing costs.
func bulkCosts(p *perf.PairingOutcome) string {
	row := fmt.Sprintf(" %13.3f %13.3f %13.0f %13.4g", p.CPUPerGB, p.MachinePerGB, 100*p.KernelShare, p.Switches)
	if p.SystemCalls == nil {
		return row + " not counted"
	}
	return row + fmt.Sprintf(" %13.4g %13.3g", p.SystemCalls.Per1000, p.SystemCalls.PerMB)
}

func transactionCosts(p *perf.PairingOutcome) string {
	row := fmt.Sprintf(" %13.2f %13.2f %13.0f %13.4g", p.CPUPerOps, p.MachinePerOps, 100*p.KernelShare, p.Switches)
	if p.SystemCalls == nil {
		return row + " not counted"
	}
	return row + fmt.Sprintf(" %13.4g", p.SystemCalls.Per1000)
}
