package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"usertcp/internal/sim"
)

// simFlags are those of sim.
type simFlags struct {
	seed    uint64
	seeds   string
	jobs    int
	verbose bool
}

func newSim() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim [flags]",
		Short: "run whole hosts over a seeded hostile network",
		Long: `Run whole hosts under a virtual clock over a seeded network that loses,
doubles, reorders, damages, delays, clogs and parts, and check all they do
after each step.

A failure names its seed, and the seed replays exactly with the same program:
usertcp sim -seed N -v prints every packet, its fate and what programs did.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.Uint64Var(&f.seed, "seed", 1, "run seed `NUMBER`")
	flags.StringVar(&f.seeds, "seeds", "", "run the `RANGE` of seeds A..B, both included")
	flags.IntVar(&f.jobs, "jobs", 1, "run `NUMBER` seeds of a range at a time")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print every packet (one seed only)")
	cmd.MarkFlagsMutuallyExclusive("seeds", "verbose")
	return cmd
}

func (f *simFlags) run(cmd *cobra.Command) error {
	first, last := f.seed, f.seed
	if f.seeds != "" {
		var err error
		if first, last, err = parseRange(f.seeds); err != nil {
			return err
		}
	}
	if f.jobs < 1 {
		return fmt.Errorf("-jobs %d: at least one is needed", f.jobs)
	}
	began := time.Now()
	out := cmd.OutOrStdout()
	var total sim.Total
	var err error
	if f.verbose {
		err = simOne(out, first, &total)
	} else {
		err = simRange(cmd.Context(), first, last, f.jobs, &total)
	}
	var failure *sim.Failure
	if errors.As(err, &failure) {
		fmt.Fprintf(out, "%v\ncommit: %s\n", failure, version())
		return fmt.Errorf("seed %d failed", failure.Seed)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%v, in %.1f s, commit %s\n", &total, time.Since(began).Seconds(), version())
	return nil
}

// parseRange reads A..B.
func parseRange(s string) (first, last uint64, err error) {
	a, b, ok := strings.Cut(s, "..")
	if ok {
		first, err = strconv.ParseUint(a, 10, 64)
	}
	if ok && err == nil {
		last, err = strconv.ParseUint(b, 10, 64)
	}
	if !ok || err != nil || last < first {
		return 0, 0, fmt.Errorf("-seeds %s: want A..B with A not above B", s)
	}
	return first, last, nil
}

// simOne runs one seed with a trace.
func simOne(out io.Writer, seed uint64, total *sim.Total) error {
	w := bufio.NewWriter(out)
	r, err := sim.Run(seed, sim.Options{Trace: w})
	total.Add(&r)
	return errors.Join(err, w.Flush())
}

// simRange runs seeds until one fails.
func simRange(ctx context.Context, first, last uint64, jobs int, total *sim.Total) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var group sync.WaitGroup
	next := first
	for range jobs {
		group.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				seed := next
				next++
				mu.Unlock()
				if seed > last || seed < first {
					return
				}
				r, err := sim.Run(seed, sim.Options{})
				mu.Lock()
				total.Add(&r)
				mu.Unlock()
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
