package testhost

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/server"
)

const programArg = "usertcp-test-program"

// Programs are what the test binary can be besides a test and a child, by name.
// A program gets its arguments and returns its exit status.
var Programs = map[string]func(args []string) int{
	"server":  func(args []string) int { return status("server", serve(args)) },
	NICServer: func(args []string) int { return status(NICServer, serveNIC(args)) },
}

// Register adds programs that end with status 1 if they fail, and say why.
func Register(programs map[string]func(args []string) error) {
	for name, f := range programs {
		Programs[name] = func(args []string) int { return status(name, f(args)) }
	}
}

// status is a program's exit status.
func status(name string, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}

func runProgram(name string, args []string) int {
	p, ok := Programs[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no test program of the name", name)
		return 2
	}
	return p(args)
}

// Process is a program that runs: it talks with the test in lines.
type Process struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	done  chan struct{} // closed when it has been waited for
}

// Patience is how long a test waits for what must happen: so long that no machine is
// too slow, as it costs nothing where the thing happens.
const Patience = time.Minute

// Run starts a program of this package's tests that uses the connection server
// at socket. It is killed when the test ends.
func Run(t testing.TB, socket, name string, args ...string) *Process {
	t.Helper()
	return RunTo(t, os.Stderr, socket, name, args...)
}

// RunTo is Run with another standard error.
func RunTo(t testing.TB, stderr *os.File, socket, name string, args ...string) *Process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{
		t: t, cmd: exec.Command(exe, append([]string{programArg, name}, args...)...),
		lines: make(chan string, 64), done: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), "USERTCP_SERVER="+socket)
	p.cmd.Stderr = stderr
	p.in, err = p.cmd.StdinPipe()
	out, err2 := p.cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	t.Cleanup(func() {
		p.Kill(syscall.SIGKILL)
		<-p.done
	})
	return p
}

func (p *Process) read(out io.Reader) {
	s := bufio.NewScanner(out)
	for s.Scan() {
		p.lines <- s.Text()
	}
	close(p.lines)
	p.cmd.Wait()
	close(p.done)
}

// Line returns the next line that the program writes.
func (p *Process) Line() string {
	p.t.Helper()
	return p.lineWithin(Patience)
}

func (p *Process) lineWithin(patience time.Duration) string {
	p.t.Helper()
	select {
	case l, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%s: ended without the line that was waited for", p.cmd)
		}
		return l
	case <-time.After(patience):
		p.t.Fatalf("%s: no line after %v", p.cmd, patience)
		return ""
	}
}

// Want waits for a line of the given words and returns what follows them.
func (p *Process) Want(words string) string {
	p.t.Helper()
	return p.rest(p.Line(), words)
}

// rest returns what follows words in a line that begins with them.
func (p *Process) rest(line, words string) string {
	p.t.Helper()
	rest, ok := strings.CutPrefix(line, words)
	if !ok {
		p.t.Fatalf("%s: said %q, want %q", p.cmd, line, words)
	}
	return strings.TrimSpace(rest)
}

// WantMuch is Want of a program that has much to do until then, such as thousands of
// connections: it has five times as long.
func (p *Process) WantMuch(words string) string {
	p.t.Helper()
	return p.rest(p.lineWithin(5*Patience), words)
}

// Say writes a line to the program.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// Pid returns the program's process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill sends the program a signal; one that has ended does not mind.
func (p *Process) Kill(sig syscall.Signal) {
	p.cmd.Process.Signal(sig)
	if sig == syscall.SIGSTOP {
		wantStopped(p.t, p.Pid())
	}
}

// Stop stops process pid, until the test or its end lets it go on.
func Stop(t testing.TB, pid int) {
	t.Helper()
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) })
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wantStopped(t, pid)
}

// wantStopped waits until the kernel has stopped all of a process: a thread on
// another CPU runs on for a moment.
func wantStopped(t testing.TB, pid int) {
	t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		running := 0
		for _, f := range stats {
			b, err := os.ReadFile(f)
			if _, after, ok := strings.Cut(string(b), ") "); err == nil && ok && after[0] != 'T' {
				running++
			}
		}
		if running == 0 {
			return
		}
	}
	t.Errorf("process %d: SIGSTOP has not stopped it", pid)
}

// Wait waits for the program's end.
func (p *Process) Wait() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		p.t.Fatalf("%s: has not ended after %v", p.cmd, Patience)
	}
}

// Status returns how the program has ended, which it has.
func (p *Process) Status() syscall.WaitStatus {
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// StartProcess starts a host on the ring in dir as a process of its own.
func StartProcess(t testing.TB, dir string, addrs ...netip.Addr) (*Host, *Process) {
	t.Helper()
	h := newHost(dir, addrs)
	return h, Restart(t, dir, h, addrs...)
}

// Restart starts a host's server as a process where another one has ended.
func Restart(t testing.TB, dir string, h *Host, addrs ...netip.Addr) *Process {
	t.Helper()
	args := []string{dir, h.Socket}
	for _, a := range addrs {
		args = append(args, a.String())
	}
	p := Run(t, h.Socket, "server", args...)
	p.Want("ready")
	t.Cleanup(func() { // in order, so that its children end too
		p.Kill(syscall.SIGCONT)
		p.Kill(syscall.SIGTERM)
		p.Wait()
	})
	return p
}

// serve is the program of StartProcess: a connection server until SIGTERM.
func serve(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var addrs []netip.Addr
	for _, a := range args[2:] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	cfg, err := config(args[0], args[1], addrs)
	if err != nil {
		return err
	}
	cfg.Ready = func(*server.Server) { fmt.Println("ready") }
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGUSR2)
	cfg.Leave = leave
	return server.Run(ctx, cfg)
}

// Running reports whether there is a process pid, a zombie not counted.
func Running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z")
}

// WantGone waits until none of the processes runs any more.
func WantGone(t testing.TB, pids ...int) {
	t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		left := pids[:0:0]
		for _, pid := range pids {
			if Running(pid) {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("processes %v still run after %v", left, Patience)
		}
	}
}

// Parent returns the parent of process pid, 0 if it is not there.
func Parent(pid int) (parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(b), ") ")
	if f := strings.Fields(after); len(f) > 1 {
		parent, _ = strconv.Atoi(f[1])
	}
	return parent
}

// Children returns the child processes of process pid.
func Children(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		b, err := os.ReadFile(l)
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}
