package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usertcp/internal/perf"
)

// bench is a lab that starts nothing.
type bench struct {
	calls  []string
	fail   string // the call that fails
	sum    string // what Transfer says has arrived; empty is the right sum
	closed int
}

var errBench = errors.New("on purpose")

func (b *bench) call(name string) error {
	b.calls = append(b.calls, name)
	if name == b.fail {
		return errBench
	}
	return nil
}

func (b *bench) StartHosts(context.Context) error { return b.call("hosts") }

func (b *bench) Close() error { b.closed++; return b.call("close") }

func (b *bench) Transfer(_ context.Context, path string) (*perf.FileReport, error) {
	sum := b.sum
	if sum == "" {
		sum, _ = checksum(path)
	}
	return &perf.FileReport{Octets: 5e6, SHA256: sum, Seconds: 0.5}, b.call("transfer")
}

func (b *bench) Measure(_ context.Context, stack string, s perf.Setup) (*perf.Report, error) {
	rate := float64(s.Size)
	r := &perf.Report{Stack: stack, Test: s.Test, Size: s.Size, Conns: s.Conns, Count: 1e9, Rate: rate, Unit: "Mbit/s"}
	r.CPU.Processes = []perf.ProcessCPU{{Side: "client", Role: "program", Seconds: 1}, {Side: "server", Role: "program", Seconds: 2}}
	if stack == "user" {
		r.Rate *= 2
		r.CPU.Processes = append(r.CPU.Processes, perf.ProcessCPU{Side: "client", Role: "child", Seconds: 0.5},
			perf.ProcessCPU{Side: "client", Role: "server", Seconds: 0.25})
	}
	return r, b.call(fmt.Sprint(stack, s.Size))
}

func (b *bench) StartLink(context.Context, perf.LinkOptions) error { return b.call("link") }

func (b *bench) MeasurePair(_ context.Context, p perf.Pairing, s perf.Setup) (*perf.Report, error) {
	rate := float64(1000)
	if p.Client == "user" {
		rate = 1500
	}
	return &perf.Report{Stack: p.Client, Test: s.Test, Size: s.Size, Conns: s.Conns, Count: 1e9, Rate: rate, Unit: s.Test.Unit()}, b.call(p.String())
}

// config is a small demo into a temporary directory.
func config(t *testing.T) (*Config, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	var stdout, progress bytes.Buffer
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Config{
		File: file, Out: filepath.Join(t.TempDir(), "a", "b"), Sizes: []int{64, 1024},
		Time: time.Second, Repeat: 2, Spin: "default", CPUs: perf.Free,
		Stdout: &stdout, Progress: NewProgress(&progress, 0),
	}, &stdout, &progress
}

