package perf

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// scriptedPairs is a pairMeasurer with a rate for each pairing, which doubles from
// turn to turn.
type scriptedPairs struct {
	rates map[Pairing]float64
	order []string
	fail  int // at which call; 0 is never
}

func (s *scriptedPairs) MeasurePair(_ context.Context, p Pairing, setup Setup) (*Report, error) {
	s.order = append(s.order, p.String())
	if len(s.order) == s.fail {
		return nil, errors.New("scripted failure")
	}
	if setup.CountCalls {
		return countedReport(p.Client, setup), nil
	}
	rate := s.rates[p]
	s.rates[p] *= 2
	r := &Report{Stack: p.Client, Peer: p.Server, Test: setup.Test, Size: setup.Size, Rate: rate, Unit: setup.Test.Unit(), Count: 1e9, Jain: 1}
	if p == Baseline {
		r.CongestionControl = "cubic"
	}
	if !setup.Test.Bulk() {
		r.Latency = &Latency{P50: 1e6 / rate, P99: 2e6 / rate, P999: 3e6 / rate, Max: 4e6 / rate}
	}
	r.CPU = CPUReport{Machine: 5, Processes: []ProcessCPU{{"client", "program", 1, 1, 1, 4, 0, 0}, {"server", "program", 2, 0.5, 2, 6, 0, 0}}}
	if p.Server == "user" {
		r.CPU.Processes = append(r.CPU.Processes, ProcessCPU{"server", "child", 3, 0.25, 3, 10, 0, 0})
	}
	return r, nil
}

func pairRates() map[Pairing]float64 {
	return map[Pairing]float64{Baseline: 10, Alike("user"): 20, {"user", "kernel"}: 5, {"kernel", "user"}: 8}
}

func TestCompareLinkTakesTurnsAndDividesByTheBaseline(t *testing.T) {
	m := &scriptedPairs{rates: pairRates()}
	var told []string
	o, err := CompareLink(t.Context(), m, Comparison{Setup: Setup{Test: Stream, Size: 1000, Conns: 1, Time: time.Second}, Repeat: 2},
		func(p Pairing, r *Report) { told = append(told, p.String()) })
	if err != nil {
		t.Fatal(err)
	}
	turn := []string{"kernel with kernel", "user with user", "user with kernel", "kernel with user"}
	if want := slices.Concat(turn, turn); !slices.Equal(m.order, want) || !slices.Equal(told, want) {
		t.Errorf("order %q, told %q", m.order, told)
	}
	if len(o.Pairings) != 4 || o.Pairings[0].Pairing != Baseline || o.Pairings[0].Ratio != nil {
		t.Fatalf("pairings %+v: want the baseline first, without a ratio", o.Pairings)
	}
	u, k := o.Pairings[1], o.Pairings[3]
	if u.Rate != (Summary{20, 30, 40, "Mbit/s"}) || *u.Ratio != (Summary{2, 2, 2, ""}) || !slices.Equal(u.Rates, []float64{20, 40}) {
		t.Errorf("user with user %+v", u)
	}
	if k.Ratio.Median != 0.8 || !slices.Equal(k.Ratios, []float64{0.8, 0.8}) {
		t.Errorf("kernel with user: ratios %v", k.Ratios)
	}
	if o.Pairings[2].CPUPerGB != 1.5 || k.CPUPerGB != 1.75 || k.MachinePerGB != 5 || k.Machine != 10 {
		t.Errorf("CPU seconds: %+v", k)
	}
	if k.Switches != 0.006 || k.Calls != 0.02 || u.Jain != 1 { // 6 and 20 for 10^6 messages
		t.Errorf("switches %v, calls %v, fairness %v", k.Switches, k.Calls, u.Jain)
	}
	if k.Latency != nil || k.CPUPerOps != 0 || o.CongestionControl != "cubic" {
		t.Errorf("latency of a bulk test %v, congestion control %q", k.Latency, o.CongestionControl)
	}
	wantShares := []ProcessShare{{"client", "program", 2}, {"server", "program", 1}, {"server", "child", 0.5}}
	if !slices.Equal(k.CPUSeconds, wantShares) {
		t.Errorf("shares %v", k.CPUSeconds)
	}
}

func TestCompareLinkOfTransactions(t *testing.T) {
	o, err := CompareLink(t.Context(), &scriptedPairs{rates: pairRates()}, Comparison{Setup: Setup{Test: RR, Size: 1, Conns: 1, Time: time.Second}, Repeat: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := o.Pairings[1]; p.Latency.P50 != 5e4 || p.CPUPerOps != 0.00175 || p.MachinePerOps != 0.005 {
		t.Errorf("%+v, latency %+v", p, p.Latency)
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"link":"nic","test":"rr","size":1,"offloads":"on","pairings":[{"client":"kernel","server":"kernel",` +
		`"rate":{"min":10,"median":10,"max":10,"unit":"transactions/s"},"cpu_per_gb":`
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("got  %s\nwant %s…", b, want)
	}
	if how := o.How(); !strings.Contains(how, "1 measurement of 1 s") || !strings.Contains(how, "Nagle's algorithm: off") {
		t.Errorf("how: %s", how)
	}
}

func TestCompareLinkFails(t *testing.T) {
	good := Comparison{Setup: Setup{Test: Stream, Size: 8, Conns: 1, Time: time.Second}, Repeat: 2}
	for _, at := range []int{1, 6} {
		_, err := CompareLink(t.Context(), &scriptedPairs{rates: pairRates(), fail: at}, good, nil)
		if err == nil || err.Error() != "scripted failure" {
			t.Errorf("failure at call %d: %v", at, err)
		}
	}
	bad := good
	bad.Repeat = 0
	if _, err := CompareLink(t.Context(), &scriptedPairs{}, bad, nil); err == nil {
		t.Error("no repetitions were accepted")
	}
}
