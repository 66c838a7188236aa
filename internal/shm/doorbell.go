package shm

import (
	"fmt"

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
	unix.Write(d.fd, one[:])
}

// Clear forgets the rings so far.
func (d Doorbell) Clear() {
	var b [8]byte
	unix.Read(d.fd, b[:])
}

// Close closes the descriptor.
func (d Doorbell) Close() error {
	if d.fd < 0 {
		return nil
	}
	return unix.Close(d.fd)
}
