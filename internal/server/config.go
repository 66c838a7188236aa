package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"usertcp/internal/nic"
	"usertcp/internal/wire"
)

// Config says what host a server is. The zero value of a field that is not
// marked as needed means its default.
type Config struct {
	Ring   string       // directory of the ring; made if it is not there
	Addrs  []netip.Addr // the host's addresses on the ring; needed if there is one
	NIC    *nic.Config  // devices to be served; this or Ring is needed
	Socket string       // needed: path of the Unix socket for applications
	User   string       // that children run as, name or number; default for root: usertcp, or else number 61000
	CRC    bool         // every PDU carries AAL-5's CRC-32; hosts that differ exchange frames instead of circuits

	Pools PoolOptions // how pools are used

	Limits      Limits
	MaxChildren int // of one user, root excepted: more programs get EMFILE; default 512

	Log    *slog.Logger  // default: nothing is logged
	Stderr io.Writer     // of the children; default: the server's own
	Ready  func(*Server) // called by Run when applications can connect

	// Leave makes Run return and leave all children for the next server.
	Leave <-chan os.Signal

	// ChildCommand is the program that is a child, and its first arguments;
	// default: this executable with "child". SpawnArgs says what follows.
	ChildCommand []string

	// Spawn starts a child instead of ChildCommand.
	Spawn func(SpawnArgs) (*exec.Cmd, error)

	program *program // what Spawn runs by default
}

// PoolOptions are arrangements of the paper's that can be measured against each other.
// The zero value is the default.
type PoolOptions struct {
	Lock       string // of a segment: adaptive (default), semaphore, peterson or edwards
	ChildTakes bool   // the child takes all packets, as in 1995, instead of whoever is there
	Cached     bool   // buffers come from a cache of each half's (paper, 4.5.1)
	Copies     string // of a payload on each side: placed (default), single or normal
	PDU        int    // longest packet on the ring, octets; 0: 65,535
	Realtime   int    // priority of the children under SCHED_FIFO, 1 to 99; 0: ordinary
	CPU        int    // of the children, if Realtime is set; -1: any. With edwards their programs must be there too
}

// check reports the first thing that is wrong.
func (o *PoolOptions) check() error {
	switch {
	case o.Lock != "" && !slices.Contains(lockNames, o.Lock):
		return fmt.Errorf("server: no lock %q (there are: %s)", o.Lock, strings.Join(lockNames, ", "))
	case o.Copies != "" && !slices.Contains(copiesNames, o.Copies):
		return fmt.Errorf("server: no copies %q (there are: %s)", o.Copies, strings.Join(copiesNames, ", "))
	case o.PDU != 0 && (o.PDU < minPDU || o.PDU > maxPDU):
		return fmt.Errorf("server: PDUs of %d are not between %d and %d octets", o.PDU, minPDU, maxPDU)
	case o.Realtime < 0 || o.Realtime > 99:
		return fmt.Errorf("server: real-time priority %d is not between 1 and 99", o.Realtime)
	case o.CPU >= runtime.NumCPU():
		return fmt.Errorf("server: there is no CPU %d", o.CPU)
	case o.Lock == "edwards" && (o.Realtime == 0 || o.CPU < 0):
		return fmt.Errorf("server: Edwards' lock needs children at a real-time priority, and both halves on one CPU (paper, A.2)")
	}
	return nil
}

// Limits of a PDU: every host takes IPv6 packets of 1,280 octets (RFC 8200 section 5),
// and AAL-5 has no longer ones.
const (
	minPDU = 1280
	maxPDU = 65535
)

// lockNames are those of internal/shm, which a server does not import.
var lockNames = []string{"adaptive", "semaphore", "peterson", "edwards"}

// copiesNames say how often a payload is copied on each side: "placed" once, over devices
// by the kernel alone where a program waits for it, "single" once, over devices twice with
// the kernel's, "normal" once more.
var copiesNames = []string{"placed", "single", "normal"}

