package proc

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"testing"

	"golang.org/x/sys/unix"
)

// countOrSkip begins to count, where this is allowed.
func countOrSkip(t *testing.T, pids ...int) *SystemCalls {
	t.Helper()
	c, err := CountSystemCalls(pids)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("system calls can't be counted here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSystemCallsAreCountedInAllThreads(t *testing.T) {
	pid := os.Getpid()
	c := countOrSkip(t, pid)
	const threads, calls = 3, 5000
	before := c.Of(pid)
	var wg sync.WaitGroup
	for range threads { // some of them on threads that are new
		wg.Go(func() {
			runtime.LockOSThread()
			for range calls {
				unix.Getppid()
			}
		})
	}
	wg.Wait()
	// The runtime has its own, but not as many.
	if n := c.Of(pid) - before; n < threads*calls || n > threads*calls+10_000 {
		t.Errorf("counted %d, want %d and a few", n, threads*calls)
	}
}

func TestSystemCallsOfAnotherProcess(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "read line; for i in 1 2 3 4 5 6 7 8 9 10; do : < /dev/null; done; read line")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	c := countOrSkip(t, cmd.Process.Pid)
	if n := c.Of(cmd.Process.Pid + 1<<21); n != 0 {
		t.Errorf("a process that was not asked for: %d", n)
	}
	in.Write([]byte("go\n"))
	in.Close()
	cmd.Wait()
	if n := c.Of(cmd.Process.Pid); n < 30 || n > 10_000 { // open, dup and close at least
		t.Errorf("counted %d", n)
	}
}

func TestSystemCallsOfNobody(t *testing.T) {
	c := countOrSkip(t, 1<<22+1)
	if n := c.Of(1<<22 + 1); n != 0 {
		t.Errorf("counted %d in a process that is not there", n)
	}
	var none *SystemCalls
	none.Close()
	if none.Of(1) != 0 {
		t.Error("without a counter there is a count")
	}
}

// Where nobody has mounted tracefs, as on a machine that has just been installed, it is
// mounted for the look at it, and nobody sees that.
func TestSystemCallsAreCountedWithoutTracefs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount tracefs")
	}
	defer func(was []string) { tracefs = was }(tracefs)
	tracefs = []string{t.TempDir()}
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	c, err := CountSystemCalls([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if after, err := os.ReadFile("/proc/self/mountinfo"); err != nil || string(after) != string(before) {
		t.Errorf("the mounts were\n%s\nand are, %v,\n%s", before, err, after)
	}
	unix.Getppid()
	if c.Of(os.Getpid()) == 0 {
		t.Error("nothing is counted")
	}
}

func TestSystemCallsCanNotBeCounted(t *testing.T) {
	_, err := tracepoint("no_such/event")
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "counting system calls") {
		t.Errorf("error %v", err)
	}
}
