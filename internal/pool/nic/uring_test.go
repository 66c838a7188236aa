package nic_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// The driver writes each packet by a system call of its own. The other way, an io_uring
// by which one io_uring_enter hands over many, is here to be measured against it: see
// docs/performance.md.

// uring is an io_uring with which writev calls are made.
type uring struct {
	fd       int
	ring     []byte // both queues
	slots    []byte // submissions, of 64 octets each
	iovs     []unix.Iovec
	sq, cq   uringOffsets
	cqes     uint32
	finished int // of the writes, with all their octets
}

// uringOffsets is where the words of a queue lie in the ring.
type uringOffsets struct{ head, tail, mask uint32 }

// What the kernel's headers say of io_uring (linux/io_uring.h).
const (
	uringParams     = 120
	uringSQ         = 40 // in the parameters
	uringCQ         = 80
	uringArray      = 24 // in the part about the submission queue
	uringCQEs       = 20 // in that about the completion queue
	uringSlotsAt    = 0x10000000
	uringSlot       = 64
	uringCompletion = 16
	opWritev        = 2
	enterGetEvents  = 1
)

// newUring makes an io_uring for up to n writes at once, which has room for as many
// vectors; n is a power of two.
func newUring(tb testing.TB, n uint32) *uring {
	tb.Helper()
	p := make([]byte, uringParams)
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(n), uintptr(unsafe.Pointer(&p[0])), 0)
	if errno != 0 {
		tb.Skip("no io_uring here:", errno)
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(p[at:]) }
	u := &uring{fd: int(fd), cqes: word(uringCQ + uringCQEs), iovs: make([]unix.Iovec, n)}
	u.sq = uringOffsets{word(uringSQ), word(uringSQ + 4), word(uringSQ + 8)}
	u.cq = uringOffsets{word(uringCQ), word(uringCQ + 4), word(uringCQ + 8)}
	size := max(int(word(uringSQ+uringArray))+4*int(word(0)), int(u.cqes)+uringCompletion*int(word(4)))
	var err error
	u.ring, err = unix.Mmap(u.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(tb, err)
	u.slots, err = unix.Mmap(u.fd, uringSlotsAt, uringSlot*int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(tb, err)
	for i := range n {
		binary.NativeEndian.PutUint32(u.ring[word(uringSQ+uringArray)+4*i:], i)
	}
	tb.Cleanup(func() {
		unix.Munmap(u.ring)
		unix.Munmap(u.slots)
		unix.Close(u.fd)
	})
	return u
}

func (u *uring) word(at uint32) uint32 { return binary.NativeEndian.Uint32(u.ring[at:]) }

func (u *uring) put(at, v uint32) { binary.NativeEndian.PutUint32(u.ring[at:], v) }

// write writes n frames by one system call.
func (u *uring) write(fd int, frame []byte, n int) unix.Errno {
	tail := u.word(u.sq.tail)
	for i := range uint32(n) {
		at := (tail + i) & u.word(u.sq.mask)
		v := &u.iovs[at]
		v.Base = &frame[0]
		v.SetLen(len(frame))
		s := u.slots[at*uringSlot:][:uringSlot]
		clear(s)
		s[0] = opWritev
		binary.NativeEndian.PutUint32(s[4:], uint32(fd))
		binary.NativeEndian.PutUint64(s[16:], uint64(uintptr(unsafe.Pointer(v))))
		binary.NativeEndian.PutUint32(s[24:], 1)
	}
	u.put(u.sq.tail, tail+uint32(n)) // the system call is the barrier: no thread of the kernel's looks by itself
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), uintptr(n), uintptr(n), enterGetEvents, 0, 0); errno != 0 {
		return errno
	}
	head := u.word(u.cq.head)
	for ; head != u.word(u.cq.tail); head++ {
		if result := u.word(u.cqes + uringCompletion*(head&u.word(u.cq.mask)) + 8); result == uint32(len(frame)) {
			u.finished++
		}
	}
	u.put(u.cq.head, head)
	return 0
}

// frameOf returns a frame with size octets of payload, and if that is much the virtio
// header of a train.
func frameOf(size int) []byte {
	b := make([]byte, 12+14+40+size)
	if size > 1460 {
		copy(b, []byte{1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0}) // partial checksum, TCP over IPv4 in segments of 1,448
	}
	copy(b[12+12:], []byte{8, 0, 0x45})
	b[12+14+9] = unix.IPPROTO_TCP
	b[12+14+40-8] = 5 << 4
	return b
}

// tapForBench is a TAP at whose other end the kernel drops what comes: it is for nobody.
func tapForBench(b *testing.B) *os.File {
	b.Helper()
	in := testnet.New(b)
	var tap *os.File
	in.Do(func() { tap = openTAP(b, 1500, true) })
	b.Cleanup(func() { tap.Close() })
	return tap
}

// Frames into a TAP by a writev each, and by one io_uring_enter for all of them.
func BenchmarkCrossing(b *testing.B) {
	for _, size := range []int{1, 1448, 65160} {
		for _, n := range []int{1, 4, 16} {
			frame := frameOf(size)
			b.Run(fmt.Sprintf("%d/%d/writev", size, n), func(b *testing.B) {
				fd := int(tapForBench(b).Fd())
				iov := [][]byte{frame}
				for b.Loop() {
					for range n {
						if _, err := unix.Writev(fd, iov); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/frame")
			})
			b.Run(fmt.Sprintf("%d/%d/uring", size, n), func(b *testing.B) {
				fd := int(tapForBench(b).Fd())
				u := newUring(b, 16)
				for b.Loop() {
					if errno := u.write(fd, frame, n); errno != 0 {
						b.Fatal(errno)
					}
				}
				if u.finished != b.N*n {
					b.Fatalf("%d of %d frames were written", u.finished, b.N*n)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/frame")
			})
		}
	}
}

// What is measured are frames that leave whole, in order, by either way.
func TestBothWaysWriteFrames(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	u := newUring(t, 4)
	frame := frameOf(100)
	for _, n := range []int{1, 3, 4} {
		if errno := u.write(fds[0], frame, n); errno != 0 {
			t.Fatal(errno)
		}
		got := make([]byte, 1<<10)
		for i := range n {
			if k, err := unix.Read(fds[1], got); err != nil || !bytes.Equal(got[:k], frame) {
				t.Errorf("frame %d of %d: %d octets, %v", i, n, k, err)
			}
		}
		if _, err := unix.Read(fds[1], got); err != unix.EAGAIN {
			t.Errorf("behind %d frames: %v", n, err)
		}
	}
	if u.finished != 8 {
		t.Errorf("%d are said to be finished, want 8", u.finished)
	}
}
