package perf

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"usertcp"
	"usertcp/internal/perf/proc"
)

// userStack is this module's TCP.
type userStack struct{ tuning Tuning }

func (userStack) Name() string { return "user" }

// options are those of all connections.
func (s userStack) options() (list []usertcp.Option) {
	for _, o := range s.tuning.options() {
		list = append(list, usertcp.Option{Level: o[0], Name: o[1], Value: o[2]})
	}
	return list
}

func (s userStack) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := usertcp.Dialer{Options: s.options()}
	return d.DialContext(ctx, "tcp", addr)
}

func (s userStack) Listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := usertcp.ListenConfig{Options: s.options()}
	return lc.Listen(ctx, "tcp", addr)
}

// Helpers tells child and connection server apart by who started whom.
func (userStack) Helpers() []Helper {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	pids, err := usertcp.Helpers(ctx)
	if err != nil {
		return nil // the test itself will say what is wrong
	}
	return roles(pids, proc.Parent)
}

// roles names the processes: the child is the one whose parent is among them.
func roles(pids []int, parent func(int) (int, error)) []Helper {
	var helpers []Helper
	for _, pid := range pids {
		role := "server"
		if p, err := parent(pid); err == nil && slices.Contains(pids, p) {
			role = "child"
		}
		helpers = append(helpers, Helper{role, pid})
	}
	// In the order of closeness: the child, then the server.
	slices.SortStableFunc(helpers, func(a, b Helper) int { return strings.Compare(a.Role, b.Role) })
	return helpers
}
