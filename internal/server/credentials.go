package server

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// mayBind returns EACCES if a port of the host's own addresses takes a right that the
// application has not: what the kernel would ask of whoever binds it.
func (c *child) mayBind(local wire.Endpoint) unix.Errno {
	ports := c.s.ports
	switch {
	case c.pool == nil, local.Port == 0, int(local.Port) >= unprivilegedPorts():
		return 0
	case !local.Addr.IsZero() && !ports.onDevice(local.Addr):
		return 0
	case c.app.mayBindLow():
		return 0
	}
	return unix.EACCES
}

// unprivilegedPorts is the first port that takes no right.
func unprivilegedPorts() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if n, err2 := strconv.Atoi(string(bytes.TrimSpace(b))); err == nil && err2 == nil {
		return n
	}
	return 1024
}

// mayBindLow reports whether the application has CAP_NET_BIND_SERVICE now. Its process
// is the one that has connected: the descriptor that the kernel gives for it tells
// whether the process id is still its own after the look at /proc.
func (a *application) mayBindLow() bool {
	fd, err := a.ch.PeerProcess()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	ok, err := hasCapability(a.pid, unix.CAP_NET_BIND_SERVICE)
	if err != nil || !ok {
		return false
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 0
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
