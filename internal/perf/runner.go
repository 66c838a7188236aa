package perf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"usertcp/internal/perf/proc"
)

// Commander returns the command that starts this program anew with the given
// arguments. name is what errors call the process.
type Commander func(name string, args ...string) proc.Command

// ThisProgram is the Commander of the program that is running.
func ThisProgram() (Commander, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return func(name string, args ...string) proc.Command {
		return proc.Command{Name: name, Path: exe, Args: args}
	}, nil
}

// listeningOn is what every process of this program that listens says on its
// standard output when it does; the address follows.
const listeningOn = "listening on "

// ListeningOn is the line that tells a Runner that a process is ready.
func ListeningOn(addr string) string { return listeningOn + addr }

// Runner runs measurements between processes of their own: a fresh listening
// and a fresh dialling program for each, and, for user-space TCP, two connection
// servers for all of them: on a ring (StartHosts), or over devices (StartLink).
type Runner struct {
	command Commander
	opt     Options
	cpus    sides
	hosts   *Hosts
	link    *link
	group   proc.Group
}

// Options say how a Runner's processes run.
type Options struct {
	Placement Placement
	Spin      string   // value of the programs' -spin flag; empty leaves it out
	Shards    int      // of a program over user-space TCP; 0 leaves it to the program
	Tuning    Tuning   // of both stacks' connections
	Server    []string // further flags of the connection servers
}

// NewRunner returns a runner whose Close must be called.
func NewRunner(command Commander, o Options) (*Runner, error) {
	cpus, err := o.Placement.resolve()
	if err == nil {
		err = o.Tuning.Check()
	}
	if err != nil {
		return nil, err
	}
	return &Runner{command: command, opt: o, cpus: cpus}, nil
}

// StartHosts starts the two connection servers that user-space TCP needs.
func (r *Runner) StartHosts(ctx context.Context) error {
	hosts, err := startHosts(ctx, &r.group, r.command, r.cpus, r.opt.Server)
	r.hosts = hosts
	return err
}

// Hosts returns the two hosts, nil before StartHosts.
func (r *Runner) Hosts() *Hosts { return r.hosts }

// Close ends every process that the runner started and removes its directories,
// network namespaces and what was in them.
func (r *Runner) Close() error {
	r.group.Stop()
	var err error
	if r.hosts != nil {
		err = os.RemoveAll(r.hosts.dir)
	}
	if r.link != nil {
		err = errors.Join(err, r.link.close())
	}
	return err
}

// Measure runs one test over the named stack.
func (r *Runner) Measure(ctx context.Context, stack string, setup Setup) (*Report, error) {
	return r.MeasurePair(ctx, Alike(stack), setup)
}

// MeasurePair runs one test between two stacks.
func (r *Runner) MeasurePair(ctx context.Context, p Pairing, setup Setup) (*Report, error) {
	report, err := r.measure(ctx, p, setup)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("measuring %s %s: %w", setup.Test, p.over(), err)
	}
	return report, endOf(ctx, err)
}

func (r *Runner) measure(ctx context.Context, p Pairing, setup Setup) (*Report, error) {
	listener := append([]string{"perf", "-listen", "-once"}, r.flags(p.Server)...)
	client := append([]string{"perf", "-json",
		"-test", string(setup.Test),
		"-size", strconv.Itoa(setup.Size),
		"-conns", strconv.Itoa(setup.Conns),
		"-time", setup.Time.String(),
		"-warmup", setup.Warmup.String()}, slices.Concat(setup.flags(), r.flags(p.Client))...)
	out, err := r.pair(ctx, p, listener, client, setup.duration()+startPatience+3*patience)
	if err != nil {
		return nil, err
	}
	var report Report
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("the dialling program's report: %w", err)
	}
	return &report, nil
}

// flags are those of the switches.
func (s *Setup) flags() (flags []string) {
	if s.CountCalls {
		flags = append(flags, "-count-calls")
	}
	if s.NoDelay {
		flags = append(flags, "-nodelay")
	}
	return flags
}

// flags are those of a program that uses a stack.
func (r *Runner) flags(stack string) []string {
	flags := []string{"-stack", stack}
	if r.opt.Spin != "" && stack == "user" {
		flags = append(flags, "-spin", r.opt.Spin)
	}
	if r.opt.Shards > 0 && stack == "user" {
		flags = append(flags, "-shards", strconv.Itoa(r.opt.Shards))
	}
	if n := r.opt.Tuning.Buffers; n > 0 {
		flags = append(flags, "-buffers", strconv.Itoa(n))
	}
	return flags
}

// pair starts a listening program, which gets its address as last argument, and
// when it listens a dialling program, which gets the address as -to. It waits
// for the end of both and returns what the dialling one wrote.
func (r *Runner) pair(ctx context.Context, p Pairing, listener, client []string, limit time.Duration) ([]byte, error) {
	hosts, err := r.place(p)
	if err != nil {
		return nil, err
	}
	onServer := &hosts.Server
	l, err := r.startOn("the listening program", onServer, r.cpus.server, append(listener, onServer.Addr+":0"))
	if err != nil {
		return nil, err
	}
	defer l.Stop(time.Second)
	addr, err := l.WaitLine(ctx, startPatience, listeningOn)
	if err != nil {
		return nil, err
	}
	c, err := r.startOn("the dialling program", &hosts.Client, r.cpus.client, append(client, "-to", addr))
	if err != nil {
		return nil, err
	}
	defer c.Stop(time.Second)
	if err := c.Wait(ctx, limit); err != nil {
		return nil, err
	}
	return c.Output(), l.Wait(ctx, startPatience)
}

// place returns where the two programs run.
func (r *Runner) place(p Pairing) (*Hosts, error) {
	switch {
	case r.link != nil:
		return r.link.hosts(p), nil
	case p.Client != p.Server:
		return nil, errors.New("two stacks do not meet without network devices between them")
	case p.Client != "user":
		loopback := Host{Addr: "127.0.0.1"}
		return &Hosts{Client: loopback, Server: loopback}, nil
	case r.hosts == nil:
		return nil, errors.New("no connection servers have been started")
	}
	return r.hosts, nil
}

// startOn starts a program on a host and on CPUs.
func (r *Runner) startOn(name string, h *Host, cpus string, args []string) (*proc.Process, error) {
	if cpus != "" {
		args = append(args, "-cpus", cpus)
	}
	c := r.command(name, args...)
	c.Env = append(c.Env, h.env()...)
	c.Within = h.within
	return r.group.Start(c)
}
