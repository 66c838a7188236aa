package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"usertcp/internal/perf"
	"usertcp/internal/plot"
)

// write leaves figure and report in the directory that was asked for.
func (r *Result) write(c *Config) error {
	if err := r.figure().WriteFiles(c.Out, "throughput"); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"report.json": append(b, '\n'), "report.md": []byte(r.markdown())}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.Out, name), content, 0o644); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(c.Stdout, "written to %s: throughput.svg, throughput.png, report.json, report.md\n", c.Out)
	return err
}

// figure draws throughput over message size.
func (r *Result) figure() *plot.Figure {
	f := &plot.Figure{
		Title:  "Throughput between two processes of one host",
		XLabel: "message size",
		YLabel: "Mbit/s",
		LogX:   true,
		Series: []plot.Series{
			r.series("user-space TCP over the ring", func(o *perf.Outcome) perf.Summary { return o.User }),
			r.series("kernel TCP over loopback", func(o *perf.Outcome) perf.Summary { return o.Kernel }),
		},
	}
	for _, o := range r.Sweep {
		f.XTicks = append(f.XTicks, plot.Tick{Value: float64(o.Size), Label: SizeName(o.Size)})
	}
	return f
}

// series is one stack's curve.
func (r *Result) series(name string, of func(*perf.Outcome) perf.Summary) plot.Series {
	s := plot.Series{Name: name}
	for _, o := range r.Sweep {
		summary := of(o)
		s.X = append(s.X, float64(o.Size))
		s.Y = append(s.Y, summary.Median)
		s.Lo = append(s.Lo, summary.Min)
		s.Hi = append(s.Hi, summary.Max)
	}
	return s
}

// SizeName writes 64 as 64 B and 65536 as 64 KiB.
func SizeName(octets int) string {
	if octets >= 1024 && octets%1024 == 0 {
		return fmt.Sprintf("%d KiB", octets/1024)
	}
	return fmt.Sprintf("%d B", octets)
}

// markdown is the report for people.
func (r *Result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# User-space TCP and kernel TCP between two processes of one host\n\n")
	fmt.Fprintf(&b, "Taken on %s on %s (%d CPUs), %s, %s.\n\n",
		r.Date.Format("2006-01-02"), r.Machine.Processor, r.Machine.CPUs, r.Machine.Kernel, r.Machine.Go)
	fmt.Fprintf(&b, "%s.\n\n![throughput over message size](throughput.svg)\n\n%s\n\n", r.fileLine(), r.Table(MarkdownTable))
	fmt.Fprintf(&b, "%s\n%s\n", r.how(), r.linkTable(MarkdownTable))
	if len(r.Link) > 0 {
		fmt.Fprintf(&b, "\n%s", r.Link[0].How())
	}
	return b.String()
}
