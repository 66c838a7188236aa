package shm

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxVector is how many runs of octets a Vector holds.
const MaxVector = 10

// Vector is a list of runs of octets that one system call reads into or writes
// from. It is made once and used again: nothing is allocated for a call. Its
// calls are for descriptors that do not block: the Go scheduler is not told of
// them.
type Vector struct {
	iov [MaxVector]unix.Iovec
	n   int
}

// Reset empties the list.
func (v *Vector) Reset() { v.n = 0 }

// Add puts a run behind the others; an empty one is left out. There is room for
// MaxVector.
func (v *Vector) Add(b []byte) {
	if len(b) == 0 {
		return
	}
	e := &v.iov[v.n]
	e.Base = &b[0]
	e.SetLen(len(b))
	v.n++
}

// Forget empties the list, and forgets the memory, which is somebody else's.
func (v *Vector) Forget() {
	clear(v.iov[:v.n])
	v.n = 0
}

// Read fills the runs from fd, and returns how many octets came.
func (v *Vector) Read(fd int) (int, unix.Errno) { return v.call(unix.SYS_READV, fd) }

// Write writes the runs to fd, and returns how many octets went.
func (v *Vector) Write(fd int) (int, unix.Errno) { return v.call(unix.SYS_WRITEV, fd) }

// Write writes b to fd, which does not block, as a Vector does.
func Write(fd int, b []byte) unix.Errno {
	for {
		_, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e != unix.EINTR {
			return e
		}
	}
}

func (v *Vector) call(number uintptr, fd int) (int, unix.Errno) {
	for {
		n, _, e := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(&v.iov)), uintptr(v.n))
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// Await waits until one of two descriptors, -1 for none, has something to be read, at
// most as long as limit says, and reports which; a signal ends it. The Go scheduler is
// told, so that nothing waits for this thread. A limit that is over before the kernel's
// next tick has the CPU's timer set, and set back: on a virtual machine that costs more
// than the rest of the sleep.
func Await(a, b int, limit time.Duration) (first, second bool) {
	p := [2]unix.PollFd{{Fd: int32(a), Events: unix.POLLIN}, {Fd: int32(b), Events: unix.POLLIN}}
	left := unix.NsecToTimespec(int64(limit))
	unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 2, uintptr(unsafe.Pointer(&left)), 0, 0, 0)
	return p[0].Revents != 0, p[1].Revents != 0
}

// Ready reports whether fd has something to be read, without waiting.
func Ready(fd int) bool {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	var now unix.Timespec
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return n == 1
}

// TakeCount takes what a non-blocking eventfd or timerfd has counted, 0 if that is nothing.
// The scheduler does not hear of the call: one that it hears of wakes a thread of its own, to
// watch over it.
func TakeCount(fd int) (n uint64) {
	if got, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&n)), unsafe.Sizeof(n)); errno != 0 || got != unsafe.Sizeof(n) {
		return 0
	}
	return n
}
