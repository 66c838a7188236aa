package perf

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"usertcp/internal/perf/proc"
)

// directChildren returns the processes that this test binary has started and
// that have not been reaped.
func directChildren(t *testing.T) []int {
	t.Helper()
	pids, err := proc.Children(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func TestMedian(t *testing.T) {
	cases := []struct {
		in   []float64
		want float64
	}{
		{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 3}, 2.5},
	}
	for _, c := range cases {
		before := slices.Clone(c.in)
		if got := Median(c.in); got != c.want || !slices.Equal(before, c.in) {
			t.Errorf("Median(%v) = %v, want %v and its argument as it was: %v", before, got, c.want, c.in)
		}
	}
}

func TestSummarizeValues(t *testing.T) {
	if got := Summarize([]float64{3, 1, 8}, "x"); got != (Summary{1, 3, 8, "x"}) {
		t.Errorf("%+v", got)
	}
	if got := Summarize(nil, "x"); got != (Summary{Unit: "x"}) {
		t.Errorf("of nothing: %+v", got)
	}
	if got := quotient(1, 0); got != 0 || math.IsInf(got, 0) {
		t.Errorf("1/0 = %v", got)
	}
}

// scripted is a measurer that returns prepared reports and keeps their order.
type scripted struct {
	rates map[string][]float64
	order []string
	fail  int // at which call; 0 is never
}

func (s *scripted) Measure(_ context.Context, stack string, setup Setup) (*Report, error) {
	s.order = append(s.order, stack)
	if len(s.order) == s.fail {
		return nil, errors.New("scripted failure")
	}
	if setup.CountCalls {
		return countedReport(stack, setup), nil
	}
	rate := s.rates[stack][0]
	s.rates[stack] = s.rates[stack][1:]
	r := &Report{Stack: stack, Test: setup.Test, Size: setup.Size, Rate: rate, Unit: setup.Test.Unit(), Count: int64(rate)}
	if stack == "kernel" {
		r.CongestionControl = "cubic"
	}
	if !setup.Test.Bulk() {
		r.Latency = &Latency{P50: 1e6 / rate, P99: 2e6 / rate, P999: 3e6 / rate, Max: 4e6 / rate}
	}
	r.CPU = CPUReport{Machine: 3, Processes: []ProcessCPU{{"client", "program", 1, 1, 1, 4, 0, 0}, {"server", "program", 2, 0.5, 2, 6, 0, 0}}}
	if stack == "user" {
		r.CPU.Processes = append(r.CPU.Processes, ProcessCPU{"server", "child", len(s.order), 0.25, 3, 10, 0, 0})
	}
	return r, nil
}

func TestCompareTakesTurnsAndDividesPairByPair(t *testing.T) {
	m := &scripted{rates: map[string][]float64{"user": {30, 10, 40}, "kernel": {10, 10, 20}}}
	var told int
	o, err := Compare(t.Context(), m, Comparison{Setup: Setup{Test: RR, Size: 8, Conns: 1, Time: time.Second}, Repeat: 3}, func(*Report) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.order, " "); got != "user kernel user kernel user kernel" || told != 6 {
		t.Errorf("order %q, told %d times", got, told)
	}
	if o.User != (Summary{10, 30, 40, "transactions/s"}) || o.Kernel != (Summary{10, 10, 20, "transactions/s"}) {
		t.Errorf("user %+v, kernel %+v", o.User, o.Kernel)
	}
	if o.Ratio != (Summary{1, 2, 3, ""}) {
		t.Errorf("ratio %+v: want that of the pairs 3, 1, 2", o.Ratio)
	}
	if o.Switches.User != 200 || o.Switches.Kernel != 300 { // medians of 6 for 30, 10, 40 and 3 for 10, 10, 20
		t.Errorf("context switches for 1000 transactions: %+v", o.Switches)
	}
	if want := []PairRates{{30, 10, 3}, {10, 10, 1}, {40, 20, 2}}; !slices.Equal(o.Pairs, want) {
		t.Errorf("pairs %v", o.Pairs)
	}
	wantShares := []ProcessShare{{"client", "program", 3}, {"server", "program", 1.5}, {"server", "child", 0.75}}
	if !slices.Equal(o.CPUSeconds.User, wantShares) || o.Machine.Kernel != 9 {
		t.Errorf("shares %v, machine %v", o.CPUSeconds.User, o.Machine)
	}
	if o.Latency.Kernel.Max != 4e5 || o.Latency.Kernel.P50 != 1e5 || o.CPUPerOps.Kernel != 1.5e5 {
		t.Errorf("latency %+v, CPU for 10^6 transactions %+v", o.Latency.Kernel, o.CPUPerOps)
	}
}

func TestCompareFails(t *testing.T) {
	good := Comparison{Setup: Setup{Test: Stream, Size: 8, Conns: 1, Time: time.Second}, Repeat: 2}
	_, err := Compare(t.Context(), &scripted{fail: 1}, good, nil)
	if err == nil || err.Error() != "scripted failure" {
		t.Errorf("error %v", err)
	}
	bad := good
	bad.Repeat = 0
	if _, err := Compare(t.Context(), &scripted{}, bad, nil); err == nil {
		t.Error("no repetitions were accepted")
	}
	bad = good
	bad.Size = 0
	if _, err := Compare(t.Context(), &scripted{}, bad, nil); err == nil {
		t.Error("size 0 was accepted")
	}
}

func TestOutcomeBeginsWithTheAgreedMembers(t *testing.T) {
	m := &scripted{rates: map[string][]float64{"user": {20}, "kernel": {10}}}
	o, err := Compare(t.Context(), m, Comparison{Setup: Setup{Test: Stream, Size: 65536, Conns: 1, Time: time.Second}, Repeat: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"link":"ring","test":"stream","size":65536,` +
		`"user":{"min":20,"median":20,"max":20,"unit":"Mbit/s"},"kernel":{"min":10,"median":10,"max":10,"unit":"Mbit/s"},` +
		`"ratio":{"min":2,"median":2,"max":2},"cpu_per_gb":{"user":`
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("got  %s\nwant %s…", b, want)
	}
	if strings.Contains(string(b), "latency_us") {
		t.Error("a bulk test has latencies")
	}
	if how := o.How(); !strings.Contains(how, "1 measurement of 1 s") || !strings.Contains(how, "with cubic and") {
		t.Errorf("how: %s", how)
	}
}
