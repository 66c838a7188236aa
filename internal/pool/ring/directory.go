package ring

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// MaxHosts is the number of hosts on a ring: a ring id has 4 bits.
const MaxHosts = wire.MaxRing + 1

// maxSocketPath is the longest path of a Unix socket in octets (sun_path, less its NUL).
const maxSocketPath = 107

// joinTimeout bounds the wait for another server that joins at the same time.
const joinTimeout = 5 * time.Second

// ErrRingFull is returned by Join when all ring ids are taken.
var ErrRingFull = fmt.Errorf("the ring is full (%d hosts)", MaxHosts)

// Host is a server that lives on the ring.
type Host struct {
	RingID  int
	Addrs   []netip.Addr
	PID     int
	Version uint32
}

// directory is the ring as files. Host N has
//
//	N.lock  locked for as long as its server lives; never removed
//	N.json  its entry, replaced as a whole
//	N.sock  where it listens for frames
//
// and join.lock is held by whoever joins or leaves, so that two who join at once
// see each other. The locks are open-file-description locks: the kernel drops
// them with their process, and they can be looked at without being taken.
type directory struct {
	path string
}

// entry is what stands in N.json.
type entry struct {
	Version uint32       `json:"version"`
	PID     int          `json:"pid"`
	Addrs   []netip.Addr `json:"addresses"`
}

func (d directory) file(id int, suffix string) string {
	return filepath.Join(d.path, strconv.Itoa(id)+suffix)
}

// membership is what a host holds while it is on the ring.
type membership struct {
	id   int
	lock *os.File
}

// openDirectory checks the ring's directory and makes it if it is not there.
func openDirectory(path string) (directory, error) {
	d := directory{path}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return d, fmt.Errorf("ring: %w", err)
	}
	if longest := d.file(MaxHosts-1, ".sock"); len(longest) > maxSocketPath {
		return d, fmt.Errorf("ring: the directory's name is too long: %s would have %d octets, a socket's path can have %d",
			longest, len(longest), maxSocketPath)
	}
	return d, nil
}

// join puts a host with these addresses on the ring. Between taking its id and
// announcing it, it calls enter, which should make the host reachable. If lock is
// given it is the lock of the id that the host had before.
func (d directory) join(addrs []netip.Addr, lock *os.File, enter func(*membership) error) (*membership, error) {
	unlock, err := d.exclusive()
	if err != nil {
		return nil, err
	}
	defer unlock()
	m, err := d.former(lock)
	if err != nil {
		return nil, err
	}
	m, err = d.take(m, addrs)
	if err != nil {
		return nil, err
	}
	err = enter(m)
	if err == nil {
		err = d.announce(m, addrs)
	}
	if err != nil {
		return nil, errors.Join(err, m.release(d))
	}
	return m, nil
}

// former returns the membership that lock is the lock of, nil if there is none.
func (d directory) former(lock *os.File) (*membership, error) {
	if lock == nil {
		return nil, nil
	}
	want, err := lock.Stat()
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	for id := range MaxHosts {
		if st, err := os.Stat(d.file(id, ".lock")); err == nil && os.SameFile(st, want) {
			d.remove(id)
			return &membership{id: id, lock: lock}, nil
		}
	}
	return nil, fmt.Errorf("ring %s: the host was on another ring before", d.path)
}

// take locks the lowest free ring id, unless the host has one already (m), and
// removes what dead hosts have left.
func (d directory) take(m *membership, addrs []netip.Addr) (*membership, error) {
	for id := range MaxHosts {
		if m != nil && id == m.id {
			continue
		}
		lock, err := d.tryLock(id)
		if err == nil && lock == nil {
			err = d.compatible(id, addrs)
		}
		if err != nil {
			return nil, errors.Join(err, m.release(d))
		}
		switch {
		case lock == nil:
		case m == nil:
			m = &membership{id: id, lock: lock}
			d.remove(id)
		default:
			d.remove(id) // left behind by a host that died
			lock.Close()
		}
	}
	if m == nil {
		return nil, fmt.Errorf("ring %s: %w", d.path, ErrRingFull)
	}
	return m, nil
}

// compatible checks that the live host id leaves room for one with these addresses.
func (d directory) compatible(id int, addrs []netip.Addr) error {
	e, _, err := d.read(id)
	if err != nil {
		return nil // it has its lock but no entry yet or any more: it is not on the ring
	}
	if e.Version != FrameVersion {
		return fmt.Errorf("ring %s: %w", d.path, &VersionError{Host: id, Theirs: e.Version})
	}
	for _, a := range addrs {
		if slices.Contains(e.Addrs, a) {
			return fmt.Errorf("ring %s: address %v is taken by host %d (pid %d)", d.path, a, id, e.PID)
		}
	}
	return nil
}

// exclusive waits for join.lock and takes it.
func (d directory) exclusive() (unlock func(), err error) {
	path := filepath.Join(d.path, "join.lock")
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(joinTimeout); ; time.Sleep(2 * time.Millisecond) {
		ok, err := tryLock(f)
		if ok {
			return func() { f.Close() }, nil
		}
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("ring: waited %v for another server to release %s", joinTimeout, path)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
}

// tryLock takes the lock of host id; it returns nil if a live host has it.
func (d directory) tryLock(id int) (*os.File, error) {
	f, err := openLock(d.file(id, ".lock"))
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f)
	if !ok {
		f.Close()
		return nil, err
	}
	return f, nil
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	return f, nil
}

// tryLock takes the lock on f unless another has it.
func tryLock(f *os.File) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return false, nil
	}
	return false, fmt.Errorf("ring: locking %s: %w", f.Name(), err)
}

// locked reports whether another open file has the lock on f, without taking it.
func locked(f *os.File) bool {
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk)
	return err == nil && lk.Type != unix.F_UNLCK
}

// announce writes the entry of host m, at once and whole.
func (d directory) announce(m *membership, addrs []netip.Addr) error {
	b, err := json.Marshal(entry{Version: FrameVersion, PID: os.Getpid(), Addrs: addrs})
	if err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	tmp := d.file(m.id, ".json.new")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	if err := os.Rename(tmp, d.file(m.id, ".json")); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	return nil
}

// release takes host m off the ring.
func (m *membership) release(d directory) error {
	if m == nil {
		return nil
	}
	d.remove(m.id)
	return m.lock.Close()
}

// remove removes the files of a host whose lock the caller has.
func (d directory) remove(id int) {
	for _, suffix := range [...]string{".json", ".json.new", ".sock"} {
		os.Remove(d.file(id, suffix))
	}
}

// read returns the entry of host id, and the number that tells this entry from
// a later one.
func (d directory) read(id int) (e entry, inode uint64, err error) {
	f, err := os.Open(d.file(id, ".json"))
	if err != nil {
		return e, 0, fmt.Errorf("ring: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return e, 0, fmt.Errorf("ring: %s: %w", f.Name(), err)
	}
	b := make([]byte, 4096) // MaxAddrs addresses fit easily
	n, err := f.Read(b)
	if err != nil {
		return e, 0, fmt.Errorf("ring: %w", err)
	}
	if err := json.Unmarshal(b[:n], &e); err != nil {
		return e, 0, fmt.Errorf("ring: %s: %w", f.Name(), err)
	}
	return e, st.Ino, nil
}
