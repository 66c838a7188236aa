package upgrade

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/server"
)

const patience = time.Minute // for anything that must happen

// build builds the command, with a tag if there is one, and returns where it is.
func build(t *testing.T, dir, name, tag string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	out, err := exec.Command("go", "build", "-tags", tag, "-o", path, "usertcp/cmd/usertcp").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// process is a usertcp command that runs, and talks in lines.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	done  chan struct{}
}

// run starts a command, which uses the server at socket and ends with the test.
func run(t *testing.T, socket, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), lines: make(chan string, 16), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "USERTCP_SERVER="+socket)
	out, w, err := os.Pipe()
	check(t, err)
	p.cmd.Stdout, p.cmd.Stderr = w, os.Stderr
	if args[0] == "nc" {
		p.cmd.Stderr = w // where it says that it listens
	}
	p.in, err = p.cmd.StdinPipe()
	check(t, err)
	check(t, p.cmd.Start())
	w.Close()
	go func() {
		defer out.Close()
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
		p.cmd.Wait()
		close(p.lines)
		close(p.done)
	}()
	t.Cleanup(func() { p.end(syscall.SIGTERM) })
	return p
}

// end sends a signal, and waits for the process to end.
func (p *process) end(sig syscall.Signal) {
	p.t.Helper()
	p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		p.t.Errorf("%v has not ended", p.cmd)
	}
}

// want waits for a line.
func (p *process) want(line string) {
	p.t.Helper()
	select {
	case got, ok := <-p.lines:
		if !ok || got != line {
			p.t.Fatalf("%v said %q, want %q", p.cmd, got, line)
		}
	case <-time.After(patience):
		p.t.Fatalf("%v has not said %q", p.cmd, line)
	}
}

func (p *process) say(line string) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.in, line)
	check(p.t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// child waits until a process has a child other than not at a server, and returns it.
func child(t *testing.T, socket string, of, not int) int {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		snap, err := server.Status(ctx, socket)
		cancel()
		check(t, err)
		for _, c := range snap.Children {
			if c.AppPID == of && c.PID != not {
				return c.PID
			}
		}
	}
	t.Fatalf("process %d has no child but %d", of, not)
	return 0
}
