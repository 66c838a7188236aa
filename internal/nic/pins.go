package nic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pins is the directory for what outlives the server: maps and links. Its lock,
// which the kernel takes away from the dead, says that a server is there.
type pins struct {
	dir  string
	made []string // directories, the outermost first
	lock *os.File

	// under is the directory that our bpffs is mounted on, and its lock: a server that
	// does not see the mount, in a mount namespace of its own as those of ip netns exec
	// have one, sees this one, and must not remove it: that takes the mount away.
	under *os.File
}

// layout is part of the directory's name: programs that lay out the maps otherwise
// begin anew in another.
const layout = "v2"

// defaultPins returns the directory that servers of this network namespace share.
func defaultPins(namespace uint64) string {
	base := "/run/usertcp/bpf"
	if isBPF("/sys/fs/bpf") {
		base = "/sys/fs/bpf/usertcp"
	}
	return filepath.Join(base, strconv.FormatUint(namespace, 10))
}

func isBPF(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == unix.BPF_FS_MAGIC
}

// openPins makes the directory if need be, and takes its lock.
func openPins(dir string) (*pins, error) {
	p := &pins{dir: filepath.Join(dir, layout)}
	err := p.mount(dir)
	if err == nil {
		err = p.mkdir(p.dir)
	}
	if err == nil {
		err = p.take()
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// take takes the directory's lock.
func (p *pins) take() (err error) {
	p.lock, err = lockDir(p.dir)
	return err
}

// lockDir takes the lock of a directory: it is held until the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	defer f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w: held by %s", dir, ErrServed, lockHolder(f))
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}

// mount puts a bpffs at dir unless there is one at or above it.
func (p *pins) mount(dir string) (err error) {
	at := dir
	for at != "/" {
		if _, err := os.Stat(at); err == nil {
			break
		}
		at = filepath.Dir(at)
	}
	if isBPF(at) {
		return nil
	}
	if err := p.mkdir(dir); err != nil {
		return err
	}
	if p.under, err = lockDir(dir); err != nil {
		return err
	}
	if err := unix.Mount(mountSource, dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount a bpffs at %s: %w", dir, err)
	}
	return nil
}

// mkdir makes dir and what is missing above it, and remembers which.
func (p *pins) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := p.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	p.made = append(p.made, dir)
	return nil
}

// path returns where something of this name is pinned.
func (p *pins) path(name string) string { return filepath.Join(p.dir, name) }

// names returns what is pinned under names that begin with prefix, and the numbers
// behind it.
func (p *pins) names(prefix string) (map[string]int, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, e := range entries {
		if n, ok := strings.CutPrefix(e.Name(), prefix); ok {
			if number, err := strconv.Atoi(n); err == nil {
				found[e.Name()] = number
			}
		}
	}
	return found, nil
}

// empty removes all that is pinned.
func (p *pins) empty() error {
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		err = errors.Join(err, os.Remove(p.path(e.Name())))
	}
	return err
}

// close gives the lock back, and removes directories and mount as far as nobody
// else has something in them. The directory goes before its lock, so that nobody
// takes the lock of what is to go.
func (p *pins) close() {
	if p.lock != nil {
		os.Remove(p.dir)
		p.lock.Close()
	}
	dir := filepath.Dir(p.dir)
	// Detached, since a process that is just being started may have a copy of the
	// lock's descriptor for a moment.
	if ourMount(dir) && !hasDirs(dir) && unix.Unmount(dir, unix.MNT_DETACH) == nil {
		p.removeUnder(dir)
	}
	for i := len(p.made) - 1; i >= 0; i-- {
		os.Remove(p.made[i]) // fails where something is in it
	}
	if p.under != nil {
		p.under.Close()
	}
}

// removeUnder removes the directory that our mount was on. If the server before us has
// made the mount its lock is not ours yet.
func (p *pins) removeUnder(dir string) {
	if p.under == nil {
		var err error
		if p.under, err = lockDir(dir); err != nil {
			return
		}
	}
	os.Remove(dir)
}

// hasDirs reports whether somebody has something in a bpffs: beside directories there
// may be what the kernel puts into each.
func hasDirs(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err != nil || slices.ContainsFunc(entries, os.DirEntry.IsDir)
}

// mountSource is the name under which our bpffs stands in the table of mounts.
const mountSource = "usertcp-nic"

// ourMount reports whether a bpffs is mounted at dir that we have mounted, or the
// server before whose place we have taken.
func ourMount(dir string) bool {
	mounts, err := os.ReadFile("/proc/thread-self/mounts")
	return err == nil && strings.Contains("\n"+string(mounts), "\n"+mountSource+" "+dir+" bpf ")
}
