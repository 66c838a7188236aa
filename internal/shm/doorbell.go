package shm

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Doorbell is an eventfd: whoever has a descriptor may ring it.
type Doorbell struct {
	fd int
}

// NewDoorbell makes a doorbell.
func NewDoorbell() (Doorbell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return Doorbell{-1}, fmt.Errorf("eventfd: %w", err)
	}
	return Doorbell{fd}, nil
}

// DoorbellFrom takes over a descriptor that somebody else made.
func DoorbellFrom(fd int) (Doorbell, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return Doorbell{-1}, fmt.Errorf("doorbell: %w", err)
	}
	return Doorbell{fd}, nil
}

// Fd returns the descriptor, which stays the doorbell's.
func (d Doorbell) Fd() int { return d.fd }

// NoDoorbell is a doorbell that nobody hears.
var NoDoorbell = Doorbell{-1}

var one = [8]byte{0: 1}

// Ring wakes who sleeps on the doorbell, or who will next. Its one possible
// failure is a counter that is full, and then the doorbell has been rung.
func (d Doorbell) Ring() {
	yield()
	unix.Write(d.fd, one[:])
}

// Clear forgets the rings so far.
func (d Doorbell) Clear() {
	var b [8]byte
	unix.Read(d.fd, b[:])
}

// Await waits for a ring, at most as long as limit says, forgets it, and reports
// whether there was one; as Await of descriptors.
func (d Doorbell) Await(limit time.Duration) bool {
	rung, _ := Await(d.fd, -1, limit)
	if rung {
		d.Clear()
	}
	return rung
}

// Close closes the descriptor.
func (d Doorbell) Close() error {
	if d.fd < 0 {
		return nil
	}
	return unix.Close(d.fd)
}

// Rings are doorbells to be rung when a lock has been given back: ringing is a
// system call. The zero Rings is empty.
type Rings struct {
	n    int
	list [8]Doorbell
}

// Add notes a doorbell. If there are very many it rings at once.
func (r *Rings) Add(d Doorbell) {
	if r.n == len(r.list) {
		d.Ring()
		return
	}
	r.list[r.n] = d
	r.n++
}

// Any reports whether a doorbell was noted.
func (r *Rings) Any() bool { return r.n > 0 }

// Ring rings all doorbells noted, and forgets them.
func (r *Rings) Ring() {
	for _, d := range r.list[:r.n] {
		d.Ring()
	}
	r.n = 0
}
