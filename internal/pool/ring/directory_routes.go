package ring

import (
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// settled is how long the directory must have lain unchanged before a reading of
// it is believed: changes within one tick of the kernel's clock give the same
// time of modification.
const settled = 100 * time.Millisecond

// routes is the directory as last read. The way to an address that is in it
// costs two system calls, one that is not a look at the directory's time.
type routes struct {
	dir directory

	mu      sync.Mutex
	hosts   [MaxHosts]*routeHost
	byAddr  map[netip.Addr]int
	read    time.Time // when the directory was read
	changed time.Time // its time of modification then
	scans   int
}

// routeHost is a host that lived when the directory was read.
type routeHost struct {
	Host
	lock  *os.File // for looking, not for locking
	inode uint64   // of its entry
}

// lives reports whether it is still there, and still the same.
func (h *routeHost) lives(d directory) bool {
	if !locked(h.lock) {
		return false
	}
	var st unix.Stat_t
	err := unix.Stat(d.file(h.RingID, ".json"), &st)
	return err == nil && st.Ino == h.inode
}

// route returns the ring id of the live host with an address.
func (r *routes) route(a netip.Addr) (int, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := r.lookup(a); ok {
		return id, true
	}
	if r.current() {
		return 0, false
	}
	r.scan()
	return r.lookup(a)
}

func (r *routes) lookup(a netip.Addr) (int, bool) {
	id, ok := r.byAddr[a]
	if !ok || !r.hosts[id].lives(r.dir) {
		return 0, false
	}
	return id, true
}

// live returns all hosts that live, in the order of their ring ids.
func (r *routes) live() (hosts []Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scan()
	for _, h := range r.hosts {
		if h != nil {
			hosts = append(hosts, h.Host)
		}
	}
	return hosts
}

// current reports whether reading the directory again could bring nothing new.
func (r *routes) current() bool {
	st, err := os.Stat(r.dir.path)
	return err == nil && st.ModTime().Equal(r.changed) && r.read.Sub(r.changed) > settled
}

// scan reads the directory.
func (r *routes) scan() {
	r.forget()
	r.scans++
	r.read = time.Now()
	if st, err := os.Stat(r.dir.path); err == nil {
		r.changed = st.ModTime()
	}
	r.byAddr = make(map[netip.Addr]int)
	for id := range MaxHosts {
		h := r.look(id)
		if h == nil {
			continue
		}
		r.hosts[id] = h
		for _, a := range h.Addrs {
			r.byAddr[a] = id
		}
	}
}

// look returns host id if it lives.
func (r *routes) look(id int) *routeHost {
	lock, err := os.OpenFile(r.dir.file(id, ".lock"), os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	e, inode, err := r.dir.read(id)
	if err != nil || !locked(lock) || len(e.Addrs) > MaxAddrs {
		lock.Close()
		return nil
	}
	addrs := slices.DeleteFunc(e.Addrs, func(a netip.Addr) bool { return !a.IsValid() })
	return &routeHost{
		Host: Host{RingID: id, Addrs: addrs, PID: e.PID, Version: e.Version},
		lock: lock, inode: inode,
	}
}

// forget drops what was read.
func (r *routes) forget() {
	for id, h := range r.hosts {
		if h != nil {
			h.lock.Close()
			r.hosts[id] = nil
		}
	}
	r.byAddr = nil
}
