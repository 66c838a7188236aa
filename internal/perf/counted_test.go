package perf

import (
	"encoding/json"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// countedReport is that of a measurement of 1,000 messages or transactions that counts
// system calls: 20 of the client's, 10 of the server's, from user space twice as many.
func countedReport(stack string, s Setup) *Report {
	r := &Report{Stack: stack, Test: s.Test, Size: s.Size, Count: 1000, Seconds: s.Time.Seconds()}
	if s.Test.Bulk() {
		r.Count *= int64(s.Size)
	}
	n := int64(10)
	if stack == "user" {
		n = 20
	}
	r.CPU.Processes = []ProcessCPU{{Side: "client", SystemCalls: 2 * n}, {Side: "server", SystemCalls: n}}
	return r
}

func TestSystemCallsAreCountedApart(t *testing.T) {
	m := &scripted{rates: map[string][]float64{"user": {30}, "kernel": {10}}}
	setup := Setup{Test: Stream, Size: 1000, Conns: 1, Time: time.Second}
	o, err := Compare(t.Context(), m, Comparison{Setup: setup, Repeat: 1, Counted: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.User.Median != 30 || len(o.Pairs) != 1 || len(m.order) != 4 {
		t.Errorf("%d measurements, %+v: want two more, which do not count", len(m.order), o.Pairs)
	}
	if c := o.SystemCalls; c == nil || *c.User != (SystemCallCounts{60, 60}) || *c.Kernel != (SystemCallCounts{30, 30}) {
		t.Errorf("counts %+v", c) // 1,000 messages are 10^6 octets
	}
	setup.Test, setup.Size = RR, 1
	l, err := CompareLink(t.Context(), &scriptedPairs{rates: pairRates()}, Comparison{Setup: setup, Repeat: 1, Counted: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c := l.Pairings[1].SystemCalls; c == nil || *c != (SystemCallCounts{0, 60}) || l.Pairings[1].Rate.Median != 20 {
		t.Errorf("counts %+v, rate %v", c, l.Pairings[1].Rate)
	}
}

func TestSystemCallsThatWereNotCountedAreNotShown(t *testing.T) {
	r := countedReport("user", Setup{Test: RR, Size: 1})
	r.Uncounted = "permission denied"
	if c := r.counts(); c != nil {
		t.Errorf("counts %+v", c)
	}
	m := &scripted{rates: map[string][]float64{"user": {30}, "kernel": {10}}}
	o, err := Compare(t.Context(), m, Comparison{Setup: Setup{Test: RR, Size: 1, Conns: 1, Time: time.Second}, Repeat: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := json.Marshal(o); strings.Contains(string(b), "system_calls") {
		t.Errorf("counts that nobody asked for: %s", b)
	}
}

func TestCountingTakesLittleTime(t *testing.T) {
	s := Setup{Time: time.Minute}
	if c := s.counting(); c.Time > time.Second || !c.CountCalls || s.CountCalls {
		t.Errorf("%+v of %+v", c, s)
	}
	s.Time = 20 * time.Millisecond
	if c := s.counting(); c.Time != s.Time {
		t.Errorf("%v, want no longer than was asked for", c.Time)
	}
}

func TestLinkMeasuresThePairingsAskedFor(t *testing.T) {
	m := &scriptedPairs{rates: pairRates()}
	c := Comparison{Setup: Setup{Test: RR, Size: 1, Conns: 1, Time: time.Second}, Repeat: 2, Pairings: []Pairing{Alike("user")}}
	o, err := CompareLink(t.Context(), m, c, nil)
	if err != nil || len(o.Pairings) != 2 {
		t.Fatalf("%+v, %v", o, err)
	}
	turn := []string{"kernel with kernel", "user with user"}
	if want := slices.Concat(turn, turn); !slices.Equal(m.order, want) {
		t.Errorf("order %q", m.order)
	}
}

func TestCountsOverTheKernelStack(t *testing.T) {
	addr := serve(t, &Server{Stack: newKernelStack()})
	setup := short(RR, 1, 1)
	setup.CountCalls = true
	r, err := (&Client{newKernelStack()}).Run(t.Context(), addr, setup)
	if err != nil {
		t.Fatal(err)
	}
	if r.Uncounted != "" {
		t.Skipf("system calls can't be counted here: %s", r.Uncounted)
	}
	// Both sides are this process: a read and a write of each, at least, which both
	// count.
	if n := r.SystemCallsPer1000(); n < 6000 || n > 200_000 {
		t.Errorf("%v system calls for 1000 transactions", n)
	}
	if share := r.KernelShare(); share <= 0 || share > 1.1 {
		t.Errorf("%v of the time in the kernel", share)
	}
}

func TestNagleIsOffIfAsked(t *testing.T) {
	client, server := net.Pipe()
	go io.Copy(io.Discard, server)
	conn := &nagler{Conn: client}
	c := newCrew(time.Minute, nil)
	c.stop.Store(true)
	s := setupOf(1)
	s.NoDelay = true
	if err := c.sendMessages(s, conn, new(counter)); err != nil || len(conn.asked) != 0 {
		t.Errorf("error %v, SetNoDelay called with %v", err, conn.asked)
	}
}