func TestRunShowsAndWritesEverything(t *testing.T) {
	c, stdout, progress := config(t)
	b := &bench{}
	if err := run(t.Context(), c, b); err != nil {
		t.Fatal(err)
	}
	want := "hosts transfer user64 kernel64 user64 kernel64 user1024 kernel1024 user1024 kernel1024 link" +
		strings.Repeat(" kernel with kernel user with user user with kernel kernel with user", 4) + " close"
	if got := strings.Join(b.calls, " "); got != want {
		t.Errorf("order %q\nwant  %q", got, want)
	}
	for _, part := range []string{"file of 5.0 MB sent in 0.50 s (80 Mbit/s); its SHA-256 2cf24dba… agrees", "user-space TCP, Mbit/s",
		"2048", "2.00", "sender's child", "sender's conn. server", "kernel: receiver", "Who connects, and sends,",
		"│ network devices    │ 64 KiB, Mbit/s │ ratio │ rr, 1/s │ ratio │ CPU s/GB │", "│ user with kernel   │           1500 │  1.50 │    1500 │  1.50 │     0.00 │", "written to " + c.Out} {
		if !strings.Contains(stdout.String(), part) {
			t.Errorf("the output lacks %q:\n%s", part, stdout)
		}
	}
	for line := range strings.Lines(stdout.String()) {
		if n := len([]rune(line)); !strings.HasPrefix(line, "written to") && n > 80 {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
	if !strings.Contains(progress.String(), "16/16 devices, rr, kernel with user: 1000 transactions/s") {
		t.Errorf("progress: %s", progress)
	}
	if !strings.Contains(progress.String(), "8/8 1024-octet messages, kernel TCP: 1024 Mbit/s") {
		t.Errorf("progress: %s", progress)
	}
	checkFiles(t, c.Out)
}

// checkFiles reads what the demo wrote.
func checkFiles(t *testing.T, dir string) {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return b
	}
	var r Result
	if err := json.Unmarshal(read("report.json"), &r); err != nil || len(r.Sweep) != 2 || r.Sweep[1].Ratio.Median != 2 {
		t.Errorf("report.json: %v, %+v", err, r)
	}
	if r.Machine.CPUs < 1 || !strings.HasPrefix(r.Machine.Kernel, "Linux ") || r.Date.IsZero() {
		t.Errorf("machine %+v, date %v", r.Machine, r.Date)
	}
	md := string(read("report.md"))
	for _, part := range []string{"| message size, octets |", "| user with user | 1500 | 1.50 | 1500 | 1.50 | 0.00 |", "throughput.svg", "2 measurements of 1 s", r.Machine.Kernel} {
		if !strings.Contains(md, part) {
			t.Errorf("report.md lacks %q:\n%s", part, md)
		}
	}
	if _, err := png.DecodeConfig(bytes.NewReader(read("throughput.png"))); err != nil {
		t.Error(err)
	}
	if svg := read("throughput.svg"); !bytes.Contains(svg, []byte("kernel TCP over loopback")) {
		t.Error("throughput.svg lacks the kernel's curve")
	}
}

func TestRunCleansUpAfterEachFailure(t *testing.T) {
	for _, step := range []string{"hosts", "transfer", "user64", "kernel1024", "user with kernel", "close"} {
		c, _, _ := config(t)
		b := &bench{fail: step}
		if err := run(t.Context(), c, b); !errors.Is(err, errBench) || b.closed != 1 {
			t.Errorf("failure at %s: error %v, closed %d times", step, err, b.closed)
		}
	}
}

// Without the right to serve devices the demo says what it needs, and goes on.
func TestRunWithoutDevices(t *testing.T) {
	c, stdout, _ := config(t)
	c.NoLink = "as root there is more"
	b := &bench{}
	if err := run(t.Context(), c, b); err != nil || strings.Contains(strings.Join(b.calls, " "), "link") {
		t.Errorf("%v after %v", err, b.calls)
	}
	if !strings.Contains(stdout.String(), "\nas root there is more\nwritten to") {
		t.Errorf("the output does not say what is needed:\n%s", stdout)
	}
	c, stdout, _ = config(t)
	if err := run(t.Context(), c, &bench{fail: "link"}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(stdout.String(), "\nnetwork devices are not measured: on purpose\n") {
		t.Errorf("the output does not say what failed:\n%s", stdout)
	}
	c, _, _ = config(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, c, &bench{fail: "link"}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestRunNoticesADamagedFile(t *testing.T) {
	c, _, _ := config(t)
	err := run(t.Context(), c, &bench{sum: "00"})
	if err == nil || !strings.Contains(err.Error(), "has SHA-256 2cf24dba") {
		t.Errorf("error %v", err)
	}
}

func TestRunStartsNothingWhereItCannotWrite(t *testing.T) {
	c, _, _ := config(t)
	c.Out = filepath.Join(c.File, "out")
	b := &bench{}
	if err := run(t.Context(), c, b); err == nil || len(b.calls) != 0 {
		t.Errorf("error %v after %v", err, b.calls)
	}
	c, _, _ = config(t)
	c.File += ".missing"
	if err := run(t.Context(), c, &bench{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	var w bytes.Buffer
	p := NewProgress(&w, 30)
	p.Say("starting")
	p.Step(1, 2, strings.Repeat("x", 100))
	p.Done()
	p.Done()
	parts := strings.Split(w.String(), "\r\x1b[K")
	if len(parts) != 4 || parts[1] != "starting …" || parts[3] != "" || strings.Contains(w.String(), "\n") {
		t.Errorf("wrote %q", parts)
	}
	if n := len([]rune(parts[2])); n != 29 {
		t.Errorf("a line of %d columns on a terminal of 30", n)
	}
}

func TestSizeName(t *testing.T) {
	for octets, want := range map[int]string{64: "64 B", 1000: "1000 B", 1024: "1 KiB", 65536: "64 KiB", 1500: "1500 B"} {
		if got := SizeName(octets); got != want {
			t.Errorf("SizeName(%d) = %q, want %q", octets, got, want)
		}
	}
}

func TestModelName(t *testing.T) {
	if got := modelName("processor\t: 0\nmodel name\t: Some CPU @ 1GHz\n"); got != "Some CPU @ 1GHz" {
		t.Errorf("got %q", got)
	}
	if got := modelName("nothing"); got != "" {
		t.Errorf("got %q", got)
	}
}
