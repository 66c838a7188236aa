package table

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usertcp/internal/perf"
	"usertcp/internal/perf/demo"
)

// bench counts labs, and measures what it is told: user space with itself three times
// the kernel's rate, with another twice.
type bench struct {
	options                       []perf.Options
	hosts, links, plain, measured int
	closed                        int
	fail                          perf.Test
	cancel                        func()
}

type benchLab struct{ *bench }

func (b *bench) open(o perf.Options) (lab, error) {
	b.options = append(b.options, o)
	return benchLab{b}, nil
}

func (l benchLab) StartHosts(context.Context) error { l.hosts++; return nil }
func (l benchLab) Close() error                     { l.closed++; return nil }
func (l benchLab) StartLink(_ context.Context, o perf.LinkOptions) error {
	l.links++
	if o.NoOffloads {
		l.plain++
	}
	return nil
}

func (l benchLab) Measure(ctx context.Context, stack string, s perf.Setup) (*perf.Report, error) {
	return l.MeasurePair(ctx, perf.Alike(stack), s)
}

var errBench = errors.New("on purpose")

func (l benchLab) MeasurePair(_ context.Context, p perf.Pairing, s perf.Setup) (*perf.Report, error) {
	l.measured++
	if l.cancel != nil {
		l.cancel()
	}
	if s.Test == l.fail {
		return nil, errBench
	}
	r := &perf.Report{Stack: p.Client, Test: s.Test, Size: s.Size, Conns: s.Conns, Seconds: 1, Rate: 1e4, Unit: s.Test.Unit(), Count: 1e9, Jain: 0.875}
	switch p {
	case perf.Alike("user"):
		r.Rate = 3e4
	case perf.Alike("kernel"):
	default:
		r.Rate = 2e4
	}
	if !s.Test.Bulk() {
		r.Count = 1e6
		r.Latency = &perf.Latency{P50: 7}
	}
	r.CPU.Machine = 2
	r.CPU.Processes = []perf.ProcessCPU{{Side: "client", Seconds: 3, System: 0.75, Switches: 5000, SystemCalls: 40_000}}
	if p == perf.Alike("kernel") {
		r.CPU.Processes[0].Seconds, r.CPU.Processes[0].System = 4, 1
	}
	return r, nil
}

func config(t *testing.T, rows []Row) (*Config, *bytes.Buffer) {
	var out bytes.Buffer
	return &Config{
		Out: filepath.Join(t.TempDir(), "a", "b"), Rows: rows, Time: time.Second, Repeat: 3, Counted: true,
		Stdout: &out, Progress: demo.NewProgress(new(bytes.Buffer), 0),
	}, &out
}

func TestRunWritesTheWholeTable(t *testing.T) {
	c, out := config(t, Rows())
	b := &bench{}
	if err := run(t.Context(), c, b.open); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Rows); len(b.options) != n || b.closed != n || b.hosts+b.links != n || b.hosts != 16 || b.plain != 2 {
		t.Errorf("%d rows: opened %d, closed %d, over rings %d, devices %d, without offloads %d", n, len(b.options), b.closed, b.hosts, b.links, b.plain)
	}
	md, err := os.ReadFile(filepath.Join(c.Out, "table.md"))
	if err != nil || !strings.Contains(out.String(), string(md)) {
		t.Errorf("%v; output without the table:\n%s", err, out)
	}
	for _, line := range []string{
		"| stream, 64 KiB | 30 Gbit/s | 10 Gbit/s | 3.00 (3.00–3.00) | **1.8, CPU ≤ 0.6** | 3 : 4 / GB, 0.75 | 25 : 25 | 40 : 40 / MB | 328 : 328 |\n",
		"| rr, spinning, two CPUs | 30,000/s | 10,000/s | 3.00 (3.00–3.00) | **15** | 3 : 4 / 10⁶, 0.75 | 25 : 25 | 40 : 40 / 1000 | 5 : 5 |\n",
		"| rr, blocking, one CPU | 30,000/s | 10,000/s | 3.00 (3.00–3.00) | 1.2 | 3 : 4 / 10⁶, 0.75 | 25 : 25 | 40 : 40 / 1000 | 5 : 5 |\n",
		"| stream, 64 KiB, 16 connections | 30 Gbit/s, Jain 0.875 |",
		"| stream, 64 KiB | 30 Gbit/s | 10 Gbit/s | 3.00 (3.00–3.00) | 1, CPU ≤ 1 | 3 : 4 / GB (machine 2 : 2), 0.75 |",
		"| stream, 64 KiB, user with kernel | 20 Gbit/s | 10 Gbit/s | 2.00 (2.00–2.00) | 0.9 | 3 : 4 / GB (machine 2 : 2), 0.75 |",
	} {
		if !strings.Contains(string(md), line) {
			t.Errorf("the table lacks %q:\n%s", line, md)
		}
	}
	want := len(c.Rows)
	for _, row := range c.Rows {
		if row.Mixed != 0 {
			want += 2 // with the kernel, either way
		}
	}
	var r Result
	j, _ := os.ReadFile(filepath.Join(c.Out, "table.json"))
	if err := json.Unmarshal(j, &r); err != nil || len(r.Entries) != want || r.Entries[0].Command != "-test stream" || r.Entries[5].User.P50 != 7 {
		t.Errorf("JSON: %v, %d entries, %+v", err, len(r.Entries), r.Entries[0])
	}
}

