package perf

import "time"

// SystemCallCounts is what one measurement found that counted system calls. It is one
// of its own: counting makes them slower.
type SystemCallCounts struct {
	PerMB   float64 `json:"per_mb,omitempty"` // for 10^6 octets, of bulk data
	Per1000 float64 `json:"per_1000"`         // messages or transactions
}

// maxCounted bounds the time of a measurement that counts: the counts for each message
// need no long one.
const maxCounted = 300 * time.Millisecond

// counting is the setup of a measurement that counts.
func (s Setup) counting() Setup {
	s.CountCalls = true
	s.Time = min(s.Time, maxCounted)
	return s
}

// counts is nil where the system calls could not be counted.
func (r *Report) counts() *SystemCallCounts {
	if r.Uncounted != "" {
		return nil
	}
	c := &SystemCallCounts{Per1000: r.SystemCallsPer1000()}
	if r.Test.Bulk() {
		c.PerMB = r.SystemCallsPerMB()
	}
	return c
}
