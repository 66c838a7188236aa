package server

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// sleeper starts a process that does nothing until the test ends.
func sleeper(t *testing.T, attr *syscall.SysProcAttr) int {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		t.Skip("can't start such a process:", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

func TestCapabilitiesOfProcesses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starting processes of other users takes root")
	}
	for _, row := range []struct {
		name string
		attr *syscall.SysProcAttr
		want bool
	}{
		{"root's", nil, true},
		{"nobody's", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, false},
		{"one with all capabilities in a namespace of its own", &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}},
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := hasCapability(sleeper(t, row.attr), unix.CAP_NET_BIND_SERVICE)
			if err != nil || got != row.want {
				t.Errorf("%v, %v; want %v", got, err, row.want)
			}
		})
	}
	if _, err := hasCapability(1<<30, unix.CAP_NET_BIND_SERVICE); err == nil {
		t.Error("a process that is not there has capabilities")
	}
}

// Who has connected is asked, and an application of the server before counts by
// its user.
func TestWhoMayBindLowPorts(t *testing.T) {
	a, b, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	defer a.Close()
	pid, uid, _, err := a.Peer()
	if err != nil {
		t.Fatal(err)
	}
	app := application{ch: a, pid: pid, uid: uid}
	want, err := hasCapability(os.Getpid(), unix.CAP_NET_BIND_SERVICE)
	if err != nil {
		t.Fatal(err)
	}
	if got := app.mayBindLow(); got != want {
		t.Errorf("this process may bind low ports: %v, want %v", got, want)
	}
	for uid, want := range map[int]bool{0: true, 1000: false} {
		if app := (application{uid: uid}); app.mayBindLow() != want {
			t.Errorf("user %d of the server before: %v", uid, !want)
		}
	}
}

func TestEphemeralPortsAreTheKernels(t *testing.T) {
	first, last := kernelPorts()
	if first == 0 || last < first {
		t.Fatalf("ports %d to %d", first, last)
	}
	seen := map[uint16]bool{}
	for p := range ephemeral(first, last) {
		if p < first || p > last || seen[p] {
			t.Fatalf("port %d of %d to %d", p, first, last)
		}
		seen[p] = true
	}
	if len(seen) != int(last)-int(first)+1 {
		t.Errorf("%d ports of %d to %d", len(seen), first, last)
	}
}
