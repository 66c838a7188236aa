package proc

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWaitLineReturnsTheRestOfTheLine(t *testing.T) {
	p := start(t, "greet")
	got, err := p.WaitLine(t.Context(), time.Minute, "ready on ")
	if err != nil || got != "127.0.0.1:1" {
		t.Errorf("WaitLine = %q, %v; want 127.0.0.1:1", got, err)
	}
	if out := string(p.Output()); !strings.HasPrefix(out, "noise\n") {
		t.Errorf("output %q does not begin with what was written first", out)
	}
}

func TestWaitLineFails(t *testing.T) {
	cases := []struct {
		role, want string
		limit      time.Duration
	}{
		{"greet", `the greet program: waited 200ms for it to say "never"`, 200 * time.Millisecond},
		{"quick", `the quick program: ended before it said "never"`, 10 * time.Second},
		{"fail", "the fail program: the reason (exit status 3)", 10 * time.Second},
	}
	for _, c := range cases {
		_, err := start(t, c.role).WaitLine(t.Context(), c.limit, "never")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.role, err, c.want)
		}
	}
}

func TestWaitLineEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := start(t, "greet")
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := p.WaitLine(ctx, time.Minute, "never"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if err := p.Wait(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: error %v, want context.Canceled", err)
	}
}

func TestWaitTellsHowTheProcessEnded(t *testing.T) {
	if err := start(t, "quick").Wait(t.Context(), time.Minute); err != nil {
		t.Errorf("a process that ended well: %v", err)
	}
	err := start(t, "fail").Wait(t.Context(), time.Minute)
	if want := "the fail program: the reason (exit status 3)"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	err = start(t, "greet").Wait(t.Context(), 100*time.Millisecond)
	if want := "the greet program: waited 100ms for its end"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestStopEndsEvenWhoIgnoresSIGTERM(t *testing.T) {
	p := start(t, "stubborn")
	if _, err := p.WaitLine(t.Context(), time.Minute, "ignoring"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.Stop(100 * time.Millisecond)
	if took := time.Since(began); took < 100*time.Millisecond || took > time.Minute {
		t.Errorf("took %v, want a little over 100ms", took)
	}
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process is still there: %v", err)
	}
	p.Stop(time.Second) // a second time does nothing
}

func TestStartOfAMissingFileNamesTheProcess(t *testing.T) {
	_, err := Start(Command{Name: "the server", Path: "/nonexistent/usertcp"})
	if err == nil || !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "the server: ") {
		t.Errorf("error %v, want one that names the server and the missing file", err)
	}
}

func TestGroupStopEndsAll(t *testing.T) {
	var g Group
	var all []*Process
	for range 3 {
		p, err := g.Start(role("greet"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	all[1].Stop(time.Second)
	if n := len(alive(g.members)); n != 2 {
		t.Errorf("%d members live after one of three was stopped", n)
	}
	g.Stop()
	for _, p := range all {
		select {
		case <-p.Done():
		default:
			t.Errorf("process %d still runs", p.PID())
		}
	}
}

func TestOutputKeepsTheNewest(t *testing.T) {
	o := newOutput(4)
	changed, _ := o.watch()
	for _, s := range []string{"ab", "cd", "ef"} {
		if n, err := o.Write([]byte(s)); n != 2 || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if got := string(o.bytes()); got != "cdef" {
		t.Errorf("kept %q, want cdef", got)
	}
	select {
	case <-changed:
	default:
		t.Error("who watched was not woken")
	}
	o.close()
	if _, ended := o.watch(); !ended {
		t.Error("the end was not told")
	}
}

func TestLastLine(t *testing.T) {
	cases := map[string]string{
		"":                           "",
		"\n \n":                      "",
		"one":                        "one",
		"one\ntwo\n\n":               "two",
		"x\nusertcp: dial tcp: no\n": "dial tcp: no",
	}
	for in, want := range cases {
		if got := lastLine([]byte(in)); got != want {
			t.Errorf("lastLine(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestProcessesEndWithWhoStartedThem(t *testing.T) {
	p := start(t, "parent")
	line, err := p.WaitLine(t.Context(), time.Minute, "child ")
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ended(child) {
			return
		}
	}
	syscall.Kill(child, syscall.SIGKILL)
	t.Errorf("process %d outlives its killed parent", child)
}

// ended reports whether a process that is not ours to reap is gone, or waits for
// whoever is to reap it.
func ended(pid int) bool {
	fields, err := statFields(pid)
	return err != nil || fields[0] == "Z" || fields[0] == "X"
}

func TestCommandsEnvironmentIsAdded(t *testing.T) {
	t.Setenv("PROC_TEST_VALUE", "inherited")
	for want, env := range map[string][]string{"inherited": nil, "own": {"PROC_TEST_VALUE=own"}} {
		got, err := start(t, "env", env...).WaitLine(t.Context(), time.Minute, "value ")
		if err != nil || got != want {
			t.Errorf("value %q, %v; want %q", got, err, want)
		}
	}
}

func TestLineAfterWantsWholeLines(t *testing.T) {
	cases := []struct {
		out, want string
		found     bool
	}{
		{"", "", false},
		{"listening on 10.1.0.1:8", "", false}, // more digits may follow
		{"listening on 10.1.0.1:80\n", "10.1.0.1:80", true},
		{"not listening on x\nlistening on y\nlistening on z\n", "y", true},
	}
	for _, c := range cases {
		if got, ok := lineAfter([]byte(c.out), "listening on "); got != c.want || ok != c.found {
			t.Errorf("%q: %q, %v", c.out, got, ok)
		}
	}
}

func TestADescriptorThatIsInheritedDelaysNobody(t *testing.T) {
	// The shell ends at once; its child holds the pipes for longer.
	p, err := Start(Command{Name: "the shell", Path: "/bin/sh", Args: []string{"-c", "sleep 60 & echo done"}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.Wait(t.Context(), 50*time.Second); err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if got, err := p.WaitLine(t.Context(), time.Minute, "done"); err != nil || got != "" {
		t.Errorf("its output: %q, %v", got, err)
	}
}

// Within decides where the process starts, and whether.
func TestStartWithin(t *testing.T) {
	c := role("quick")
	entered := false
	c.Within = func(start func() error) error { entered = true; return start() }
	p, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context(), time.Minute); err != nil || !entered {
		t.Errorf("entered %v: %v", entered, err)
	}
	wrong := errors.New("no way in")
	c.Within = func(func() error) error { return wrong }
	if _, err := Start(c); !errors.Is(err, wrong) {
		t.Errorf("%v, want the error of the way in", err)
	}
}
