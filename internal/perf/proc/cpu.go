package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of the kernel's times in /proc: USER_HZ is 100 on every
// architecture that Go runs on under Linux.
const tick = 10 * time.Millisecond

// CPUTime returns the processor time, user and system, that the process and all
// its threads have used since it started, those that have ended included.
func CPUTime(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, fmt.Errorf("processor time: %d is not a process id", pid)
	}
	// clock_getcpuclockid(3): the clock of a process is ~pid in the upper bits,
	// and 2 (the scheduler's own account, in nanoseconds) in the lowest three.
	// utime and stime in /proc are the same account, rounded to ticks of 10 ms.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err == nil {
		return time.Duration(ts.Nano()), nil
	}
	return cpuTimeFromStat(pid)
}

// cpuTimeFromStat is for kernels that do not show the clocks of other processes.
func cpuTimeFromStat(pid int) (time.Duration, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return sumTicks(fields[11:13]) // utime (14) and stime (15)
}

// SystemTime returns the part of CPUTime that the process spent in the kernel. Of this
// process it is as fine as the kernel's account, of others it comes in ticks of 10 ms.
func SystemTime(pid int) (time.Duration, error) {
	if pid == os.Getpid() {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			return 0, os.NewSyscallError("getrusage", err)
		}
		return time.Duration(u.Stime.Nano()), nil
	}
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return sumTicks(fields[12:13])
}

// MachineCPU returns the processor time that the whole machine has spent
// working since it was started, on all its CPUs: user, nice, system, interrupts
// and soft interrupts; not idle, waiting for disks, or stolen by other guests.
func MachineCPU() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return parseMachineCPU(string(line))
}

// parseMachineCPU reads the first line of /proc/stat:
// cpu user nice system idle iowait irq softirq steal guest guest_nice,
// where user and nice hold the guests' time already.
func parseMachineCPU(line string) (time.Duration, error) {
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: unexpected first line %q", line)
	}
	return sumTicks([]string{f[1], f[2], f[3], f[6], f[7]})
}

// Parent returns the id of the process's parent.
func Parent(pid int) (int, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(fields[1])
}

// Children returns the ids of the processes whose parent is pid.
func Children(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		if parent, err := Parent(id); err == nil && parent == pid {
			found = append(found, id)
		}
	}
	return found, nil
}

// statFields returns the fields of /proc/PID/stat from the third (state) on. The
// second, the name in parentheses, may hold blanks and parentheses itself.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat: only %d fields after the name", pid, len(fields))
	}
	return fields, nil
}

// sumTicks adds up decimal counts of ticks.
func sumTicks(counts []string) (time.Duration, error) {
	var sum int64
	for _, c := range counts {
		n, err := strconv.ParseInt(c, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}
