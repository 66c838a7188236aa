package perf

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSetupCheck(t *testing.T) {
	good := Setup{Test: RR, Size: 1, Conns: 1, Time: time.Second}
	if err := good.Check(); err != nil {
		t.Errorf("a good setup: %v", err)
	}
	bad := map[string]func(*Setup){
		`unknown test "x" (there are: stream, maerts, rr, crr, http)`: func(s *Setup) { s.Test = "x" },
		"size 0 is not":              func(s *Setup) { s.Size = 0 },
		"size -1 is not":             func(s *Setup) { s.Size = -1 },
		"size 16777217 is not":       func(s *Setup) { s.Size = MaxSize + 1 },
		"0 connections are not":      func(s *Setup) { s.Conns = 0 },
		"1025 connections are not":   func(s *Setup) { s.Conns = MaxConns + 1 },
		"time 1ms is not":            func(s *Setup) { s.Time = time.Millisecond },
		"time 2h0m0s is not":         func(s *Setup) { s.Time = 2 * time.Hour },
		"warm-up time -1s is not":    func(s *Setup) { s.Warmup = -time.Second },
		"warm-up time 2h0m0s is not": func(s *Setup) { s.Warmup = 2 * time.Hour },
	}
	for want, spoil := range bad {
		s := good
		spoil(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestNewStack(t *testing.T) {
	for _, name := range StackNames {
		if st, err := NewStack(name, Tuning{}); err != nil || st.Name() != name {
			t.Errorf("NewStack(%q) = %v, %v", name, st, err)
		}
	}
	if _, err := NewStack("lwip", Tuning{}); err == nil || !strings.Contains(err.Error(), `unknown stack "lwip"`) {
		t.Errorf("error %v", err)
	}
}

func TestKernelStackIsNotPaced(t *testing.T) {
	l, err := newKernelStack().Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := newKernelStack().Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for side, conn := range map[string]net.Conn{"dialled": dialled, "accepted": accepted} {
		if name := congestionControl(conn); name != "cubic" && name != "reno" {
			t.Errorf("the %s connection uses %s", side, name)
		}
	}
}

func TestOnlyTheKernelsConnectionsHaveItsCongestionControl(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	if name := congestionControl(a); name != "" {
		t.Errorf("a pipe uses %q", name)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := newKernelStack().Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	conn.Close()
	if name := congestionControl(conn); name != "" {
		t.Errorf("a closed connection uses %q", name)
	}
}

func TestKernelStackErrorsAreNets(t *testing.T) {
	l, err := newKernelStack().Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newKernelStack().Listen(t.Context(), l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
	l.Close()
	if _, err := newKernelStack().Dial(t.Context(), l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling nobody: %v", err)
	}
}

func TestCrewFailsOnceAndClosesAll(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	c := newCrew(time.Minute, nil)
	a, b := net.Pipe()
	defer b.Close()
	if err := c.adopt(a); err != nil {
		t.Fatal(err)
	}
	c.hire(func() error { _, err := a.Read(make([]byte, 1)); return errors.Join(second, err) })
	c.fail(first)
	if err := c.wait(); err != first || !c.stop.Load() {
		t.Errorf("error %v, stopped %v; want the first error, and stopped", err, c.stop.Load())
	}
	late, _ := net.Pipe()
	if err := c.adopt(late); err != first {
		t.Errorf("a late connection: %v, want the first error", err)
	}
	if _, err := late.Write([]byte{1}); err == nil {
		t.Error("a late connection was left open")
	}
}

func TestCrewFailsWithItsContext(t *testing.T) {
	reason := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := newCrew(time.Minute, nil)
	defer c.watch(ctx)()
	cancel(reason)
	<-c.failed
	if err := c.wait(); err != reason {
		t.Errorf("error %v, want the context's cause", err)
	}
}

func TestCrewReleaseForgets(t *testing.T) {
	c := newCrew(time.Minute, nil)
	a, _ := net.Pipe()
	b, _ := net.Pipe()
	c.adopt(a)
	c.adopt(b)
	c.release(a)
	if len(c.conns) != 1 || c.conns[0] != b {
		t.Errorf("%d connections are left, want the other one", len(c.conns))
	}
	c.closeAll()
	if _, err := b.Write([]byte{1}); err == nil || len(c.conns) != 0 {
		t.Error("closeAll left a connection open")
	}
}

func TestWindowIsTheDifferenceOfTwoReadings(t *testing.T) {
	t0 := time.Unix(100, 0)
	before := reading{at: t0, counts: []int64{10, 0}, machine: time.Second, processes: []ProcessCPU{{"client", "program", 1, 5, 100, 1000, 0, 0}}}
	after := reading{at: t0.Add(2 * time.Second), counts: []int64{60, 50}, machine: 4 * time.Second, processes: []ProcessCPU{
		{"client", "program", 1, 6.5, 140, 1500, 0, 0}, {"client", "child", 2, 0.25, 7, 30, 0, 0}}}
	w := before.until(after)
	if w.Seconds != 2 || w.Count != 100 || w.Machine != 3 || w.Jain != 1 {
		t.Errorf("window %+v", w)
	}
	if len(w.Processes) != 2 || w.Processes[0].Seconds != 1.5 || w.Processes[1].Seconds != 0.25 {
		t.Errorf("processes %+v: want 1.5 s, and all of the child's 0.25 s", w.Processes)
	}
	if w.Processes[0].Switches != 40 || w.Processes[1].Switches != 7 {
		t.Errorf("processes %+v: want 40 and 7 context switches", w.Processes)
	}
	if w.Processes[0].Calls != 500 || w.Processes[1].Calls != 30 {
		t.Errorf("processes %+v: want 500 and 30 reads and writes", w.Processes)
	}
}

func TestJain(t *testing.T) {
	for _, tc := range []struct {
		shares []float64
		want   float64
	}{{nil, 1}, {[]float64{0, 0}, 1}, {[]float64{5}, 1}, {[]float64{3, 3, 3}, 1}, {[]float64{4, 0, 0, 0}, 0.25}, {[]float64{1, 3}, 0.8}} {
		if got := jain(tc.shares); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.shares, got, tc.want)
		}
	}
}

func TestSummary(t *testing.T) {
	all := newRecorder()
	if got := all.summary(); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
	a, b := samples{to: all}, samples{to: all}
	for range 990 {
		a.add(10 * time.Microsecond)
	}
	for range 10 {
		b.add(time.Hour) // counts as a minute
	}
	a.flush()
	b.flush()
	got := all.summary()
	if got == nil || got.P50 < 9.9 || got.P50 > 10.1 || got.P99 > 10.1 || got.P999 < 5.9e7 || got.Max < 5.9e7 {
		t.Errorf("%+v, want a median of 10 µs and a maximum of a minute", got)
	}
	a.add(-1)
	a.flush()
	if n := all.all.TotalCount(); n != 1001 || all.all.Min() > 1 {
		t.Errorf("%d times, and of a clock that goes backwards: %d", n, all.all.Min())
	}
}

// What workers have not put to the others' yet is in the report.
func TestReportHasTheLastLatencies(t *testing.T) {
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	setup := setupOf(1)
	setup.Test = RR
	test := &clientTest{
		Client: &Client{alone}, ctl: newControl(conn), setup: setup,
		crew: newCrew(time.Minute, nil), meter: newMeter("client", 1, alone), recorder: newRecorder(),
	}
	test.newRequester(0).times.add(10 * time.Microsecond)
	if got := test.report(window{Seconds: 1, Count: 1}, window{}).Latency; got == nil || got.Max < 9.9 || got.Max > 10.1 {
		t.Errorf("latencies %+v, want one of 10 µs", got)
	}
}

func TestReportUnits(t *testing.T) {
	bulk := newReport("user", &Setup{Test: Maerts, Size: 10, Conns: 1}, window{Seconds: 2, Count: 1e9})
	bulk.CPU.Processes = []ProcessCPU{{Seconds: 1}, {Seconds: 2}}
	if bulk.Rate != 4000 || bulk.Gigabytes() != 1 || bulk.CPUPerGB() != 3 {
		t.Errorf("bulk: %v %s, %v GB, %v s/GB", bulk.Rate, bulk.Unit, bulk.Gigabytes(), bulk.CPUPerGB())
	}
	bulk.CPU.Machine, bulk.CPU.Processes[1].Calls = 5, 4e8
	if bulk.MachinePerGB() != 5 || bulk.CallsPer1000() != 4000 {
		t.Errorf("bulk: %v s/GB of the machine, %v calls for 1000 messages", bulk.MachinePerGB(), bulk.CallsPer1000())
	}
	rr := newReport("user", &Setup{Test: RR, Size: 1000, Conns: 1}, window{Seconds: 2, Count: 1e6})
	if rr.Rate != 5e5 || rr.Gigabytes() != 2 {
		t.Errorf("rr: %v %s, %v GB", rr.Rate, rr.Unit, rr.Gigabytes())
	}
	rr.CPU = CPUReport{Machine: 3, Processes: []ProcessCPU{{Calls: 4e6}}}
	if rr.MachinePerMillion() != 3 || rr.CallsPer1000() != 4000 {
		t.Errorf("rr: %v s for 10^6, %v calls for 1000", rr.MachinePerMillion(), rr.CallsPer1000())
	}
	if web := newReport("user", &Setup{Test: HTTP, Size: 1000}, window{Seconds: 2, Count: 1e6}); web.Gigabytes() != 1 || web.Rate != 5e5 {
		t.Errorf("http: %v GB, %v %s; want the bodies alone", web.Gigabytes(), web.Rate, web.Unit)
	}
	if (&Report{Test: RR}).CPUPerGB() != 0 {
		t.Error("a report of nothing divides by zero")
	}
}
