package perf

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"usertcp/internal/perf/proc"
)

// serverEnv tells a program where its connection server listens.
const serverEnv = "USERTCP_SERVER"

// Host is one connection server on the ring, and so one host.
type Host struct {
	Addr   string // IP address
	Socket string // path of the server's socket
}

// env is what a program of this host needs in its environment.
func (h *Host) env() []string { return []string{serverEnv + "=" + h.Socket} }

// Hosts are two hosts on a private ring in a temporary directory.
type Hosts struct {
	Client, Server Host

	dir string
}

// startHosts starts the two connection servers as members of the group. What it
// returns beside an error still has a directory to remove.
func startHosts(ctx context.Context, g *proc.Group, command Commander, cpus sides, flags []string) (*Hosts, error) {
	dir, err := os.MkdirTemp("", "usertcp-")
	if err != nil {
		return nil, err
	}
	h := &Hosts{
		Client: Host{"10.1.0.1", filepath.Join(dir, "1.sock")},
		Server: Host{"10.1.0.2", filepath.Join(dir, "2.sock")},
		dir:    dir,
	}
	err = h.Client.start(ctx, g, command, append([]string{"-ring", filepath.Join(dir, "ring")}, flags...), cpus.client)
	if err == nil {
		err = h.Server.start(ctx, g, command, append([]string{"-ring", filepath.Join(dir, "ring")}, flags...), cpus.server)
	}
	return h, err // with the directory, which the runner removes
}

// start starts one connection server and waits until it listens.
func (h *Host) start(ctx context.Context, g *proc.Group, command Commander, flags []string, cpus string) error {
	args := append([]string{"server", "-addr", h.Addr, "-socket", h.Socket}, flags...)
	if cpus != "" {
		args = append(args, "-cpus", cpus)
	}
	name := fmt.Sprintf("the connection server of %s", h.Addr)
	p, err := g.Start(command(name, args...))
	if err != nil {
		return err
	}
	_, err = p.WaitLine(ctx, patience, listeningOn)
	return err
}
