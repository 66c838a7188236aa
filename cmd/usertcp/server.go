package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"usertcp/internal/nic"
	"usertcp/internal/perf"
	"usertcp/internal/server"
)

// serverFlags are those of server.
type serverFlags struct {
	ring, socket, cpus string
	user               string
	maxChildren        int
	limits             server.Limits
	mem, userMem       size
	addrs, nic         []string
	allow, deny        []string
	pins               string
	quiet              bool
	crc                bool
	receive            string
	pools              server.PoolOptions
}

func newServer() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "server [-ring DIR -addr ADDR] [-nic DEVICES] [flags]",
		Short: "a host's connection server",
		Long: `Run a host's connection server until SIGINT or SIGTERM, which end its
children too, or SIGUSR2, which leaves them for the server that follows.

All servers with the same -ring are hosts on one network, each with the
addresses that its -addr flags give it. Programs find a host's server by its
socket: start them with USERTCP_SERVER=PATH in their environment, or leave
-socket out, here and there.

With -nic programs talk over the host's own network devices and addresses,
beside the kernel's TCP; that takes root. Netfilter does not see this traffic:
-allow and -deny say with whom.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.ring, "ring", "", "`directory` in which the ring's hosts meet")
	flags.StringArrayVar(&f.addrs, "addr", nil, "an `address` of this host")
	flags.StringSliceVar(&f.nic, "nic", nil, "serve these network `devices`: eth0,lo")
	flags.StringArrayVar(&f.allow, "allow", nil, "over devices, allow only what a `rule` is about:\n192.0.2.0/24, 192.0.2.1:22, *:80, [2001:db8::]:80-89")
	flags.StringArrayVar(&f.deny, "deny", nil, "over devices, deny what a `rule` is about")
	flags.StringVar(&f.pins, "pins", "", "`directory` in which -nic pins what outlives the\nserver (default: one for each network namespace)")
	flags.StringVar(&f.socket, "socket", "", "`path` of the socket (default: $USERTCP_SERVER,\nelse the user's, else the system's)")
	flags.StringVar(&f.cpus, "cpus", "", "run only on the CPUs of this `list`: 0 or 0,2 or 0-3")
	flags.BoolVar(&f.crc, "crc", false, "AAL-5's CRC-32 on every PDU (all hosts of the ring)")
	flags.StringVar(&f.user, "user", "", "`user` that children run as (default for root:\nusertcp if there is one, else 61000)")
	flags.StringVar(&f.pools.Lock, "lock", "adaptive", "`lock` between the halves: adaptive, semaphore,\npeterson or edwards")
	flags.IntVar(&f.pools.PDU, "pdu", 65535, "`octets` of a packet on the ring")
	flags.StringVar(&f.receive, "receive", "caller", "`who` takes packets: caller, child")
	flags.BoolVar(&f.pools.Cached, "buffer-cache", false, "buffers come from a cache of each half's")
	flags.StringVar(&f.pools.Copies, "copies", "placed", "`how` to copy data: placed (where a reader waits\nfor it), single, normal")
	flags.IntVar(&f.pools.Realtime, "realtime", 0, "children run under SCHED_FIFO with this `prio`")
	flags.IntVar(&f.pools.CPU, "child-cpu", -1, "real-time children run on this `CPU`")
	flags.IntVar(&f.maxChildren, "max-children", 512, "at most `n` programs of a user, but root")
	flags.IntVar(&f.limits.UserSockets, "max-sockets", 0, "at most `n` sockets of a user, but root\n(default 1048576)")
	flags.Var(&f.userMem, "max-memory", "at most `SIZE` of memory for a user's programs, but\nroot's (default half of the host's)")
	flags.Var(&f.mem, "mem", "at most `SIZE` of buffers in use, as the last number\nof tcp_mem (default 3/32 of the host's memory)")
	flags.IntVar(&f.limits.Orphans, "max-orphans", 0, "at most `n` orphans, as tcp_max_orphans (default\none for each 256K of memory)")
	flags.IntVar(&f.limits.OrphanRetries, "orphan-retries", 0, "`n` timeouts in a row end an orphan, as\ntcp_orphan_retries (default 8)")
	flags.DurationVar(&f.limits.FinTimeout, "fin-timeout", 0, "longest `t` of an orphan in FIN-WAIT-2, as\ntcp_fin_timeout (default 60s)")
	flags.BoolVar(&f.quiet, "quiet", false, "log warnings and errors only")
	return cmd
}

func (f *serverFlags) run(cmd *cobra.Command) error {
	cfg, err := f.config(cmd)
	if err != nil {
		return err
	}
	if err := pin(f.cpus); err != nil {
		return err
	}
	// Whoever reads the log may end first. The server is to end in order then, too,
	// and leave nothing on the devices.
	signal.Ignore(unix.SIGPIPE)
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, unix.SIGUSR2)
	cfg.Leave = leave
	return server.Run(cmd.Context(), cfg)
}

// config checks the flags.
func (f *serverFlags) config(cmd *cobra.Command) (server.Config, error) {
	cfg := server.Config{Ring: f.ring, Socket: f.socket, CRC: f.crc, User: f.user, MaxChildren: f.maxChildren, Stderr: cmd.ErrOrStderr()}
	if f.ring == "" && len(f.nic) == 0 {
		return cfg, errors.New("server needs -ring DIR or -nic DEVICES")
	}
	if f.ring != "" && len(f.addrs) == 0 {
		return cfg, errors.New("server needs -addr ADDR")
	}
	if err := f.devices(&cfg); err != nil {
		return cfg, err
	}
	if f.pools.CPU >= 0 && f.pools.Realtime == 0 {
		return cfg, errors.New("-child-cpu is for real-time children: it needs -realtime")
	}
	if f.receive != "caller" && f.receive != "child" {
		return cfg, fmt.Errorf("unknown value %q of -receive (there are: caller, child)", f.receive)
	}
	cfg.Limits = f.limits
	cfg.Limits.Memory, cfg.Limits.UserMemory = uint64(f.mem), uint64(f.userMem)
	cfg.Pools = f.pools
	cfg.Pools.ChildTakes = f.receive == "child"
	for _, s := range f.addrs {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return cfg, fmt.Errorf("-addr %s: not an IP address", s)
		}
		cfg.Addrs = append(cfg.Addrs, addr)
	}
	if cfg.Socket == "" {
		cfg.Socket = defaultSocket()
	}
	level := slog.LevelInfo
	if f.quiet {
		level = slog.LevelWarn
	}
	cfg.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	cfg.Ready = func(*server.Server) {
		fmt.Fprintln(cmd.OutOrStdout(), perf.ListeningOn(cfg.Socket))
	}
	return cfg, nil
}

// devices checks the flags about network devices.
func (f *serverFlags) devices(cfg *server.Config) error {
	if len(f.nic) == 0 {
		if len(f.allow)+len(f.deny)+len(f.pins) > 0 {
			return errors.New("-allow, -deny and -pins are for -nic DEVICES")
		}
		return nil
	}
	cfg.NIC = &nic.Config{Devices: f.nic, Pins: f.pins}
	for _, l := range []struct {
		texts []string
		rules *[]nic.Rule
	}{{f.allow, &cfg.NIC.Allow}, {f.deny, &cfg.NIC.Deny}} {
		for _, s := range l.texts {
			r, err := nic.ParseRule(s)
			if err != nil {
				return err
			}
			*l.rules = append(*l.rules, r...)
		}
	}
	return nil
}

// defaultSocket is the first of the places where the library looks for a server
// that is fit for this user: named by the environment, the user's own, the
// system's.
func defaultSocket() string {
	if path := os.Getenv("USERTCP_SERVER"); path != "" {
		return path
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = "/run"
	}
	return filepath.Join(dir, "usertcp.sock")
}
