package user

import (
	"fmt"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/shm"
)

// lockOf returns the semaphore in files, if the segment's lock is one, and the rest of
// files. It checks that this process may use the lock.
func (s *Stack) lockOf(files []int) (sem shm.Semaphore, rest []int, err error) {
	kind, cpu, err := half.LockOf(s.seg)
	if err != nil {
		return sem, files, err
	}
	switch kind {
	case shm.LockEdwards:
		return sem, files, runsOn(cpu)
	case shm.LockSemaphore:
		if len(files) == 0 {
			return sem, files, fmt.Errorf("the segment's lock is a semaphore, and none has come")
		}
		sem, err = shm.SemaphoreFrom(files[0])
		return sem, files[1:], err
	}
	return sem, files, nil
}

// runsOn returns an error unless this process runs on one CPU only.
func runsOn(cpu int) error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	if set.Count() != 1 || !set.IsSet(cpu) {
		return fmt.Errorf("the server has chosen Edwards' lock, for which both halves must be on CPU %d: start this program with taskset -c %d", cpu, cpu)
	}
	return nil
}
