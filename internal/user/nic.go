package user

import (
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/shm"
)

// joinNIC returns the driver of the pool: the ring's, joined with that of the pool's
// device if there is one in files, which it takes over; and what the top half is to
// sleep on then.
func (s *Stack) joinNIC(files []int, door shm.Doorbell) (driver pool.Driver, bed bed, err error) {
	rest := func(limit time.Duration) bool { return s.driver.Pending() || door.Await(limit) }
	if len(files) == 0 {
		bed.doze = rest
		return s.driver, bed, nil
	}
	if err := unix.SetNonblock(files[0], true); err != nil {
		return nil, bed, err
	}
	d, err := nic.New(s.seg, files[0])
	if err != nil {
		return nil, bed, err
	}
	if bed.poll, err = d.NewPoll(door, false); err != nil {
		return nil, bed, err
	}
	s.nic = files[0]
	bed.doze = func(limit time.Duration) bool { return s.driver.Pending() || d.Doze(door, limit) }
	bed.rest = rest
	return pool.Join(s.driver, d), bed, nil
}

// bed is what the top half sleeps on: see half.Config.
type bed struct {
	poll       int
	doze, rest func(time.Duration) bool
}
