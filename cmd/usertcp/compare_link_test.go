package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"usertcp/internal/nic"
	"usertcp/internal/perf"
)

// linkOutcome is a comparison of pairings with plain numbers.
func linkOutcome(test perf.Test) *perf.LinkOutcome {
	o := &perf.LinkOutcome{
		Link: "nic", Test: test, Size: 64, Offloads: "off", Conns: 3, Repeat: 2, Seconds: 1.5,
		Spin: "off", CPUs: "split", CongestionControl: "reno",
	}
	for i, p := range perf.Pairings {
		x := float64(i + 1)
		po := perf.PairingOutcome{
			Pairing: p, Rate: perf.Summary{Min: x, Median: 10 * x, Max: 123456, Unit: test.Unit()},
			CPUPerGB: x / 8, MachinePerGB: x / 4, CPUPerOps: x, MachinePerOps: 2 * x, Switches: 1234.5, Calls: 100 * x, Jain: 1,
			KernelShare: x / 8,
		}
		if i != 2 {
			po.SystemCalls = &perf.SystemCallCounts{Per1000: 10 * x, PerMB: x}
		}
		if p != perf.Baseline {
			po.Ratio = &perf.Summary{Min: 0.25, Median: x / 10, Max: 1.5}
		}
		if !test.Bulk() && i != 3 {
			po.Latency = &perf.Latency{P50: x, P99: 2 * x, P999: 3 * x, Max: 4 * x}
		}
		o.Pairings = append(o.Pairings, po)
	}
	return o
}

func TestPrintLinkOutcomeOfBulkData(t *testing.T) {
	const want = `stream, 64-octet messages, connections: 3, link: nic, offloads: off

Mbit/s                         min        median           max         ratio
kernel with kernel               1            10        123456
user with user                   2            20        123456          0.20  (0.25 to 1.50)
user with kernel                 3            30        123456          0.30  (0.25 to 1.50)
kernel with user                 4            40        123456          0.40  (0.25 to 1.50)

                          CPU s/GB    of machine  in kernel, % switches/1000    calls/1000      calls/MB
kernel with kernel           0.125         0.250            12          1234            10             1
user with user               0.250         0.500            25          1234            20             2
user with kernel             0.375         0.750            38          1234 not counted
kernel with user             0.500         1.000            50          1234            40             4

Medians of 2 measurements of 1.5 s for each pairing, in turns.
`
	var got bytes.Buffer
	printLinkOutcome(&got, linkOutcome(perf.Stream))
	if !strings.HasPrefix(got.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
	if !strings.HasSuffix(got.String(), "The kernel's TCP has reno and self-tuning buffers.\n") {
		t.Errorf("got\n%s", &got)
	}
}

func TestPrintLinkOutcomeOfTransactions(t *testing.T) {
	const want = `
latency, µs                    p50           p99         p99.9           max
kernel with kernel             1.0           2.0           3.0           4.0
user with user                 2.0           4.0           6.0           8.0
user with kernel               3.0           6.0           9.0          12.0
kernel with user     a measurement without a transaction

                        CPU s/10^6    of machine  in kernel, % switches/1000    calls/1000
kernel with kernel            1.00          2.00            12          1234            10
`
	var got bytes.Buffer
	printLinkOutcome(&got, linkOutcome(perf.CRR))
	if !strings.Contains(got.String(), want) {
		t.Errorf("got\n%s\nwant in it\n%s", &got, want)
	}
}

// served is the condition of scripts that need network devices to be served: root, a
// kernel that is new enough.
func served(condition string) (bool, error) {
	if condition != "nic" {
		return false, os.ErrInvalid
	}
	return os.Geteuid() == 0 && nic.Check() == nil, nil
}
