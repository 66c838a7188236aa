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

// Host is where programs of a measurement run: what a connection server serves, or a
// host without one.
type Host struct {
	Addr   string // IP address
	Socket string // path of the server's socket; empty: there is none

	within func(start func() error) error // starts processes in the host's namespace; nil: in ours
}

// env is what a program of this host needs in its environment.
func (h *Host) env() []string {
	if h.Socket == "" {
		return nil
	}
	return []string{serverEnv + "=" + h.Socket}
}

// Hosts are two hosts: on a private ring in a temporary directory, or joined by
// network devices.
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
		Client: Host{Addr: "10.1.0.1", Socket: filepath.Join(dir, "1.sock")},
		Server: Host{Addr: "10.1.0.2", Socket: filepath.Join(dir, "2.sock")},
		dir:    dir,
	}
	on := func(h *Host) []string {
		return append([]string{"-addr", h.Addr, "-ring", filepath.Join(dir, "ring")}, flags...)
	}
	err = h.Client.start(ctx, g, command, on(&h.Client), cpus.client)
	if err == nil {
		err = h.Server.start(ctx, g, command, on(&h.Server), cpus.server)
	}
	return h, err // with the directory, which the runner removes
}

// start starts one connection server and waits until it listens.
func (h *Host) start(ctx context.Context, g *proc.Group, command Commander, flags []string, cpus string) error {
	args := append([]string{"server", "-socket", h.Socket}, flags...)
	if cpus != "" {
		args = append(args, "-cpus", cpus)
	}
	c := command(fmt.Sprintf("the connection server of %s", h.Addr), args...)
	c.Within = h.within
	p, err := g.Start(c)
	if err != nil {
		return err
	}
	_, err = p.WaitLine(ctx, startPatience, listeningOn)
	return err
}
