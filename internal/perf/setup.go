package perf

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Test names what the data connections do.
type Test string

const (
	Stream Test = "stream" // the client sends as fast as it can
	Maerts Test = "maerts" // the server sends as fast as it can
	RR     Test = "rr"     // request and response over connections that stay
	CRR    Test = "crr"    // connect, request, response, close
	HTTP   Test = "http"   // requests over HTTP/1.1 connections that stay
)

// Tests lists all tests.
var Tests = []Test{Stream, Maerts, RR, CRR, HTTP}

// Bulk reports whether the test moves data one way as fast as it can; otherwise
// it counts transactions.
func (t Test) Bulk() bool { return t == Stream || t == Maerts }

// keeps reports whether the data connections are opened before the test begins, one
// for each worker, and stay.
func (t Test) keeps() bool { return t != CRR && t != HTTP }

// Unit is that of the test's rate.
func (t Test) Unit() string {
	if t.Bulk() {
		return "Mbit/s"
	}
	return "transactions/s"
}

// Setup describes one measurement.
type Setup struct {
	Test   Test          `json:"test"`
	Size   int           `json:"size"`      // octets of one message: of each Write, request and response; http: of a response's body
	Conns  int           `json:"conns"`     // data connections at the same time
	Time   time.Duration `json:"time_ns"`   // measured time
	Warmup time.Duration `json:"warmup_ns"` // before it, not counted

	// CountCalls has all system calls counted, which slows them down.
	CountCalls bool `json:"count_calls,omitempty"`
	// NoDelay leaves Nagle's algorithm off in stream and maerts, as package net has
	// it; otherwise it is on there. It is off in the other tests.
	NoDelay bool `json:"no_delay,omitempty"`
}

// Limits of a Setup: a stranger's must not make the server allocate or wait
// without a bound.
const (
	MaxSize  = 16 << 20
	MaxConns = 1024
	MaxTime  = time.Hour
	minTime  = 10 * time.Millisecond
)

// DefaultWarmup lets congestion windows, buffers and CPU clocks open up.
const DefaultWarmup = 200 * time.Millisecond

// Check reports the first thing that is wrong with the setup.
func (s *Setup) Check() error {
	switch {
	case !slices.Contains(Tests, s.Test):
		return fmt.Errorf("unknown test %q (there are: %s)", s.Test, testNames())
	case s.Size < 1 || s.Size > MaxSize:
		return fmt.Errorf("size %d is not between 1 and %d octets", s.Size, MaxSize)
	case s.Conns < 1 || s.Conns > MaxConns:
		return fmt.Errorf("%d connections are not between 1 and %d", s.Conns, MaxConns)
	case s.Time < minTime || s.Time > MaxTime:
		return fmt.Errorf("time %v is not between %v and %v", s.Time, minTime, MaxTime)
	case s.Warmup < 0 || s.Warmup > MaxTime:
		return fmt.Errorf("warm-up time %v is not between 0 and %v", s.Warmup, MaxTime)
	}
	return nil
}

// testNames lists the tests for an error's text.
func testNames() string {
	names := make([]string, len(Tests))
	for i, t := range Tests {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

// slack is how long a sender goes on after its own measured time, so that the
// receiver, who started a moment later, is busy to the end of its own.
const slack = 100 * time.Millisecond

// patience bounds every single wait besides the measurement itself, and startPatience
// that for a process that begins or ends, which on a busy machine takes its time.
const (
	patience      = 20 * time.Second
	startPatience = time.Minute
)

// duration is how long a sender or requester works at most.
func (s *Setup) duration() time.Duration { return s.Warmup + s.Time + slack }
