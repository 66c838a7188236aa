package server

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
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

// program is an executable that a child of another user may run, wherever it lies:
// it is opened here, and run by its descriptor.
type program struct {
	path string
	args []string // that come first
	file *os.File // nil: it is run by its path
}

// minProgramFd is beyond the descriptors that a child inherits.
const minProgramFd = 64

func openProgram(command []string, cred *syscall.Credential) (*program, error) {
	p := &program{path: command[0], args: command[1:]}
	if cred == nil {
		return p, nil
	}
	fd, err := unix.Open(p.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return p, nil // whoever starts it learns why
	}
	defer unix.Close(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, minProgramFd)
	if err != nil {
		return nil, fmt.Errorf("server: the child's program: %w", err)
	}
	p.file = os.NewFile(uintptr(high), p.path)
	return p, nil
}

func (p *program) close() {
	if p != nil && p.file != nil {
		p.file.Close()
	}
}

func (p *program) command(args []string) *exec.Cmd {
	cmd := exec.Command(p.path, append(p.args[:len(p.args):len(p.args)], args...)...)
	if p.file != nil {
		cmd.Path, cmd.Err = fmt.Sprintf("/proc/self/fd/%d", p.file.Fd()), nil
		cmd.Dir = "/"
	}
	return cmd
}

// oomScore makes the kernel end other processes before a child when memory is short:
// its application first, which the child outlives. Only root can.
const oomScore = "-500"

func protect(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(oomScore), 0)
}
