package usertcp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"usertcp/internal/user"
)

// process is what this process has: a stack, one segment and one child, for each of its
// shards that was used; and those that it has taken over beside them.
var process struct {
	sync.Mutex
	shards []*user.Stack // fixed in number when the first is attached
	want   int           // SetShards
	next   int           // shard of the next connection
	taken  []*user.Stack
}

// stack returns the stack of the next connection to be opened.
func stack(ctx context.Context) (*user.Stack, error) {
	process.Lock()
	defer process.Unlock()
	if err := makeShards(); err != nil {
		return nil, err
	}
	process.next = (process.next + 1) % len(process.shards)
	return shard(ctx, process.next)
}

// shard returns the stack of shard i, and attaches to the connection server if there is
// none yet, or if its child has died. process is locked.
func shard(ctx context.Context, i int) (*user.Stack, error) {
	if s := process.shards[i]; s != nil && s.Alive() {
		return s, nil
	}
	s, err := user.Attach(ctx, ServerPath())
	if err != nil {
		return nil, err
	}
	process.shards[i] = s
	return s, nil
}

// ServerPath returns the path of the connection server's socket that this
// process uses: $USERTCP_SERVER if it is set, else the first of the per-user and
// the system default paths at which there is a socket, else the per-user one.
func ServerPath() string {
	if p := os.Getenv("USERTCP_SERVER"); p != "" {
		return p
	}
	paths := serverPaths()
	for _, p := range paths {
		if st, err := os.Stat(p); err == nil && st.Mode()&os.ModeSocket != 0 {
			return p
		}
	}
	return paths[0]
}

func serverPaths() []string {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		runtime = filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	}
	return []string{filepath.Join(runtime, "usertcp.sock"), "/run/usertcp.sock"}
}

// Helpers returns the process IDs of those that work for this process's TCP: the
// connection server and the child, or the children of all shards. It attaches to the
// server if need be.
func Helpers(ctx context.Context) ([]int, error) {
	all, err := stacks(ctx)
	if err != nil {
		return nil, fmt.Errorf("usertcp: %w", err)
	}
	var pids []int
	for _, s := range all {
		for _, pid := range s.Pids() {
			if !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}
