package proc

import (
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// No thread ends with it: processes that are killed when their thread ends were, and
// connection servers are such.
func TestDistanceKillsNobody(t *testing.T) {
	cpus, err := AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	var started []*exec.Cmd
	var all sync.WaitGroup
	var mu sync.Mutex
	for range 16 { // from as many threads as there are
		all.Go(func() {
			cmd := exec.Command("sleep", "100")
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			started = append(started, cmd)
			mu.Unlock()
		})
	}
	all.Wait()
	for range 20 {
		_, _ = Distance(cpus[0], cpus[len(cpus)-1]) // which others may use, or there is but one
	}
	for _, cmd := range started {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		cmd.Wait()
		if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGTERM {
			t.Fatalf("a process has ended with %v", s.Signal())
		}
	}
}

func TestDistance(t *testing.T) {
	cpus, err := AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Distance(cpus[0], cpus[0]); err == nil {
		t.Error("a CPU has a distance from itself")
	}
	if _, err := Distance(cpus[0], maxCPU); err == nil {
		t.Error("a CPU that there is not is somewhere")
	}
	if len(cpus) > 1 {
		for end := time.Now().Add(time.Minute); ; {
			d, err := Distance(cpus[0], cpus[1])
			if err == nil {
				if t.Log(d); d <= 0 {
					t.Errorf("CPUs %d and %d are %v apart", cpus[0], cpus[1], d)
				}
				break
			}
			if time.Now().After(end) {
				t.Fatal(err) // others may use the CPUs, but not for a minute
			}
		}
	}
	if after, err := AllowedCPUs(); err != nil || !slices.Equal(after, cpus) {
		t.Errorf("this goroutine may use %v now, %v before, %v", after, cpus, err)
	}
}
