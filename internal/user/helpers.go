package user

import (
	"slices"
	"sync"
)

// helpers are the processes that work for this one: the connection server first,
// then the child.
type helpers struct {
	mu   sync.Mutex
	pids []int
}

func (h *helpers) add(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pids = append(h.pids, pid)
}

// replace notes that another process is the child now.
func (h *helpers) replace(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.pids); n > 0 && pid != 0 {
		h.pids[n-1] = pid
	}
}

func (h *helpers) list() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.pids)
}
