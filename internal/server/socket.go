package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// maxSocketPath is the longest path of a Unix socket in octets (sun_path, less its NUL).
const maxSocketPath = 107

// listen listens at path, which a dead server may have left behind but no live
// one may use. A server of root's serves everybody; another serves its own user,
// as whom the children run.
func listen(path string) (*net.UnixListener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("server: socket path %s has %d octets, at most %d are possible", path, len(path), maxSocketPath)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	unlock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	mode := fs.FileMode(0o600)
	if os.Geteuid() == 0 {
		mode = 0o666
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, fmt.Errorf("server: %w", err)
	}
	return l, nil
}

// lockDirectory keeps two servers from finding the same stale socket, and one
// from removing the other's new one. The lock is on the directory itself, so
// that it leaves no file behind.
func lockDirectory(dir string) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("server: %s: %w", dir, err)
	}
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(2 * time.Millisecond) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { unix.Close(fd) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			unix.Close(fd)
			return nil, fmt.Errorf("server: waited up to %v for the lock on %s: %w", lockTimeout, dir, err)
		}
	}
}

// removeStale removes a socket at path on which nobody listens.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("server: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("server: %s is there and is not a socket", path)
	}
	ch, err := message.Dial(path)
	if err == nil {
		defer ch.Close()
		pid, _, _, _ := ch.Peer()
		return fmt.Errorf("server: socket %s is in use by a live server (pid %d)", path, pid)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("server: looking whether socket %s is in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("server: removing a dead server's socket: %w", err)
	}
	return nil
}
