package child

import (
	"os"

	"golang.org/x/sys/unix"
)

// harden gives up what a child never needs. The server has started it without
// privileges, if it could, and without a way to new ones.
func harden() {
	// The first thread's name, for ps: the program may have been run by a descriptor.
	_ = os.WriteFile("/proc/self/comm", []byte("usertcp-child"), 0)
	// Nobody but root traces it, reads its memory or opens its descriptors.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
