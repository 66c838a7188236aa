package figures

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"usertcp/internal/perf"
	"usertcp/internal/perf/demo"
)

// bench counts labs, and measures what it is told: the size of the messages in
// Mbit/s, times two if the server has flags.
type bench struct {
	opened, hosts, links, closed int
	order                        []string
	fail                         bool
}

type benchLab struct {
	b *bench
	o perf.Options
}

func (b *bench) open(o perf.Options) (lab, error) {
	b.opened++
	return &benchLab{b, o}, nil
}

func (l *benchLab) StartHosts(context.Context) error { l.b.hosts++; return nil }
func (l *benchLab) StartLink(context.Context, perf.LinkOptions) error {
	l.b.links++
	return nil
}
func (l *benchLab) Close() error { l.b.closed++; return nil }

var errBench = errors.New("on purpose")

func (l *benchLab) Measure(_ context.Context, stack string, s perf.Setup) (*perf.Report, error) {
	l.b.order = append(l.b.order, strings.Join(l.o.Server, " "))
	if l.b.fail && slices.Contains(l.o.Server, "peterson") {
		return nil, errBench
	}
	r := &perf.Report{Stack: stack, Test: s.Test, Size: s.Size, Seconds: 2, Rate: float64(s.Size), Unit: "Mbit/s"}
	if slices.Contains(l.o.Server, "-lock") || slices.Contains(l.o.Server, "-receive") {
		r.Rate *= 2
	}
	r.CPU.Processes = []perf.ProcessCPU{{Side: "client", Role: "program", Seconds: 1}, {Side: "client", Role: "child", Seconds: 0.5}, {Side: "server", Role: "program", Seconds: 7}}
	return r, nil
}

func config(t *testing.T, root bool) (*Config, *bytes.Buffer) {
	var out bytes.Buffer
	return &Config{
		Out: filepath.Join(t.TempDir(), "a", "b"), Sizes: []int{64, 1024}, Time: time.Second, Repeat: 3,
		CPUs: perf.Free, Root: root, Stdout: &out, Progress: demo.NewProgress(new(bytes.Buffer), 0),
	}, &out
}

func read(t *testing.T, c *Config, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Out, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRunWritesAllFigures(t *testing.T) {
	c, out := config(t, true)
	b := &bench{}
	if err := run(t.Context(), c, b.open); err != nil {
		t.Fatal(err)
	}
	n := len(Variants) * len(Settings)
	if b.opened != n || b.closed != n || b.hosts != n/2-len(Settings)/2 || b.links != n/2 || len(b.order) != n*2*3 {
		t.Errorf("opened %d, closed %d, hosts %d, measured %d", b.opened, b.closed, b.hosts, len(b.order))
	}
	if slices.Equal(b.order[:2], b.order[1:3]) {
		t.Error("not in turns")
	}
	rows, err := csv.NewReader(bytes.NewReader(read(t, c, "figures.csv"))).ReadAll()
	if err != nil || len(rows) != 1+2*n || rows[1][4] != "64.0" || rows[3][4] != "128.0" || rows[1][7] != "75.0" {
		t.Errorf("CSV: %v, %v", rows, err)
	}
	var r Result
	if err := json.Unmarshal(read(t, c, "figures.json"), &r); err != nil || len(r.Curves) != n || len(r.Left) != 0 {
		t.Errorf("JSON: %v, %+v", err, r)
	}
	for _, name := range []string{"figure2-ring-paper", "figure3-ring-paper", "figure2-nic-today", "figure3-nic-today"} {
		if _, err := png.DecodeConfig(bytes.NewReader(read(t, c, name+".png"))); err != nil {
			t.Error(err)
		}
		if !bytes.Contains(read(t, c, name+".svg"), []byte("child receives, real-time")) {
			t.Errorf("%s lacks a curve", name)
		}
	}
	page := string(read(t, c, "figures.md"))
	for _, part := range []string{"160 Mbit/s", "82 %", "figure2-nic-paper.svg", "| 1 KiB |", "moves 2.00 times", "default 1.00 times", "2.00 times (both)"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
	if !strings.Contains(out.String(), "caller receives (default)") || strings.Contains(out.String(), "\n\n\n") {
		t.Errorf("output:\n%s", out)
	}
}

func TestWithoutRootTheRestIsMeasured(t *testing.T) {
	c, _ := config(t, false)
	b := &bench{}
	if err := run(t.Context(), c, b.open); err != nil {
		t.Fatal(err)
	}
	if page := string(read(t, c, "figures.md")); !strings.Contains(page, "need root: child receives, real-time; child receives, both; devices,") {
		t.Errorf("the page does not say what was left out:\n%s", page)
	}
	for _, flags := range b.order {
		if strings.Contains(flags, "realtime") || b.links > 0 {
			t.Error("measured what needs root")
		}
	}
}

func TestFailuresEndAllHosts(t *testing.T) {
	c, _ := config(t, true)
	b := &bench{fail: true}
	err := run(t.Context(), c, b.open)
	if !errors.Is(err, errBench) || !strings.Contains(err.Error(), "caller receives, Peterson, 64 octets") || b.closed != b.opened {
		t.Errorf("%v; opened %d, closed %d", err, b.opened, b.closed)
	}
	c, _ = config(t, true)
	if err := os.WriteFile(filepath.Dir(filepath.Dir(c.Out))+"/a", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b = &bench{}
	if err := run(t.Context(), c, b.open); err == nil || b.opened != 0 {
		t.Errorf("%v after %d labs", err, b.opened)
	}
}

// Who wants only some settings gets these, and no others.
func TestOnlySomeSettings(t *testing.T) {
	c, _ := config(t, true)
	c.Only = []string{"nic-paper"}
	b := &bench{}
	if err := run(t.Context(), c, b.open); err != nil || b.opened != len(Variants) || b.links != b.opened {
		t.Errorf("%v; opened %d, over devices %d", err, b.opened, b.links)
	}
	if _, err := os.Stat(filepath.Join(c.Out, "figure2-ring-paper.svg")); err == nil {
		t.Error("a figure of what was not measured")
	}
	for _, tc := range []struct {
		only string
		root bool
	}{{"neither", true}, {"nic-paper", false}} {
		c, _ := config(t, tc.root)
		c.Only = []string{tc.only}
		if err := run(t.Context(), c, (&bench{}).open); err == nil {
			t.Errorf("no error for %+v", tc)
		}
	}
}

// A picture has as many curves as there are colours, at most.
func TestPicturesCanBeRead(t *testing.T) {
	n := 0
	for _, v := range Variants {
		if !v.Table {
			n++
		}
	}
	if n > 7 {
		t.Errorf("%d curves", n)
	}
}
