package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"usertcp/internal/perf"
	"usertcp/internal/perf/proc"
)

// Sixteen streams between two programs, each on a CPU of its own, get nearly the same:
// Jain's index was 0.27 to 0.75, where one stream's reader and writer had their
// processors for as long as Go's runtime lets a goroutine run. What others of this machine
// do may make a second of that uneven, but not each of five.
func TestStreamsBetweenTwoCPUsAreFair(t *testing.T) {
	if cpus, err := proc.AllowedCPUs(); err != nil || len(cpus) < 2 {
		t.Skipf("takes two CPUs, and this process may use %d (%v)", len(cpus), err)
	}
	fairly(t, 0.95, []string{"-cpus", "split"}, func(out []byte) float64 {
		var o perf.Outcome
		if err := json.Unmarshal(out, &o); err != nil {
			t.Fatal(err)
		}
		return o.Jain.User
	})
}

// Sixteen streams of the kernel's to a program over a device share its buffers: with
// windows that together were more than these some of what was sent was lost, some streams
// waited for timers meanwhile, and the index was 0.47 to 0.89.
func TestStreamsOverDevicesAreFair(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	fairly(t, 0.93, []string{"-link", "nic"}, func(out []byte) float64 {
		var o perf.LinkOutcome
		if err := json.Unmarshal(out, &o); err != nil {
			t.Fatal(err)
		}
		for _, p := range o.Pairings {
			if p.Client == "kernel" && p.Server == "user" {
				return p.Jain
			}
		}
		t.Fatalf("no pairing of kernel with user in %s", out)
		return 0
	})
}

// fairly measures sixteen streams until their index of fairness is as wanted, five times
// at most.
func fairly(t *testing.T, want float64, flags []string, index func([]byte) float64) {
	t.Helper()
	best := 0.0
	for range 5 {
		args := append([]string{"compare", "-conns", "16", "-repeat", "1", "-time", "1s", "-json"}, flags...)
		out, err := exec.Command("usertcp", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		jain := index(out)
		t.Logf("Jain's fairness index %.3f", jain)
		if best = max(best, jain); best >= want {
			return
		}
	}
	t.Errorf("Jain's fairness index of 16 streams is %.3f, want %v", best, want)
}
