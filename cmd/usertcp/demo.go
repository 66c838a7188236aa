package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"usertcp/internal/nic"
	"usertcp/internal/perf"
	"usertcp/internal/perf/demo"
)

func newDemo() *cobra.Command {
	c := demo.Config{Sizes: demo.Sizes}
	var cpus string
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "show user-space TCP at work, in under a minute",
		Long: `Show user-space TCP at work, in under a minute and without privileges.

It starts two hosts on a private ring, sends a file from one to the other and
checks its SHA-256 there, then measures throughput at several message sizes, in
turns with the kernel's TCP over loopback. It prints a table, and writes a
figure and a report. As root it also measures each stack with each over network
devices, in network namespaces of its own.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkSpin(c.Spin); err != nil {
				return err
			}
			c.CPUs = perf.Placement(cpus)
			c.Stdout, c.Progress = cmd.OutOrStdout(), progressOf(cmd)
			c.NoLink = noLink(os.Geteuid(), nic.Check())
			return demo.Run(cmd.Context(), c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.File, "file", "", "`path` of a file to send (default: this program)")
	flags.StringVar(&c.Out, "out", "out", "`directory` for the report")
	flags.DurationVar(&c.Time, "time", 500*time.Millisecond, "measured time")
	flags.IntVar(&c.Repeat, "repeat", 3, "measurements of each stack at each size")
	addSpin(flags, &c.Spin)
	flags.StringVar(&cpus, "cpus", "free", "`placement`: same, split or free")
	return cmd
}

// noLink says in one line why this process can't measure over network devices; empty:
// it can.
func noLink(uid int, err error) string {
	switch {
	case uid != 0:
		return "as root this also measures network devices, each stack with each"
	case err != nil:
		return "network devices are not measured: " + oneLine(err)
	}
	return ""
}

// progressOf writes to the standard error, on a terminal in one line.
func progressOf(cmd *cobra.Command) *demo.Progress {
	width := 0
	if f := thisStderr(cmd); f != nil {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			width = max(int(ws.Col), 2)
		}
	}
	return demo.NewProgress(cmd.ErrOrStderr(), width)
}
