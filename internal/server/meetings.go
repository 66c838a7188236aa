package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// meetings is the directory beside the server's socket in which each child has a
// socket of its own, named by its stream: children outlive a server that is
// killed, and the next one finds them there. Only the server's user can enter it.
type meetings struct {
	path string
	fd   int // of the directory: a socket's path has 107 octets at most, this way few are needed
}

func openMeetings(socket string) (*meetings, error) {
	m := &meetings{path: socket + ".d"}
	if err := os.MkdirAll(m.path, 0o700); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	fd, err := unix.Open(m.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("server: %s: %w", m.path, err)
	}
	m.fd = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("server: %s is not this user's alone", m.path)
	}
	return m, nil
}

func meetingName(v wire.VCI) string { return strconv.Itoa(v.Stream()) + ".sock" }

func (m *meetings) short(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", m.fd, name)
}

// make binds a child's socket. The child listens: then whoever connects sees who it is.
func (m *meetings) make(v wire.VCI) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	m.remove(v) // left behind
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: m.short(meetingName(v))}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("meeting point %s: %w", filepath.Join(m.path, meetingName(v)), err)
	}
	return os.NewFile(uintptr(fd), "meeting point"), nil
}

func (m *meetings) remove(v wire.VCI) { os.Remove(filepath.Join(m.path, meetingName(v))) }

// find connects to all children that are there, and removes what others have left.
func (m *meetings) find() (found []*net.UnixConn, err error) {
	entries, err := os.ReadDir(m.path)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".sock") {
			continue
		}
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: m.short(e.Name()), Net: "unixpacket"})
		switch {
		case err == nil:
			found = append(found, conn)
		case errors.Is(err, unix.ECONNREFUSED):
			os.Remove(filepath.Join(m.path, e.Name()))
		default:
			return found, fmt.Errorf("server: looking for the children of the server before: %w", err)
		}
	}
	return found, nil
}

// close removes the directory if no child is left.
func (m *meetings) close() {
	unix.Close(m.fd)
	os.Remove(m.path)
}
