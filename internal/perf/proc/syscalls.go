package proc

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SystemCalls counts every system call that processes begin, from its making on: the
// kernel's tracepoint raw_syscalls:sys_enter, by perf_event_open(2). While it counts
// each system call takes longer (about 0.1 µs), so that what is measured meanwhile is
// not to be compared with what is measured without. It takes root, or CAP_PERFMON
// and a mounted tracefs that this user may read.
type SystemCalls struct {
	events map[int][]int // process: descriptors, one for each thread that it had
}

// tracefs is where the kernel may show its tracepoints.
var tracefs = []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}

// CountSystemCalls begins to count those of the processes, threads that they start
// later included. A process that is gone counts nothing.
func CountSystemCalls(pids []int) (*SystemCalls, error) {
	id, err := tracepoint("raw_syscalls/sys_enter")
	if err != nil {
		return nil, err
	}
	c := &SystemCalls{events: map[int][]int{}}
	for _, pid := range pids {
		if err := c.open(pid, id); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// tracepoint returns the number by which the kernel knows one.
func tracepoint(name string) (id uint64, err error) {
	for _, dir := range tracefs {
		if id, err = eventIn(dir, name); err == nil {
			return id, nil
		}
	}
	dir, err := mountTracefs()
	if err == nil {
		id, err = eventIn(fmt.Sprintf("/proc/self/fd/%d", dir), name)
		unix.Close(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("counting system calls: %w", err)
	}
	return id, nil
}

// eventIn returns the number of a tracepoint in a mounted tracefs.
func eventIn(dir, name string) (uint64, error) {
	b, err := os.ReadFile(dir + "/events/" + name + "/id")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
}

// mountTracefs mounts tracefs where nobody sees it, for a system that has not mounted it,
// and returns its root. It takes root, and Linux 5.2.
func mountTracefs() (int, error) {
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	return dir, os.NewSyscallError("fsmount", err)
}

// open begins to count those of one process. Threads that one of its threads starts
// are counted with it; one started by a thread that was not yet counted is in the
// next list.
func (c *SystemCalls) open(pid int, id uint64) error {
	counted := map[int]bool{}
	for {
		fresh := false
		for _, tid := range threads(pid) {
			if counted[tid] {
				continue
			}
			fresh, counted[tid] = true, true
			fd, err := openCounter(tid, id)
			if err == unix.ESRCH {
				continue // it has just ended
			}
			if err != nil {
				return os.NewSyscallError("perf_event_open", err)
			}
			c.events[pid] = append(c.events[pid], fd)
		}
		if !fresh || len(counted) > maxThreads {
			return nil
		}
	}
}

// maxThreads bounds the search for a process's threads.
const maxThreads = 4096

// threads lists a process's, none if it is gone.
func threads(pid int) (tids []int) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}

// openCounter counts a tracepoint in one thread and those that it starts.
func openCounter(tid int, id uint64) (int, error) {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unix.PERF_ATTR_SIZE_VER0)
	return unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// Of returns how many system calls a process has begun since CountSystemCalls.
func (c *SystemCalls) Of(pid int) (sum int64) {
	if c == nil {
		return 0
	}
	var b [8]byte
	for _, fd := range c.events[pid] {
		if n, err := unix.Read(fd, b[:]); err == nil && n == len(b) {
			sum += int64(binary.NativeEndian.Uint64(b[:]))
		}
	}
	return sum
}

// Close ends the counting.
func (c *SystemCalls) Close() {
	if c == nil {
		return
	}
	for _, fds := range c.events {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	c.events = nil
}
