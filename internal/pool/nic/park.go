package nic

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/shm"
)

// A sleeper waits for two things at once, the device and its doorbell: on an epoll
// descriptor that holds both, and that Go's network poller takes like any other.
// The device is armed by him who goes to sleep, when the poller has begun to take
// notes. The kernel reports each packet from then on; for what lies there already he
// looks once more: so there is no moment at which a packet can come without waking
// him.
//
// For short waits Doze does with one system call, and without arming.
//
// While he is awake a wake-up for each packet would only cost: the device is
// disarmed, that is taken out of the epoll descriptor, so that the kernel finds nobody to
// wake, as soon as packets come faster than he sleeps. A program that sleeps
// for each packet never gets there, and saves the system call. As long as somebody
// sleeps nobody disarms: the poller would look again, find nothing ready, and
// forget the report.

// wakeUps is how many packets an armed device may wake for before it is disarmed.
const wakeUps = 2

// nap is what one process's half knows of its own sleep.
type nap struct {
	poll   int  // the epoll descriptor, or -1
	eager  bool // disarm at once
	streak atomic.Uint32
	armed  atomic.Bool

	mu     sync.Mutex // of changes to armed, asleep and the epoll descriptor
	asleep bool
	calls  uint64 // of epoll_ctl
}

// NewPoll makes the epoll descriptor on which this process's half sleeps: door is
// its doorbell. The caller owns the descriptor. With eager the device is disarmed
// at every Awake: for whoever is not the one that receives.
func (d *Driver) NewPoll(door shm.Doorbell, eager bool) (int, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("epoll_create", err)
	}
	err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, door.Fd(), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(door.Fd())})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("epoll_ctl", err)
	}
	d.nap.poll, d.nap.eager = fd, eager
	return fd, nil
}

// Arm implements pool.Driver.
func (d *Driver) Arm() bool {
	n := &d.nap
	if n.poll < 0 {
		return d.Pending()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asleep = true
	if d.gone.Load() {
		return false
	}
	if !n.armed.Swap(true) {
		d.watch(unix.EPOLL_CTL_ADD)
	}
	n.streak.Store(0)
	// What lies there may have been reported too early, and forgotten. Arming reports
	// it again only if the device is not on the kernel's list of those that are ready.
	return d.Pending()
}

// Doze waits for a packet or a ring of door, at most as long as limit says, and
// reports whether there is one. The device need not be armed. It may be called
// without the lock.
func (d *Driver) Doze(door shm.Doorbell, limit time.Duration) bool {
	if d.gone.Load() {
		return false
	}
	packet, rung := shm.Await(d.fd, door.Fd(), limit)
	if rung {
		door.Clear()
	}
	return packet || rung
}

// Awake implements pool.Driver.
func (d *Driver) Awake() {
	n := &d.nap
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asleep = false
	if n.eager && n.armed.Load() {
		d.disarm()
	}
}

// received counts the packets since the last sleep.
func (d *Driver) received() {
	n := &d.nap
	if n.streak.Add(1) <= wakeUps || !n.armed.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.armed.Load() && !n.asleep && n.streak.Load() > wakeUps {
		d.disarm()
	}
}

func (d *Driver) disarm() {
	d.nap.armed.Store(false)
	d.watch(unix.EPOLL_CTL_DEL)
}

func (d *Driver) watch(how int) {
	d.nap.calls++
	unix.EpollCtl(d.nap.poll, how, d.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(d.fd)})
}

// Pending implements pool.Driver.
func (d *Driver) Pending() bool { return !d.gone.Load() && shm.Ready(d.fd) }

// Glance implements pool.Driver.
func (d *Driver) Glance() bool { return d.Pending() }
