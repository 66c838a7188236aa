package usertcp

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"usertcp/internal/user"
)

// process is this process's one stack: one segment, one child; and those that it has
// taken over beside it.
var process struct {
	sync.Mutex
	stack *user.Stack
	taken []*user.Stack
}

// stack returns the process's stack, and attaches to the connection server if
// there is none yet, or if its child has died.
func stack(ctx context.Context) (*user.Stack, error) {
	process.Lock()
	defer process.Unlock()
	if process.stack != nil && process.stack.Alive() {
		return process.stack, nil
	}
	s, err := user.Attach(ctx, ServerPath())
	if err != nil {
		return nil, err
	}
	process.stack = s
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
// connection server and the child. It attaches to the server if need be.
func Helpers(ctx context.Context) ([]int, error) {
	s, err := stack(ctx)
	if err != nil {
		return nil, fmt.Errorf("usertcp: %w", err)
	}
	return s.Pids(), nil
}
