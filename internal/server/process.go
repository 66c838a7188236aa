package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// process is one process that is a child. One that a server before this one has
// started is not ours to wait for: how it ended is not known then.
type process struct {
	*os.Process
	pid int
	cmd *exec.Cmd // nil if another server started it
}

// errEnded is the end of a process whose exit status is not to be had.
var errEnded = errors.New("it has ended, nobody knows how")

func ours(cmd *exec.Cmd) *process { return &process{cmd.Process, cmd.Process.Pid, cmd} }

// adopted returns the process pid, which is at the other end of a channel: as
// long as that is open the number is not another's.
func adopted(pid int) (*process, error) {
	p, err := os.FindProcess(pid) // holds a pidfd
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &process{p, pid, nil}, nil
}

// ended reports whether a process that is not ours has ended, though its parent, who is
// not the server that has started it any more, may not have waited for it.
func (p *process) ended() (ended bool) {
	err := p.WithHandle(func(pidfd uintptr) {
		ended = hasEnded(int(pidfd))
	})
	return ended || err != nil && p.Signal(unix.Signal(0)) != nil
}

// hasEnded reports whether the process of a pidfd has ended. A signal to this thread ends
// the call with EINTR even though it does not wait, but only if there is nothing to report.
func hasEnded(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n == 1
}

// wait waits until the process has ended. Of one that is not ours the end of its
// control channel tells.
func (p *process) wait(control <-chan struct{}) error {
	if p.cmd != nil {
		return p.cmd.Wait()
	}
	<-control
	for wait := time.Millisecond; !p.ended(); wait = min(2*wait, exitTimeout/8) {
		time.Sleep(wait) // watch ends it if this takes long
	}
	return errEnded
}

// crashed reports whether a process that ended with err did so against the rules:
// by a signal, or by a failure that Go's runtime reports.
func crashed(err error) bool {
	if errors.Is(err, errEnded) {
		return true
	}
	var e *exec.ExitError
	return errors.As(err, &e) && (!e.Exited() || e.ExitCode() == 2)
}
