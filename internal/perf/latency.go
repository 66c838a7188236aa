package perf

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is the distribution of the transactions' times, in microseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

// histogram holds times in nanoseconds.
type histogram = hdrhistogram.Histogram

// newHistogram records nanoseconds up to a minute with an error of 0.1 %, or 1 %
// where many workers need one each: 3 digits take 220 KB.
func newHistogram(workers int) *histogram {
	digits := 3
	if workers > 64 {
		digits = 2
	}
	return hdrhistogram.New(1, int64(time.Minute), digits)
}

// record adds one transaction's time. What lasts longer than a minute counts as
// a minute.
func record(h *histogram, d time.Duration) {
	// The value is within the histogram's range, which is its only error.
	_ = h.RecordValue(int64(min(max(d, 1), time.Minute)))
}

// summarize merges the workers' histograms; nil when there is nothing in them.
func summarize(histograms []*histogram) *Latency {
	all := newHistogram(1)
	for _, h := range histograms {
		all.Merge(h)
	}
	if all.TotalCount() == 0 {
		return nil
	}
	micros := func(ns int64) float64 { return float64(ns) / 1e3 }
	return &Latency{
		P50:  micros(all.ValueAtQuantile(50)),
		P99:  micros(all.ValueAtQuantile(99)),
		P999: micros(all.ValueAtQuantile(99.9)),
		Max:  micros(all.Max()),
	}
}
