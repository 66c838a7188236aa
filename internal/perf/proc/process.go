package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command says which process to start.
type Command struct {
	Name string   // what errors call it, such as "the receiving program"
	Path string   // executable
	Args []string // without the executable's name
	Env  []string // added to this process's own environment

	// Within calls start, on its own goroutine, where the process is to begin: in
	// another network namespace, for example. nil: here. What it returns is Start's
	// error.
	Within func(start func() error) error
}

// Process is a process that Start started. Its methods may be called from
// several goroutines.
type Process struct {
	name   string
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	done   chan struct{} // closed when the process has been reaped
	err    error         // set before done is closed
}

// Bounds of what is kept of a process's output, in octets.
const (
	maxStdout = 4 << 20
	maxStderr = 16 << 10
)

// Start starts a process in a process group of its own, so that a Ctrl-C on the
// terminal reaches only this process, which then ends what it started in its own
// order. Should this process be killed without having had the time for that,
// the kernel sends SIGTERM to the process started here.
func Start(c Command) (*Process, error) {
	p := &Process{
		name:   c.Name,
		cmd:    exec.Command(c.Path, c.Args...),
		stdout: newOutput(maxStdout),
		stderr: newOutput(maxStderr),
		done:   make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	// A grandchild may have inherited the pipes: its life must not delay the
	// reaping of the process itself.
	p.cmd.WaitDelay = 200 * time.Millisecond
	start := p.cmd.Start
	if c.Within != nil {
		start = func() error { return c.Within(p.cmd.Start) }
	}
	if err := start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	go p.reap()
	return p, nil
}

// reap waits for the process's end, of which every waiter is told by done.
func (p *Process) reap() {
	err := p.cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the process itself ended well
	}
	p.err = err
	p.stdout.close()
	p.stderr.close()
	close(p.done)
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output returns what the process has written to its standard output so far.
func (p *Process) Output() []byte { return p.stdout.bytes() }

// WaitLine waits until the process has written a line to its standard output
// that begins with prefix, and returns the rest of that line. It fails when the
// process ends first, when ctx does, or after limit.
func (p *Process) WaitLine(ctx context.Context, limit time.Duration, prefix string) (string, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		changed, ended := p.stdout.watch()
		if rest, ok := lineAfter(p.stdout.bytes(), prefix); ok {
			return rest, nil
		}
		if ended {
			return "", p.earlyEnd(prefix)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		case <-timer.C:
			return "", fmt.Errorf("%s: waited %v for it to say %q%s", p.name, limit, prefix, p.lastWords())
		}
	}
}

// earlyEnd is the error of a process that ended before it said prefix.
func (p *Process) earlyEnd(prefix string) error {
	<-p.done
	if p.err != nil {
		return p.failure()
	}
	return fmt.Errorf("%s: ended before it said %q%s", p.name, prefix, p.lastWords())
}

// Wait waits for the process's end. A process that ends with another status
// than 0 is an error, which holds the last line of its standard error.
func (p *Process) Wait(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return p.failure()
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%s: waited %v for its end%s", p.name, limit, p.lastWords())
	}
}

// Stop asks the process to end (SIGTERM), and after grace ends it (SIGKILL). It
// returns when the process is gone, and does nothing to one that has ended.
func (p *Process) Stop(grace time.Duration) {
	if p.signalAndWait(syscall.SIGTERM, grace) {
		return
	}
	p.signalAndWait(syscall.SIGKILL, time.Minute)
}

// signalAndWait sends sig unless the process has ended, and reports whether it
// had ended within limit. os.Process takes care that a reused id is not hit.
func (p *Process) signalAndWait(sig syscall.Signal, limit time.Duration) bool {
	if err := p.cmd.Process.Signal(sig); errors.Is(err, os.ErrProcessDone) {
		<-p.done
		return true
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// failure is the error of a process that ended badly, in its own last words.
func (p *Process) failure() error {
	if words := lastLine(p.stderr.bytes()); words != "" {
		return fmt.Errorf("%s: %s (%w)", p.name, words, p.err)
	}
	return fmt.Errorf("%s: %w", p.name, p.err)
}

// lastWords returns the last line of the standard error in a form that can be
// appended to an error's text.
func (p *Process) lastWords() string {
	if words := lastLine(p.stderr.bytes()); words != "" {
		return "; its last words: " + words
	}
	return ""
}

// lineAfter finds a whole line that begins with prefix and returns what follows.
func lineAfter(out []byte, prefix string) (string, bool) {
	for line := range strings.Lines(string(out)) {
		rest, ok := strings.CutPrefix(line, prefix)
		if ok && strings.HasSuffix(rest, "\n") {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// lastLine returns the last line that is not blank, without the name that this
// program puts before its errors.
func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return strings.TrimPrefix(strings.TrimSpace(text), "usertcp: ")
}
