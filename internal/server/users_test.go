package server

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhoChildrenRunAs(t *testing.T) {
	if os.Geteuid() != 0 {
		c := Config{User: "root"}
		if _, err := c.identify(); err == nil {
			t.Error("children of another user, though not root")
		}
		t.Skip("only root can run children as another user")
	}
	for _, x := range []struct {
		user string
		uid  int // -1: an error
	}{{"0", 0}, {"root", 0}, {"12345", 12345}, {"nobody", 65534}, {"nobody-of-that-name", -1}} {
		c := Config{User: x.user}
		cred, err := c.identify()
		switch {
		case x.uid < 0:
			if err == nil || !strings.Contains(err.Error(), x.user) {
				t.Errorf("%s: %v", x.user, err)
			}
		case err != nil, x.uid == 0 && cred != nil, x.uid > 0 && (cred == nil || int(cred.Uid) != x.uid || cred.Gid == 0 || len(cred.Groups) > 0):
			t.Errorf("%s: %+v, %v", x.user, cred, err)
		}
	}
}

// status returns a line of /proc/PID/status.
func status(t *testing.T, pid int, key string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+key+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Join(strings.Fields(line), " ")
}

func TestAChildHasNoPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run children as another user")
	}
	cfg := config(t.TempDir(), addr1) // a directory that others can't enter
	cfg.User = "61000"
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := spawn(t, s)
	pid := s.child(a.vci).pid()
	for key, want := range map[string]string{
		"Uid": "61000 61000 61000 61000", "Gid": "61000 61000 61000 61000", "Groups": "",
		"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
	} {
		if got := status(t, pid, key); got != want {
			t.Errorf("%s of the child: %q, want %q", key, got, want)
		}
	}
	lowers := os.WriteFile("/proc/self/oom_score_adj", []byte("-1"), 0) == nil // CAP_SYS_RESOURCE, which a container may not have
	os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0)
	if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); lowers && strings.TrimSpace(string(b)) != oomScore {
		t.Errorf("oom_score_adj: %s", b)
	}
	// Another user, such as its application's, can't signal it.
	kill := exec.Command("/bin/kill", "-9", fmt.Sprint(pid))
	kill.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	if err := kill.Run(); err == nil {
		t.Error("another user has sent it SIGKILL")
	}
	if unix.Kill(pid, 0) != nil {
		t.Error("it is gone")
	}
}

// Wherever among a server's descriptors those lie that a child inherits: the program is
// not overwritten when they are put in order.
func TestAProgramIsStartedWhateverItInherits(t *testing.T) {
	p := openProgram([]string{"/bin/sh", "-c", "exit 7", "sh"})
	defer p.close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for high := range 12 {
		fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 58+high)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), os.DevNull)
		cmd := p.command(nil, []*os.File{f, null, null, null}, nil)
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 7 {
			t.Errorf("with descriptor %d: %v", fd, err)
		}
		f.Close()
	}
}

// Another program takes its place with the same arguments, whatever lies at its path.
func TestAProgramOfAPredecessor(t *testing.T) {
	p := openProgram([]string{"/bin/false", "-c", "exit 9", "sh"})
	defer p.close()
	other := openProgram([]string{"/bin/sh"})
	defer other.close()
	if cmd := p.command(nil, nil, other.file); cmd.Run() == nil || cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v", cmd.ProcessState)
	}
}
