package child

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// RuinedStatus is a child's exit status when its application has ruined the
// segment: another child on it would find the same.
const RuinedStatus = 3

// Ruined implements half.Warden: the application's connections end with this
// process, and their peers hear from the server that there is nobody.
func (o outside) Ruined(err error) {
	fmt.Fprintf(os.Stderr, "usertcp child: application %d: %v: its connections end\n", o.c.program.Load().pid, err)
	os.Exit(RuinedStatus)
}

// A walk through the segment takes microseconds. One that takes this much of a CPU
// goes round in what a hostile application has written.
const (
	longestSection = 5 * time.Second // of CPU time, so that a starved child is not blamed
	sectionLook    = time.Second
)

// overlook ends the child when one section of its bottom half does not end.
func (c *child) overlook() {
	var since time.Duration
	for last := uint64(0); ; time.Sleep(sectionLook) {
		now, used := c.bottom.Section(), cpuTime()
		if now != last || now%2 == 0 {
			last, since = now, used
		} else if used-since > longestSection {
			outside{c}.Ruined(fmt.Errorf("a walk through the segment has not ended after %v", used-since))
		}
	}
}

// cpuTime returns how long this process has been running on a CPU.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
