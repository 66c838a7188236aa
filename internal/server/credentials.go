package server

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// mayBindLow reports whether the application has CAP_NET_BIND_SERVICE now. Its process
// is the one that has connected: the descriptor that the kernel gives for it tells
// whether the process id is still its own after the look at /proc.
func (a *application) mayBindLow() bool {
	if a.ch == nil { // of the server before: it has not come again
		return a.uid == 0
	}
	fd, err := a.ch.PeerProcess()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	ok, err := hasCapability(a.pid, unix.CAP_NET_BIND_SERVICE)
	if err != nil || !ok {
		return false
	}
	return !hasEnded(fd)
}

// hasCapability reports whether a process has a capability in the server's own user
// namespace: in one that it has made itself every process has them all.
func hasCapability(pid, capability int) (bool, error) {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
	ours, err2 := os.Readlink("/proc/self/ns/user")
	if err := errors.Join(err, err2); err != nil || theirs != ours {
		return false, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false, err
	}
	_, rest, _ := bytes.Cut(b, []byte("\nCapEff:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	return set&(1<<capability) != 0, err
}
