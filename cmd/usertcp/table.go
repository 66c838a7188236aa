package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"usertcp/internal/nic"
	"usertcp/internal/perf"
	"usertcp/internal/perf/table"
)

func newTable() *cobra.Command {
	c := table.Config{Warmup: perf.DefaultWarmup}
	var links string
	cmd := &cobra.Command{
		Use:   "table [flags]",
		Short: "take the whole speed table, beside what is aimed at",
		Long: `Take the whole speed table, beside what is aimed at.

It does usertcp compare for all rows of the table, over the ring and, as root,
over network devices, in some minutes, and writes table.md and table.json. As
root it counts system calls, too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := chooseRows(&c, links); err != nil {
				return err
			}
			c.Counted, c.Distance = os.Geteuid() == 0, perf.DistanceOn
			c.Stdout, c.Progress = cmd.OutOrStdout(), progressOf(cmd)
			return table.Run(cmd.Context(), c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Out, "out", "table", "`directory` for the table")
	flags.StringVar(&c.Into, "into", "", "`file` in which the table between the lines\n"+table.Begin+" and "+table.End+"\nis replaced")
	flags.DurationVar(&c.Time, "time", 400*time.Millisecond, "measured time")
	flags.IntVar(&c.Repeat, "repeat", 3, "measurements of each stack")
	flags.StringVar(&links, "link", "all", "`link` of the hosts: ring, nic or all")
	return cmd
}

// chooseRows takes the rows of the links that were asked for. Where nothing can be
// measured over devices and nobody insists, the table says so.
func chooseRows(c *table.Config, links string) error {
	if !slices.Contains([]string{"ring", "nic", "all"}, links) {
		return fmt.Errorf("unknown link %q (there are: ring, nic, all)", links)
	}
	check := perf.Comparison{Setup: perf.Setup{Test: perf.Stream, Size: 1, Conns: 1, Time: c.Time}, Repeat: c.Repeat}
	if err := check.Check(); err != nil {
		return err
	}
	for _, r := range table.Rows() {
		if links == "all" || links == r.Link {
			c.Rows = append(c.Rows, r)
		}
	}
	if links == "ring" {
		c.NoLink = "they were not asked for"
		return nil
	}
	err := nic.Check()
	if err == nil && os.Geteuid() != 0 {
		err = errors.New("it takes root")
	}
	if err != nil && links == "nic" {
		return err
	}
	if err != nil {
		c.NoLink = err.Error()
	}
	return nil
}
