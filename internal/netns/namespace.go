package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespace is a host with a network of its own. It is there until Close and the
// end of the last process in it.
type Namespace struct{ file *os.File }

// New makes a namespace in which lo is up and nothing else is there. The error of
// who may not wraps EPERM.
func New() (*Namespace, error) {
	n := &Namespace{}
	err := inside(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		if n.file, err = current(); err != nil {
			return err
		}
		return prepare()
	})
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("making a network namespace, which takes root: %w", err)
	}
	return n, nil
}

// prepare makes lo of a new namespace ready. Addresses are to be used at once, not
// after a search for duplicates.
func prepare() error {
	for _, name := range []string{"default", "all"} {
		for setting, value := range map[string]string{"accept_dad": "0", "accept_ra": "0", "router_solicitations": "0"} {
			err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, setting), []byte(value), 0)
			if err != nil && !os.IsNotExist(err) { // it is not there without IPv6
				return err
			}
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// Close lets go of the namespace.
func (n *Namespace) Close() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}

// Inode is the number that tells the namespace from all others.
func (n *Namespace) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd(), &st); err != nil {
		return 0, fmt.Errorf("network namespace: %w", err)
	}
	return st.Ino, nil
}

func (n *Namespace) fd() int { return int(n.file.Fd()) }

// Do runs f in the namespace, on the calling goroutine: sockets, devices and
// processes that f makes belong to the namespace, and stay there. Goroutines that f
// starts run elsewhere. An error of Do's own means that f has not run.
func (n *Namespace) Do(f func() error) error {
	return inside(func() error { return unix.Setns(n.fd(), unix.CLONE_NEWNET) }, f)
}

// inside runs f on a thread that enter has taken to another namespace. A thread that
// can't come back keeps its lock, so that it ends with its goroutine.
func inside(enter, f func() error) error {
	runtime.LockOSThread()
	before, err := current()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer before.Close()
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(int(before.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// current returns the namespace that the calling thread is in.
func current() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }
