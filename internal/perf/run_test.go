package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve starts a Server over the kernel's stack and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	l, err := s.Stack.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("the server did not end with its context")
		}
	})
	return l.Addr().String()
}

// short is a setup that takes little time.
func short(test Test, size, conns int) Setup {
	return Setup{Test: test, Size: size, Conns: conns, Time: 150 * time.Millisecond, Warmup: 30 * time.Millisecond}
}

func TestEachTestOverTheKernelStack(t *testing.T) {
	addr := serve(t, &Server{Stack: newKernelStack()})
	cases := []Setup{
		short(Stream, 65536, 1),
		short(Stream, 64, 3),
		short(Maerts, 16384, 2),
		short(RR, 1, 1),
		short(RR, 100_000, 4),
		short(CRR, 1, 1),
		short(CRR, 128, 4),
		short(HTTP, 1, 1),
		short(HTTP, 100_000, 4),
	}
	for _, setup := range cases {
		wantReport(t, setup, func(s Setup) (*Report, error) {
			return (&Client{newKernelStack()}).Run(t.Context(), addr, s)
		})
	}
}

// wantReport measures, and for longer where nothing could be counted: on a machine that has
// other work nobody's turn may come in a tenth of a second. The report is nil if that fails.
func wantReport(t *testing.T, s Setup, measure func(Setup) (*Report, error)) *Report {
	t.Helper()
	for {
		r, err := measure(s)
		switch {
		case err != nil:
			t.Errorf("%+v: %v", s, err)
			return nil
		case r.Count == 0 && s.Time < 5*time.Second:
			s.Time *= 4
		default:
			checkReport(t, s, r)
			return r
		}
	}
}

// checkReport looks for what every measurement must show.
func checkReport(t *testing.T, s Setup, r *Report) {
	t.Helper()
	if r.Stack != "kernel" || r.Test != s.Test || r.Size != s.Size || r.Conns != s.Conns || r.Unit != s.Test.Unit() {
		t.Errorf("%+v: the report is of something else: %+v", s, r)
	}
	if r.CongestionControl != "cubic" && r.CongestionControl != "reno" {
		t.Errorf("%+v: congestion control %q", s, r.CongestionControl)
	}
	if r.Count <= 0 || r.Rate <= 0 {
		t.Errorf("%+v: counted %d, rate %v", s, r.Count, r.Rate)
	}
	if r.Seconds < s.Time.Seconds() || r.Seconds > time.Minute.Seconds() { // others use this machine
		t.Errorf("%+v: measured for %v s", s, r.Seconds)
	}
	if r.CPU.Total() <= 0 || r.CPU.Total() > 64*r.Seconds || len(r.CPU.Processes) != 2 {
		t.Errorf("%+v: processor time %+v", s, r.CPU)
	}
	if (r.Latency != nil) == s.Test.Bulk() {
		t.Errorf("%+v: latency %+v", s, r.Latency)
	}
	if l := r.Latency; l != nil && !(0 < l.P50 && l.P50 <= l.P99 && l.P99 <= l.P999 && l.P999 <= l.Max) {
		t.Errorf("%+v: latencies are not in order: %+v", s, *l)
	}
}

func TestServerRefusesABadSetup(t *testing.T) {
	addr := serve(t, &Server{Stack: newKernelStack()})
	cases := map[string]string{
		`{"usertcp_perf":9,"setup":{"test":"rr","size":1,"conns":1,"time_ns":1000000000}}`:      "speaks version 9",
		`{"usertcp_perf":1,"setup":{"test":"udp","size":1,"conns":1,"time_ns":1000000000}}`:     `unknown test "udp"`,
		`{"usertcp_perf":1,"setup":{"test":"rr","size":99999999,"conns":1,"time_ns":10000000}}`: "size 99999999",
		`{"usertcp_perf":"x"}`: "cannot unmarshal",
		"GET / HTTP/1.0\r\n":   "invalid character",
	}
	for send, want := range cases {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, send)
		answer, _ := io.ReadAll(conn)
		conn.Close()
		var o offer
		if err := json.Unmarshal(answer, &o); err != nil || !strings.Contains(o.Error, want) {
			t.Errorf("%s: answer %q, want an offer with the error %q", send, answer, want)
		}
	}
}

func TestServerGoesOnAfterAClientThatLeaves(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	addr := serve(t, &Server{Stack: newKernelStack(), Log: func(l string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, l)
	}})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := (&Client{newKernelStack()}).Run(t.Context(), addr, short(RR, 1, 1)); err != nil {
		t.Fatalf("the next client's test: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(lines) < 1 || !strings.Contains(lines[0], "closed the connection instead of sending the test's set-up") {
		t.Errorf("the log %q does not tell what happened", lines)
	}
}

// impostor is a server that answers the setup with the given lines.
func impostor(t *testing.T, lines ...string) string {
	t.Helper()
	return accepting(t, func(conn net.Conn) {
		io.WriteString(conn, strings.Join(lines, "\n"))
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
	})
}

// accepting is a TCP server that handles each connection by f, and then closes it.
func accepting(t *testing.T, f func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); f(conn) }()
		}
	}()
	return l.Addr().String()
}

func TestClientReportsWhatTheServerDoesWrong(t *testing.T) {
	cases := []struct {
		want  string
		lines []string
	}{
		{"closed the connection instead of sending the server's offer", nil},
		{"the other side: out of order", []string{`{"error":"out of order"}`}},
		{`the server uses a stack "other" that this client does not know`, []string{`{"data":"127.0.0.1:1","stack":"other"}`}},
		{"connection refused", []string{`{"data":"127.0.0.1:1","stack":"kernel"}`}},
	}
	for _, c := range cases {
		_, err := (&Client{newKernelStack()}).Run(t.Context(), impostor(t, c.lines...), short(RR, 1, 1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestClientChecksTheTotals(t *testing.T) {
	data := echo(t)
	addr := impostor(t, `{"data":"`+data+`","stack":"kernel"}`, `{}`, `{"total":12345}`)
	_, err := (&Client{newKernelStack()}).Run(t.Context(), addr, short(RR, 8, 1))
	if err == nil || !strings.Contains(err.Error(), "the server 12345") {
		t.Errorf("error %v, want one that shows both totals", err)
	}
}

// echo is a TCP server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	return accepting(t, func(conn net.Conn) { io.Copy(conn, conn) })
}

func TestClientEndsWithItsContext(t *testing.T) {
	addr := serve(t, &Server{Stack: newKernelStack()})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	setup := short(Stream, 1024, 2)
	setup.Time = time.Minute
	began := time.Now()
	_, err := (&Client{newKernelStack()}).Run(ctx, addr, setup)
	if !errors.Is(err, context.Canceled) || time.Since(began) > time.Minute/2 {
		t.Errorf("ended after %v with %v", time.Since(began), err)
	}
}

func TestReceiveSaysWhatItWaitedFor(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	err := newControl(a).receive("the result", 20*time.Millisecond, &result{})
	if err == nil || !strings.Contains(err.Error(), "waited 20ms for the result") {
		t.Errorf("error %v", err)
	}
}

func TestReportAsJSONHasItsMembers(t *testing.T) {
	r := newReport("kernel", &Setup{Test: RR, Size: 1, Conns: 2}, window{Seconds: 2, Count: 100})
	r.Latency = &Latency{1, 2, 3, 4}
	r.CPU = CPUReport{Processes: []ProcessCPU{{"client", "program", 7, 0.5, 0, 3, 0, 0}}, Machine: 1}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"stack":"kernel","test":"rr","size":1,"conns":2,"seconds":2,"count":100,"rate":50,"unit":"transactions/s",` +
		`"latency_us":{"p50":1,"p99":2,"p99.9":3,"max":4},"jain":0,` +
		`"cpu":{"processes":[{"side":"client","role":"program","pid":7,"seconds":0.5,"context_switches":0,"reads_and_writes":3,"system_seconds":0}],"machine_seconds":1,"peer_machine_seconds":0}}`
	if !bytes.Equal(b, []byte(want)) {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	text := r.String()
	for _, part := range []string{"2 connections", "50.0 transactions/s", "p99.9 3.0", "client's program 0.50", "machine 1.00"} {
		if !strings.Contains(text, part) {
			t.Errorf("the text %q lacks %q", text, part)
		}
	}
}
