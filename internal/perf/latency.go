package perf

import (
	"sync"
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

// recorder holds the times of all workers' transactions.
type recorder struct {
	mu  sync.Mutex
	all *hdrhistogram.Histogram // nanoseconds
}

// newRecorder holds times up to a minute with an error of 0.1 %.
func newRecorder() *recorder {
	return &recorder{all: hdrhistogram.New(1, int64(time.Minute), 3)}
}

// samples are times that a worker has not yet put to all the others'. A histogram for
// each would be simpler, but of 64 of them a test touches half a megabyte, again and
// again, and measures that the second-level cache is full.
type samples struct {
	to   *recorder
	n    int
	list [32]time.Duration
}

// add adds one transaction's time. What lasts longer than a minute counts as a minute.
func (s *samples) add(d time.Duration) {
	s.list[s.n] = min(max(d, 1), time.Minute)
	if s.n++; s.n == len(s.list) {
		s.flush()
	}
}

// flush puts all there are to the others'.
func (s *samples) flush() {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	for _, d := range s.list[:s.n] {
		// The time is within the histogram's range, which is its only error.
		_ = s.to.all.RecordValue(int64(d))
	}
	s.n = 0
}

// summary returns nil when there are none.
func (r *recorder) summary() *Latency {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all.TotalCount() == 0 {
		return nil
	}
	micros := func(ns int64) float64 { return float64(ns) / 1e3 }
	return &Latency{
		P50:  micros(r.all.ValueAtQuantile(50)),
		P99:  micros(r.all.ValueAtQuantile(99)),
		P999: micros(r.all.ValueAtQuantile(99.9)),
		Max:  micros(r.all.Max()),
	}
}
