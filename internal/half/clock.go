package half

import "golang.org/x/sys/unix"

// monotonic reads CLOCK_MONOTONIC by a system call, in nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("BUG: no CLOCK_MONOTONIC: " + err.Error())
	}
	return t.Nano()
}
