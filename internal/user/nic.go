package user

import (
	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/shm"
)

// joinNIC returns the driver of the pool: the ring's, joined with that of the pool's
// device if there is one in files, which it takes over; and what the top half is to
// sleep on then.
func (s *Stack) joinNIC(files []int, door shm.Doorbell) (driver pool.Driver, poll int, err error) {
	if len(files) == 0 {
		return s.driver, 0, nil
	}
	if err := unix.SetNonblock(files[0], true); err != nil {
		return nil, 0, err
	}
	d, err := nic.New(s.seg, files[0])
	if err != nil {
		return nil, 0, err
	}
	if poll, err = d.NewPoll(door, false); err != nil {
		return nil, 0, err
	}
	s.nic = files[0]
	return pool.Join(s.driver, d), poll, nil
}
