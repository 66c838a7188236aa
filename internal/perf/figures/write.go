package figures

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"usertcp/internal/perf"
	"usertcp/internal/perf/demo"
	"usertcp/internal/plot"
)

// write leaves all figures, tables and the page in the directory.
func (r *Result) write(c *Config) error {
	for _, s := range r.Setting {
		for name, f := range map[string]*plot.Figure{
			"figure2-" + s.Name: r.figure(s, "Throughput, "+s.Title, "Mbit/s", func(p *Point) perf.Summary { return p.Rate }),
			"figure3-" + s.Name: r.figure(s, "CPU time of the sender, "+s.Title, "% of a CPU", func(p *Point) perf.Summary { return p.CPU }),
		} {
			if err := f.WriteFiles(c.Out, name); err != nil {
				return err
			}
		}
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"figures.json": append(b, '\n'), "figures.csv": r.csv(), "figures.md": []byte(r.page())}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.Out, name), content, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprint(c.Stdout, r.tables())
	_, err = fmt.Fprintf(c.Stdout, "written to %s: figures.md, figures.csv, figures.json, figure2-*.svg, figure3-*.svg (and .png)\n", c.Out)
	return err
}

// figure draws one quantity of all variants over message size.
func (r *Result) figure(s Setting, title, unit string, of func(*Point) perf.Summary) *plot.Figure {
	f := &plot.Figure{Title: title, XLabel: "message size", YLabel: unit, LogX: true}
	for _, c := range r.Curves {
		if c.Setting != s.Name || c.Table {
			continue
		}
		curve := plot.Series{Name: c.Name}
		for i := range c.Points {
			v := of(&c.Points[i])
			curve.X, curve.Y = append(curve.X, float64(c.Points[i].Size)), append(curve.Y, v.Median)
			curve.Lo, curve.Hi = append(curve.Lo, v.Min), append(curve.Hi, v.Max)
		}
		f.Series = append(f.Series, curve)
	}
	for _, p := range r.Curves[0].Points {
		f.XTicks = append(f.XTicks, plot.Tick{Value: float64(p.Size), Label: demo.SizeName(p.Size)})
	}
	return f
}

// csv is one line for each point.
func (r *Result) csv() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write([]string{"setting", "variant", "octets", "mbit_per_s_min", "mbit_per_s", "mbit_per_s_max", "sender_cpu_percent_min", "sender_cpu_percent", "sender_cpu_percent_max"})
	num := func(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }
	for _, c := range r.Curves {
		for _, p := range c.Points {
			w.Write([]string{c.Setting, c.Name, strconv.Itoa(p.Size), num(p.Rate.Min), num(p.Rate.Median), num(p.Rate.Max), num(p.CPU.Min), num(p.CPU.Median), num(p.CPU.Max)})
		}
	}
	w.Flush()
	return b.Bytes()
}
