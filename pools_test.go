package usertcp

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/user"
)

// pools are the arrangements that can be chosen for a server's pools.
var pools = map[string]server.PoolOptions{
	"semaphore":      {Lock: "semaphore"},
	"Peterson":       {Lock: "peterson"},
	"child receives": {ChildTakes: true, Lock: "semaphore"},
	"short PDUs":     {PDU: 1500},
}

// Data goes both ways in each arrangement, and a child that is killed has a successor
// that goes on in the same.
func TestArrangementsOfPools(t *testing.T) {
	for name, o := range pools {
		t.Run(name, func(t *testing.T) {
			n := twoHostsWith(t, o)
			a, b := n.pair(t)
			if err := exchange(a, b, 3_000_000, 1); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func twoHostsWith(t *testing.T, o server.PoolOptions) *network {
	t.Helper()
	dir := testhost.Dir(t)
	var s [2]*user.Stack
	for i := range s {
		s[i] = testhost.StartWith(t, dir, func(c *server.Config) { c.Pools = o }, testhost.Addrs(i+1)...).Attach(t)
	}
	return &network{s[0], s[1], "10.1.0.2:0"}
}

// A real-time child runs under SCHED_FIFO, in all its threads, on its CPU; with that
// Edwards' lock can be chosen, and a program that is not on the CPU is told so.
func TestRealTimeChild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("real-time priorities need root")
	}
	o := server.PoolOptions{Realtime: 7, CPU: 0}
	s := twoHostsWith(t, o).a
	child := s.Pids()[1]
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", child))
	if err != nil || len(tasks) == 0 {
		t.Fatal(err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil {
			continue // it has ended
		}
		var set unix.CPUSet
		if unix.SchedGetaffinity(tid, &set) == nil && (set.Count() != 1 || !set.IsSet(0)) || attr.Policy != unix.SCHED_FIFO || attr.Priority != 7 {
			t.Errorf("thread %d: policy %d, priority %d, %d CPUs", tid, attr.Policy, attr.Priority, set.Count())
		}
	}
	o.Lock = "edwards"
	h := testhost.StartWith(t, testhost.Dir(t), func(c *server.Config) { c.Pools = o }, testhost.Addrs(1)...)
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil && set.Count() < 2 {
		t.Skip("there is one CPU only")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := user.Attach(ctx, h.Socket); err == nil || !strings.Contains(err.Error(), "taskset -c 0") {
		t.Errorf("on any CPU: %v", err)
	}
}
