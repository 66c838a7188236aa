package proc

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCPU is the highest CPU number that unix.CPUSet can name.
const maxCPU = 1023

// ParseCPUs reads a list of CPUs as taskset(1) does: "0", "0,2", "0-3". The
// result is in ascending order, without repetitions.
func ParseCPUs(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, errFrom := parseCPU(first)
		to, errTo := parseCPU(last)
		if errFrom != nil || errTo != nil || from > to {
			return nil, fmt.Errorf("invalid list of CPUs %q (want, for example, 0 or 0,2 or 0-3)", list)
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

func parseCPU(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && n > maxCPU {
		err = strconv.ErrRange
	}
	return int(n), err
}

// FormatCPUs is the inverse of ParseCPUs, without ranges.
func FormatCPUs(cpus []int) string {
	parts := make([]string, len(cpus))
	for i, cpu := range cpus {
		parts[i] = strconv.Itoa(cpu)
	}
	return strings.Join(parts, ",")
}

// AllowedCPUs returns the CPUs that the calling thread may run on.
func AllowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var cpus []int
	for cpu := range maxCPU + 1 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// Pin makes this process run on the given CPUs only. When that is a change, the
// program is started anew in the same process: only so do all its threads, and
// the Go runtime's idea of how many CPUs there are, follow. It returns when
// nothing had to be changed, or with an error.
func Pin(cpus []int) error {
	allowed, err := AllowedCPUs()
	if err != nil || slices.Equal(allowed, cpus) {
		return err
	}
	if err := checkAllowed(cpus, allowed); err != nil {
		return err
	}
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	// exec keeps the affinity of the thread that calls it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	// Not os.Executable: the file may have been removed since the start.
	err = unix.Exec("/proc/self/exe", os.Args, os.Environ())
	return fmt.Errorf("exec: %w", err)
}

// checkAllowed says which of the CPUs is missing.
func checkAllowed(cpus, allowed []int) error {
	if len(cpus) == 0 {
		return fmt.Errorf("no CPU to run on")
	}
	for _, cpu := range cpus {
		if !slices.Contains(allowed, cpu) {
			return fmt.Errorf("CPU %d is not available (there are: %s)", cpu, FormatCPUs(allowed))
		}
	}
	return nil
}
