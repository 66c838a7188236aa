package demo

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"usertcp/internal/perf"
)

// TableFormat says how a table is written.
type TableFormat int

const (
	PlainTable    TableFormat = iota // for a terminal, 80 columns
	MarkdownTable                    // for report.md
)

// Table shows the sweep: a column for each message size; throughput, then the
// processor seconds of each process. Rows of processes that took no part in any
// measurement are not there.
func (r *Result) Table(format TableFormat) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(r.row("message size, octets", func(o *perf.Outcome) string { return fmt.Sprint(o.Size) }))
	t.AppendRow(r.row("user-space TCP, Mbit/s", func(o *perf.Outcome) string { return fmt.Sprintf("%.0f", o.User.Median) }))
	t.AppendRow(r.row("kernel TCP, Mbit/s", func(o *perf.Outcome) string { return fmt.Sprintf("%.0f", o.Kernel.Median) }))
	t.AppendRow(r.row("ratio", func(o *perf.Outcome) string { return fmt.Sprintf("%.2f", o.Ratio.Median) }))
	t.AppendSeparator()
	r.appendShares(t, "user", func(o *perf.Outcome) []perf.ProcessShare { return o.CPUSeconds.User })
	t.AppendSeparator()
	r.appendShares(t, "kernel", func(o *perf.Outcome) []perf.ProcessShare { return o.CPUSeconds.Kernel })
	t.SetColumnConfigs(rightAligned(len(r.Sweep)))
	if format == MarkdownTable {
		return t.RenderMarkdown()
	}
	return t.Render()
}

// row makes a table row of one figure of each size.
func (r *Result) row(name string, figure func(*perf.Outcome) string) table.Row {
	row := table.Row{name}
	for _, o := range r.Sweep {
		row = append(row, figure(o))
	}
	return row
}

// appendShares adds a row for each process of a stack.
func (r *Result) appendShares(t table.Writer, stack string, of func(*perf.Outcome) []perf.ProcessShare) {
	for _, part := range r.parts(of) {
		name := fmt.Sprintf("CPU s, %s: %s", stack, partName(part))
		t.AppendRow(r.row(name, func(o *perf.Outcome) string {
			for _, s := range of(o) {
				if s.Side == part.Side && s.Role == part.Role {
					return fmt.Sprintf("%.2f", s.Seconds)
				}
			}
			return "–"
		}))
	}
}

// parts returns every part that occurs at some size, in order.
func (r *Result) parts(of func(*perf.Outcome) []perf.ProcessShare) []perf.ProcessShare {
	var all []perf.ProcessShare
	seen := map[[2]string]bool{}
	for _, o := range r.Sweep {
		for _, s := range of(o) {
			if key := [2]string{s.Side, s.Role}; !seen[key] {
				seen[key] = true
				all = append(all, s)
			}
		}
	}
	return all
}

// partName names a part in a stream test, where the client sends.
func partName(s perf.ProcessShare) string {
	who := map[string]string{"client": "sender", "server": "receiver"}[s.Side]
	switch s.Role {
	case "program":
		return who
	case "server":
		return who + "'s conn. server"
	}
	return who + "'s " + s.Role
}

// rightAligned aligns the columns of n sizes.
func rightAligned(n int) []table.ColumnConfig {
	var configs []table.ColumnConfig
	for i := range n {
		configs = append(configs, table.ColumnConfig{Number: i + 2, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	return configs
}
