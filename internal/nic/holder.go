package nic

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrServed is in the error of Open when another server has the device.
var ErrServed = errors.New("already served")

// process names a process for an error message.
func process(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name)))
}

// lockHolder names the process that has a lock on f, as /proc/locks tells it.
func lockHolder(f *os.File) string {
	var st unix.Stat_t
	locks, err := os.Open("/proc/locks")
	if err != nil || unix.Fstat(int(f.Fd()), &st) != nil {
		return "another process"
	}
	defer locks.Close()
	inode := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 00:1f:5678 0 EOF
		field := strings.Fields(lines.Text())
		if len(field) > 5 && field[1] == "FLOCK" && field[5] == inode {
			if pid, err := strconv.Atoi(field[4]); err == nil {
				return process(pid)
			}
		}
	}
	return "another process"
}

// programHolder names the process that has an eBPF program loaded, by looking at
// everybody's descriptors.
func programHolder(id uint32) string {
	want := fmt.Sprintf("\nprog_id:\t%d\n", id)
	infos, err := filepath.Glob("/proc/[0-9]*/fdinfo/[0-9]*")
	if err != nil {
		return "another process"
	}
	for _, path := range infos {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b)+"\n", want) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil {
			return process(pid)
		}
	}
	return fmt.Sprintf("nobody who is there: a server that has died has left program %d there, with pins of its own", id)
}
