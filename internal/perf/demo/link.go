package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"usertcp/internal/perf"
)

// linkSetups are what is measured over network devices: few, for the demo is to end
// within a minute.
var linkSetups = []perf.Setup{
	{Test: perf.Stream, Size: 64 << 10, Conns: 1},
	{Test: perf.RR, Size: 1, Conns: 1},
}

// linkRepeat is how often, at most.
const linkRepeat = 2

// overLink measures all pairings over network devices, or notes why it does not.
func (r *Result) overLink(ctx context.Context, c *Config, l lab) error {
	if c.NoLink != "" {
		r.NoLink = c.NoLink
		return nil
	}
	c.Progress.Say("joining network namespaces, 10.1.0.1 and 10.1.0.2, by network devices")
	if err := l.StartLink(ctx, perf.LinkOptions{}); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.NoLink = "network devices are not measured: " + strings.Join(strings.Fields(err.Error()), " ")
		return nil
	}
	repeat := min(c.Repeat, linkRepeat)
	step, steps := 0, len(linkSetups)*repeat*len(perf.Pairings)
	for _, s := range linkSetups {
		s.Time, s.Warmup = c.Time, warmup
		o, err := perf.CompareLink(ctx, l, perf.Comparison{Setup: s, Repeat: repeat}, func(p perf.Pairing, m *perf.Report) {
			step++
			c.Progress.Step(step, steps, fmt.Sprintf("devices, %s, %v: %.0f %s", m.Test, p, m.Rate, m.Unit))
		})
		if err != nil {
			return err
		}
		o.Spin, o.CPUs = c.Spin, string(c.CPUs)
		r.Link = append(r.Link, o)
	}
	return nil
}

// linkTable shows the pairings: a row for each, rate and ratio to the first of each
// test, and what an octet costs. Without measurements it is the reason for that.
func (r *Result) linkTable(format TableFormat) string {
	if len(r.Link) == 0 {
		return r.NoLink
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	header := table.Row{"network devices"}
	for _, o := range r.Link {
		header = append(header, linkColumn(o), "ratio")
	}
	t.AppendHeader(append(header, "CPU s/GB"))
	for i, p := range perf.Pairings {
		row := table.Row{p.String()}
		for _, o := range r.Link {
			row = append(row, fmt.Sprintf("%.0f", o.Pairings[i].Rate.Median), ratioText(o.Pairings[i].Ratio))
		}
		t.AppendRow(append(row, fmt.Sprintf("%.2f", r.Link[0].Pairings[i].CPUPerGB)))
	}
	t.SetColumnConfigs(rightAligned(2*len(r.Link) + 1))
	if format == MarkdownTable {
		return t.RenderMarkdown()
	}
	return t.Render()
}

// linkLegend explains the table of pairings; what more there is to say is in report.md.
const linkLegend = `Who connects, and sends, is named first. Hosts are network namespaces with a
veth pair between them. Ratios are to kernel with kernel; CPU is of 64 KiB.
`

// linkColumn names a test: "64 KiB, Mbit/s", "rr, 1/s".
func linkColumn(o *perf.LinkOutcome) string {
	if o.Test.Bulk() {
		return SizeName(o.Size) + ", " + o.Test.Unit()
	}
	return string(o.Test) + ", 1/s"
}

// ratioText is 1 for the baseline.
func ratioText(s *perf.Summary) string {
	if s == nil {
		return "1"
	}
	return fmt.Sprintf("%.2f", s.Median)
}
