package upgrade

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A new version of the program is put in the place of the old one, with another layout
// of segments, and the server is started again, twice. A program of the old version goes
// on, and when its child is killed it gets another one that knows its segment: one of the
// old version, though that can't be found by its name any more.
func TestUpgradeToAnotherLayout(t *testing.T) {
	dir, err := os.MkdirTemp("", "utcp") // sockets' paths must be short
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := build(t, dir, "usertcp", "usertcp_otherlayout")
	next := build(t, dir, "next", "")
	here, there := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	serve := func(socket, addr string) *process {
		p := run(t, socket, program, "server", "-quiet", "-ring", filepath.Join(dir, "ring"), "-addr", addr, "-socket", socket)
		p.want("listening on " + socket)
		return p
	}
	ours := serve(here, "10.1.0.1")
	serve(there, "10.1.0.2")
	var listeners [2]*process
	for i, addr := range []string{"10.1.0.2:7", "10.1.0.2:8"} {
		listeners[i] = run(t, there, program, "nc", "-l", addr)
		listeners[i].want("listening on " + addr)
	}
	dialler := run(t, here, program, "nc", "10.1.0.2:7")
	talk(dialler, listeners[0], "before")

	check(t, os.Rename(next, program))
	pid := child(t, here, dialler.cmd.Process.Pid, 0)
	for _, upgrade := range []string{"first", "second"} {
		ours.end(syscall.SIGKILL)
		talk(dialler, listeners[0], upgrade+" upgrade, no server")
		ours = serve(here, "10.1.0.1")
		talk(dialler, listeners[0], upgrade+" upgrade, another server")
		check(t, syscall.Kill(pid, syscall.SIGKILL))
		talk(dialler, listeners[0], upgrade+" upgrade, perhaps no child")
		pid = child(t, here, dialler.cmd.Process.Pid, pid)
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if want := program + " (deleted)"; err == nil && exe != want {
			t.Errorf("the next child runs %s, want %s", exe, want)
		}
		talk(dialler, listeners[0], upgrade+" upgrade, another child")
	}
	finish(dialler, listeners[0])

	// The new version talks with the old one, which has other segments: by the servers.
	young := run(t, here, program, "nc", "10.1.0.2:8")
	talk(young, listeners[1], "between versions")
	pid = child(t, here, young.cmd.Process.Pid, 0)
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	child(t, here, young.cmd.Process.Pid, pid)
	talk(young, listeners[1], "and another child of the new version")
	finish(young, listeners[1])
}

// talk says something both ways.
func talk(a, b *process, words string) {
	a.t.Helper()
	a.say(words)
	b.want(words)
	b.say("heard: " + words)
	a.want("heard: " + words)
}

// finish ends both directions, and with them both processes.
func finish(a, b *process) {
	a.t.Helper()
	a.in.Close()
	b.in.Close()
	for _, p := range []*process{a, b} {
		select {
		case <-p.done:
		case <-time.After(patience):
			a.t.Errorf("%v has not ended", p.cmd)
		}
	}
}