func TestARowThatFailsIsInTheTable(t *testing.T) {
	c, _ := config(t, Rows())
	b := &bench{fail: perf.CRR}
	if err := run(t.Context(), c, b.open); !errors.Is(err, errBench) || !strings.Contains(err.Error(), "nic, crr, two CPUs") {
		t.Errorf("error %v", err)
	}
	md, _ := os.ReadFile(filepath.Join(c.Out, "table.md"))
	if !strings.Contains(string(md), "| crr | failed: on purpose | | | **2** |") || !strings.Contains(string(md), "| HTTP/1.1, 64 connections | 30,000/s |") {
		t.Errorf("the table:\n%s", md)
	}
	if b.closed != len(b.options) {
		t.Errorf("opened %d, closed %d", len(b.options), b.closed)
	}
}

func TestWithoutDevicesTheTableSaysSo(t *testing.T) {
	c, _ := config(t, Rows())
	c.NoLink = "it takes root"
	b := &bench{}
	if err := run(t.Context(), c, b.open); err != nil || b.links != 0 {
		t.Errorf("%v, links %d", err, b.links)
	}
	if md, _ := os.ReadFile(filepath.Join(c.Out, "table.md")); !strings.Contains(string(md), "Nothing over devices: it takes root.") {
		t.Errorf("the table:\n%s", md)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := config(t, Rows())
	b := &bench{fail: perf.Stream, cancel: cancel}
	if err := run(ctx, c, b.open); !errors.Is(err, context.Canceled) || b.measured != 1 {
		t.Errorf("error %v after %d measurements", err, b.measured)
	}
}

func TestTheTableIsPutIntoAFile(t *testing.T) {
	c, _ := config(t, Rows()[:1])
	c.Into = filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(c.Into, []byte("before\n"+Begin+"\nold\n"+End+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := run(t.Context(), c, (&bench{}).open); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := os.ReadFile(c.Into)
	text := string(b)
	if !strings.HasPrefix(text, "before\n"+Begin+"\nTaken on ") || !strings.HasSuffix(text, "|\n"+End+"\nafter\n") || strings.Contains(text, "old") || strings.Count(text, "| stream, 64 KiB |") != 1 {
		t.Errorf("the file:\n%s", text)
	}
}

func TestAFileWithoutAPlaceIsRefusedBeforeAnythingIsMeasured(t *testing.T) {
	for _, text := range []string{"", Begin, End + Begin} {
		c, _ := config(t, Rows())
		c.Into = filepath.Join(t.TempDir(), "page.md")
		os.WriteFile(c.Into, []byte(text), 0o644)
		b := &bench{}
		if err := run(t.Context(), c, b.open); err == nil || !strings.Contains(err.Error(), Begin) || b.measured != 0 {
			t.Errorf("%q: error %v after %d measurements", text, err, b.measured)
		}
	}
	c, _ := config(t, Rows())
	c.Into = filepath.Join(t.TempDir(), "none")
	if err := run(t.Context(), c, (&bench{}).open); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestReached(t *testing.T) {
	good := Entry{Aim: 2, Row: Row{CPUGoal: 1}, Ratio: perf.Summary{Median: 2}, CPURatio: perf.Summary{Median: 1}}
	if !good.Reached() {
		t.Error("the goal is a limit that may be met")
	}
	for name, spoil := range map[string]func(*Entry){
		"ratio":  func(e *Entry) { e.Ratio.Median = 1.99 },
		"CPU":    func(e *Entry) { e.CPURatio.Median = 1.01 },
		"no CPU": func(e *Entry) { e.CPURatio.Median = 0 }, // the kernel's is not known
		"failed": func(e *Entry) { e.Failed = "x" },
	} {
		e := good
		if spoil(&e); e.Reached() {
			t.Errorf("%s: reached", name)
		}
	}
}

func TestRowsAreTakenOneByOneByTheirFlags(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rows() {
		f := r.Flags()
		if seen[f] {
			t.Errorf("two rows with %q", f)
		}
		seen[f] = true
		setup := perf.Setup{Test: r.Test, Size: r.Size, Conns: r.Conns, Time: time.Second}
		if err := setup.Check(); err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
	for _, want := range []string{
		"-test stream -size 64 -nodelay", "-test rr -spin on -cpus same", "-test crr", "-test http -conns 64",
		"-link nic -test stream -offloads off", "-link nic -test http -conns 64",
	} {
		if !seen[want] {
			t.Errorf("no row has %q: %v", want, seen)
		}
	}
}

func TestNumbers(t *testing.T) {
	for x, want := range map[float64]string{0.1234: "0.123", 12.34: "12.3", 999: "999", 1000: "1,000", 1234567: "1,234,567", 0: "0"} {
		if got := short(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
	if got := fmt.Sprint(thousands(12)); got != "12" {
		t.Error(got)
	}
}
