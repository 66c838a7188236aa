package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Switches returns how often the threads of a process have given a CPU up since they
// started, by themselves or not. Threads that have ended do not count.
func Switches(pid int) (int64, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("context switches: process %d: %w", pid, os.ErrNotExist)
	}
	var sum int64
	for _, path := range tasks {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		sum += switchesIn(string(b))
	}
	return sum, nil
}

// switchesIn adds up both kinds in the text of a status file.
func switchesIn(status string) (sum int64) {
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		if key == "voluntary_ctxt_switches" || key == "nonvoluntary_ctxt_switches" {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			sum += n
		}
	}
	return sum
}
