package main

import (
	"strings"
	"testing"

	"usertcp/internal/perf"
)

// On a machine with far more to do than it can, a measurement of 100 ms had no
// transaction at all, and printing its latency ended in a panic.
func TestOutcomeWithoutTransactions(t *testing.T) {
	var b strings.Builder
	printOutcome(&b, &perf.Outcome{
		Test:      perf.CRR,
		Latency:   &perf.PerStack[*perf.Latency]{Kernel: &perf.Latency{P50: 12.5}},
		CPUPerOps: &perf.PerStack[float64]{},
	})
	if s := b.String(); !strings.Contains(s, "user                   a measurement without a transaction\n") || !strings.Contains(s, "12.5") {
		t.Error(s)
	}
}
