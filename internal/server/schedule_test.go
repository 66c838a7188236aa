package server

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// realtimeConfig makes this test's process one that says whether it may have children
// at a real-time priority.
const realtimeConfig = "USERTCP_TEST_REALTIME"

// A server that can't give its children the priority that was asked for says so when it
// starts, and what it takes.
func TestAPriorityThatCannotBeIsToldAtStart(t *testing.T) {
	if os.Getenv(realtimeConfig) != "" {
		c := Config{Ring: t.TempDir(), Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, Socket: "socket", Pools: PoolOptions{Realtime: 1, CPU: -1}}
		err := c.complete()
		fmt.Println("said:", err, errors.Is(err, unix.EPERM))
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("a process that has root's files and none of his rights is root's to start")
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_RTPRIO, &limit) != nil || limit.Cur > 0 {
		t.Skip("everybody may have a real-time priority here")
	}
	for _, right := range []bool{true, false} {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), realtimeConfig+"=1")
		if !right {
			id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: id}
		}
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(err.Error(), "not permitted") {
			t.Skip("no user namespaces, or no real-time priorities here:", err)
		}
		text := string(out)
		if !strings.Contains(text, "said:") || strings.Contains(text, "CAP_SYS_NICE") == right || strings.Contains(text, "true") == right {
			t.Errorf("with the right to it: %v; %v, %s", right, err, text)
		}
	}
}
