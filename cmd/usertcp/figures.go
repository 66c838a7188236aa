package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"usertcp/internal/perf"
	"usertcp/internal/perf/figures"
)

func newFigures() *cobra.Command {
	c := figures.Config{Sizes: figures.Sizes}
	var cpus string
	cmd := &cobra.Command{
		Use:   "figures [flags]",
		Short: "repeat the paper's experiment: its figures 2 and 3",
		Long: `Repeat the paper's experiment: its figures 2 and 3.

It measures throughput and the sender's CPU time over message size, for the
arrangements of user-space TCP that the paper compares and for the kernel's,
with the paper's buffers and PDUs and with today's defaults, over a ring and
over network devices, all in turns. It writes pictures, a table, and a page
that says what the paper found and what this machine shows. A real-time child
and network devices need root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.CPUs, c.Root = perf.Placement(cpus), os.Geteuid() == 0
			c.Stdout, c.Progress = cmd.OutOrStdout(), progressOf(cmd)
			return figures.Run(cmd.Context(), c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Out, "out", "figures", "`directory` for the figures")
	flags.DurationVar(&c.Time, "time", 300*time.Millisecond, "measured time")
	flags.IntVar(&c.Repeat, "repeat", 3, "measurements of each point")
	flags.StringSliceVar(&c.Only, "settings", nil, "only `these`: ring-paper, ring-today,\nnic-paper, nic-today")
	flags.StringVar(&cpus, "cpus", "free", "`placement`: same, split or free")
	return cmd
}
