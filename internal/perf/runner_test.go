package perf

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newTestRunner returns a runner of the test binary.
func newTestRunner(t *testing.T, behaviour string, p Placement) *Runner {
	t.Helper()
	r, err := NewRunner(testCommand(behaviour), Options{Placement: p, Spin: "off"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestRunnerMeasuresBetweenTwoProcesses(t *testing.T) {
	r := newTestRunner(t, "good", Same)
	for _, test := range Tests {
		setup := short(test, 1000, 2)
		report := wantReport(t, setup, func(s Setup) (*Report, error) { return r.Measure(t.Context(), "kernel", s) })
		if report == nil {
			continue
		}
		if a, b := report.CPU.Processes[0], report.CPU.Processes[1]; a.PID == b.PID || a.PID == os.Getpid() {
			t.Errorf("%s: the processes %+v and %+v should be two others", test, a, b)
		}
	}
}

func TestRunnerSaysWhichProcessFailedAndWhy(t *testing.T) {
	_, err := newTestRunner(t, "broken", Free).Measure(t.Context(), "kernel", short(RR, 1, 1))
	want := "measuring rr over the kernel stack: the listening program: perf is broken (exit status 1)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	_, err = newTestRunner(t, "good", Free).Measure(t.Context(), "user", short(RR, 1, 1))
	if err == nil || !strings.Contains(err.Error(), "no connection servers have been started") {
		t.Errorf("without servers: %v", err)
	}
	err = newTestRunner(t, "broken", Free).StartHosts(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the connection server of 10.1.0.1: server is broken") {
		t.Errorf("a broken server: %v", err)
	}
}

func TestRunnerCloseLeavesNothingBehind(t *testing.T) {
	r, err := NewRunner(testCommand("good"), Options{Placement: Free})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.StartHosts(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := r.Hosts().dir
	children := directChildren(t)
	if len(children) < 2 {
		t.Errorf("children %v: want two connection servers", children)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
}

func TestRunnerEndsWithItsContext(t *testing.T) {
	r := newTestRunner(t, "good", Free)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	setup := short(Stream, 1024, 1)
	setup.Time = time.Minute
	began := time.Now()
	if _, err := r.Measure(ctx, "kernel", setup); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if took := time.Since(began); took > time.Minute/2 {
		t.Errorf("took %v", took)
	}
	if left := directChildren(t); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestTransferBetweenTwoProcesses(t *testing.T) {
	r := newTestRunner(t, "good", Free)
	if err := r.StartHosts(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte("usertcp\n"), 1<<17), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := r.Transfer(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if report.Octets != 1<<20 || len(report.SHA256) != 64 || report.Mbit() <= 0 {
		t.Errorf("report %+v", report)
	}
	_, err = r.Transfer(t.Context(), path+".missing")
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestPlacement(t *testing.T) {
	cases := []struct {
		p       Placement
		allowed []int
		want    sides
		fails   string
	}{
		{Free, []int{0, 1}, sides{}, ""},
		{Same, []int{3, 4}, sides{"3", "3"}, ""},
		{Split, []int{3, 4, 5}, sides{"3", "4"}, ""},
		{Split, []int{3}, sides{}, "placement split needs two CPUs, and this process may use 1"},
		{"near", []int{0}, sides{}, `unknown placement "near" (there are: same, split, free)`},
	}
	for _, c := range cases {
		got, err := c.p.among(c.allowed)
		if c.fails != "" {
			if err == nil || err.Error() != c.fails {
				t.Errorf("%s of %v: error %v, want %q", c.p, c.allowed, err, c.fails)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s of %v = %+v, %v; want %+v", c.p, c.allowed, got, err, c.want)
		}
	}
	if _, err := NewRunner(testCommand("good"), Options{Placement: "near"}); err == nil {
		t.Error("a runner took an unknown placement")
	}
}

// Shards are for programs over user-space TCP only.
func TestRunnerTellsOfShards(t *testing.T) {
	r, err := NewRunner(testCommand("good"), Options{Placement: Free, Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if f := r.flags("user"); !slices.Equal(f, []string{"-stack", "user", "-shards", "2"}) {
		t.Errorf("user: %v", f)
	}
	if f := r.flags("kernel"); !slices.Equal(f, []string{"-stack", "kernel"}) {
		t.Errorf("kernel: %v", f)
	}
	for n, want := range map[int]string{0: "", 1: "", 2: "Each program over user-space TCP has 2 shards.\n"} {
		if got := shardsName(n); got != want {
			t.Errorf("%d shards: %q", n, got)
		}
	}
}