// args are what of it the child has to know.
func (o *PoolOptions) args() (args []string) {
	if o.Lock != "" {
		args = append(args, "-lock", o.Lock)
	}
	if o.Lock == "edwards" {
		args = append(args, "-cpu", strconv.Itoa(o.CPU))
	}
	if o.PDU != 0 {
		args = append(args, "-pdu", strconv.Itoa(o.PDU))
	}
	if o.ChildTakes {
		args = append(args, "-takes")
	}
	if o.Cached {
		args = append(args, "-buffer-cache")
	}
	switch o.Copies {
	case "single":
		args = append(args, "-unplaced")
	case "normal":
		args = append(args, "-copies")
	}
	return args
}

// SpawnArgs is what a child needs to know. It inherits four descriptors: 3 is
// its control channel to the server, 4 the channel for its frames, 5 its channel
// to the application, 6 a bound socket at which the next server will look for it.
type SpawnArgs struct {
	VCI       wire.VCI
	Addrs     []netip.Addr
	CRC       bool
	Pools     PoolOptions
	Successor bool // of a process that has ended: what that had comes over the control channel
	Files     [4]*os.File
	TAP       *os.File // the pool's device; nil: it has none, or its predecessor's comes
	Program   *os.File // its predecessor's; nil: the server's
	Stderr    io.Writer
}

// Args returns the arguments: -vci N -addr A [-addr A ...] [-crc] [-successor]
// [-tap DESCRIPTOR] [-lock NAME] [-cpu N] [-pdu N] [-takes]
// [-buffer-cache] [-copies]. Behind them comes, if it is
// run by its descriptor, -program DESCRIPTOR.
func (a *SpawnArgs) Args() []string {
	args := []string{"-vci", strconv.Itoa(int(a.VCI))}
	for _, addr := range a.Addrs {
		args = append(args, "-addr", addr.String())
	}
	if a.CRC {
		args = append(args, "-crc")
	}
	if a.Successor {
		args = append(args, "-successor")
	}
	if a.TAP != nil {
		args = append(args, "-tap", strconv.Itoa(firstInherited+len(a.Files)))
	}
	return append(args, a.Pools.args()...)
}

// extraFiles are what the child inherits, from descriptor 3 on.
func (a *SpawnArgs) extraFiles() []*os.File {
	if a.TAP != nil {
		return append(a.Files[:], a.TAP)
	}
	return a.Files[:]
}

// complete checks what can be checked and fills in the defaults.
func (c *Config) complete() error {
	switch {
	case c.Ring == "" && c.NIC == nil:
		return fmt.Errorf("server: neither a ring directory nor a device given")
	case c.Ring != "" && len(c.Addrs) == 0:
		return fmt.Errorf("server: no address given")
	case c.Socket == "":
		return fmt.Errorf("server: no socket path given")
	case c.MaxChildren < 0:
		return fmt.Errorf("server: at most %d children of a user", c.MaxChildren)
	}
	if err := errors.Join(c.Pools.check(), c.Limits.complete(hostMemory())); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxChildren == 0 {
		c.MaxChildren = maxChildrenPerUID
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if c.ChildCommand == nil {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("server: finding the child's program: %w", err)
		}
		c.ChildCommand = []string{exe, "child"}
	}
	if c.Spawn == nil {
		if err := c.Pools.possible(); err != nil {
			return fmt.Errorf("server: %w", err)
		}
		cred, err := c.identify()
		if err != nil {
			return err
		}
		p := openProgram(slices.Clone(c.ChildCommand))
		c.program = p
		c.Spawn = func(a SpawnArgs) (*exec.Cmd, error) { return startChild(p, cred, a) }
	}
	return nil
}

// startChild starts a child in a session of its own, which the terminal's Ctrl-C
// does not reach: the paper's child can't "be killed accidentally (or
// maliciously) by the user" (section 4.4.1).
func startChild(p *program, cred *syscall.Credential, a SpawnArgs) (*exec.Cmd, error) {
	cmd := p.command(a.Args(), a.extraFiles(), a.Program)
	cmd.Stderr = a.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: cred}
	cmd.WaitDelay = time.Second
	if err := a.Pools.schedule(cmd.Start); err != nil {
		return nil, err
	}
	protect(cmd.Process.Pid)
	return cmd, nil
}
