package proc

import (
	"slices"
	"testing"
	"time"
)

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
