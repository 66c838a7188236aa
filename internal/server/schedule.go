package server

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// schedule calls start, which starts a process, so that the process runs at the
// priority and on the CPU that the options name (paper section 4.5.2), and can't get
// new privileges by running other programs: it has all that from the thread that
// starts it.
func (o *PoolOptions) schedule(start func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- func() error {
			if err := o.prepare(); err != nil {
				return err
			}
			return start()
		}()
	}()
	return <-done
}

// possible reports what keeps children from the priority and the CPU that they are to
// have: whoever starts the server is told, and not each program.
func (o *PoolOptions) possible() error {
	if o.Realtime == 0 {
		return nil
	}
	return o.schedule(func() error { return nil })
}

// prepare gives the calling thread what a child is to have of it.
func (o *PoolOptions) prepare() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if o.Realtime == 0 {
		return nil
	}
	if o.CPU >= 0 {
		var set unix.CPUSet
		set.Set(o.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("CPU %d: %w", o.CPU, err)
		}
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: uint32(o.Realtime)}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("real-time priority %d (it needs CAP_SYS_NICE): %w", o.Realtime, err)
	}
	return nil
}
