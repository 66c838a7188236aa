package main

import (
	"bytes"
	"strings"
	"testing"

	"usertcp/internal/perf"
)

// outcome is a comparison with plain numbers.
func outcome(test perf.Test) *perf.Outcome {
	o := &perf.Outcome{
		Link: "ring", Test: test, Size: 64, Conns: 3, Repeat: 2, Seconds: 1.5, Spin: "off", CPUs: "split",
		User:     perf.Summary{Min: 1, Median: 2, Max: 3, Unit: test.Unit()},
		Kernel:   perf.Summary{Min: 4, Median: 5, Max: 123456, Unit: test.Unit()},
		Ratio:    perf.Summary{Min: 0.25, Median: 0.4, Max: 1.5},
		CPUPerGB: perf.PerStack[float64]{User: 0.1234, Kernel: 0.5},

		KernelShare: perf.PerStack[float64]{User: 0.25, Kernel: 0.97},
		Switches:    perf.PerStack[float64]{User: 1234.5, Kernel: 6},
		Jain:        perf.PerStack[float64]{User: 0.5, Kernel: 1},

		CongestionControl: "reno",
	}
	if test.Bulk() { // transactions: as if they could not be counted
		o.SystemCalls = &perf.PerStack[*perf.SystemCallCounts]{
			User: &perf.SystemCallCounts{PerMB: 0.125, Per1000: 8}, Kernel: &perf.SystemCallCounts{PerMB: 12.5, Per1000: 1000},
		}
	} else {
		o.Latency = &perf.PerStack[*perf.Latency]{User: &perf.Latency{P50: 1, P99: 2, P999: 3, Max: 4}, Kernel: &perf.Latency{P50: 5, P99: 6, P999: 7, Max: 8}}
		o.CPUPerOps = &perf.PerStack[float64]{User: 12, Kernel: 34}
	}
	return o
}

func TestPrintOutcomeOfBulkData(t *testing.T) {
	const want = `stream, 64-octet messages, connections: 3, link: ring

                                min       median          max
user, Mbit/s                      1            2            3
kernel, Mbit/s                    4            5       123456
ratio                          0.25         0.40         1.50

CPU seconds for each GB: user 0.123, kernel 0.500
Of them in the kernel: user 25 %, kernel 97 %
System calls for each MB: user 0.125, kernel 12.5
System calls for 1000 messages: user 8, kernel 1000
Context switches for 1000 messages: user 1234, kernel 6
Jain's fairness index: user 0.500, kernel 1.000
Medians of 2 measurements of 1.5 s for each stack, in turns.
Ratios are user to kernel, pair by pair. CPU seconds are of all measurements.
Placement: split. Spinning: off. Nagle's algorithm: on, for both.
The kernel's TCP runs over loopback, with reno and self-tuning buffers.
`
	var got bytes.Buffer
	printOutcome(&got, outcome(perf.Stream))
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}

func TestPrintOutcomeOfTransactions(t *testing.T) {
	const want = `
latency, µs                     p50          p99        p99.9          max
user                            1.0          2.0          3.0          4.0
kernel                          5.0          6.0          7.0          8.0

CPU seconds for 10^6 transactions: user 12.00, kernel 34.00
Of them in the kernel: user 25 %, kernel 97 %
Context switches for 1000 transactions: user 1234, kernel 6
Jain's fairness index: user 0.500, kernel 1.000
`
	var got bytes.Buffer
	printOutcome(&got, outcome(perf.RR))
	if !strings.Contains(got.String(), want) || !strings.Contains(got.String(), "Nagle's algorithm: off") {
		t.Errorf("got\n%s\nwant in it\n%s", &got, want)
	}
	if !strings.Contains(got.String(), "kernel, transactions/s            4 ") {
		t.Errorf("the longest unit spoils the columns:\n%s", &got)
	}
}
