package server

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Children of a server that root runs have a user of their own: then no user can
// signal or trace them, and they have no privilege to lose.
const (
	childUser = "usertcp" // if there is such a user
	childID   = 61000     // else this user and group: a number that no distribution gives away
)

// identify finds the user that children run as: nil means the server's own.
func (c *Config) identify() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		if c.User != "" && c.User != strconv.Itoa(os.Geteuid()) {
			return nil, fmt.Errorf("server: only root can run children as user %s", c.User)
		}
		return nil, nil
	}
	name := c.User
	if name == "" {
		if _, err := user.Lookup(childUser); err != nil {
			return &syscall.Credential{Uid: childID, Gid: childID}, nil
		}
		name = childUser
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return credential(uint32(n), uint32(n)), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("server: the children's user: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("server: user %s has the number %s", name, u.Uid)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("server: user %s has the group %s", name, u.Gid)
	}
	return credential(uint32(uid), uint32(gid)), nil
}

func credential(uid, gid uint32) *syscall.Credential {
	if uid == 0 {
		return nil
	}
	return &syscall.Credential{Uid: uid, Gid: gid}
}

// program is an executable that a child of another user may run, wherever it lies, and
// whatever will lie there: it is opened once, and run by its descriptor.
type program struct {
	path string
	args []string // that come first
	file *os.File // nil: it is run by its path
}

func openProgram(command []string) *program {
	p := &program{path: command[0], args: command[1:]}
	if fd, err := unix.Open(p.path, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil { // else whoever starts it learns why
		p.file = os.NewFile(uintptr(fd), p.path)
	}
	return p
}

func (p *program) close() {
	if p != nil && p.file != nil {
		p.file.Close()
	}
}

// command returns the command that starts the program, or another one in its place,
// with arguments and descriptors. It inherits itself behind those: a descriptor that it
// does not inherit might be overwritten by those that the new process puts in order.
func (p *program) command(args []string, files []*os.File, other *os.File) *exec.Cmd {
	file := p.file
	if other != nil {
		file = other
	}
	if file == nil {
		cmd := exec.Command(p.path, append(p.args[:len(p.args):len(p.args)], args...)...)
		cmd.ExtraFiles = files
		return cmd
	}
	fd := strconv.Itoa(firstInherited + len(files))
	cmd := exec.Command(p.path, slices.Concat(p.args, args, []string{"-program", fd})...)
	cmd.ExtraFiles = append(files[:len(files):len(files)], file)
	cmd.Path, cmd.Err, cmd.Dir = "/proc/self/fd/"+fd, nil, "/"
	return cmd
}

// firstInherited is the number of the first descriptor that a process inherits beside
// its standard streams.
const firstInherited = 3

// oomScore makes the kernel end other processes before a child when memory is short:
// its application first, which the child outlives. Only root can.
const oomScore = "-500"

func protect(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(oomScore), 0)
}
