//go:build linux

package half

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/pool/ring"
)

// joint is the driver of a pool that has a device.
type joint struct {
	*pool.Joint
	ring *ring.Driver
	nic  *nic.Driver
}

func (j *joint) Fits(tx, held func(region uint16, id uint32) uint32) error {
	return errors.Join(j.ring.Fits(tx, held), j.nic.Fits(tx, held))
}

// tapRoom is how many octets may be on their way between two hosts.
const tapRoom = 32 << 20

// newTAPs returns what two hosts take for TAPs that are joined: what one writes, frame
// by frame, the other reads.
func newTAPs(t testing.TB) (taps [2]int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	for _, fd := range fds {
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, tapRoom); err != nil {
			t.Skip("so many packets on their way take root:", err)
		}
	}
	return fds
}

// flight is what is on its way between the hosts of a world: frames that host a has not
// read when its step begins, and those that b has not.
type flight struct {
	w        *crashWorld
	toA, toB [][]byte
	unread   int // of toA, at the last look
}

// flight takes what is on its way, and lets it go on to a.
func (w *crashWorld) flight() *flight {
	f := &flight{w: w}
	if w.devices {
		f.toA, f.toB = take(w.a.tap), take(w.b.tap)
		put(w.b.tap, f.toA)
		f.unread = len(f.toA)
	}
	return f
}

// look finds out what a has read and sent meanwhile.
func (f *flight) look() {
	if !f.w.devices {
		return
	}
	f.toB = append(f.toB, take(f.w.b.tap)...)
	left, err := unix.IoctlGetInt(f.w.a.tap, unix.TIOCINQ)
	if err != nil {
		panic("BUG: FIONREAD: " + err.Error())
	}
	for f.unread = 0; left > 0; f.unread++ {
		left -= len(f.toA[len(f.toA)-1-f.unread])
	}
}

// become puts the same on its way in another world, and nothing else.
func (f *flight) become(after *crashWorld) {
	if f.w.devices {
		take(after.a.tap)
		take(after.b.tap)
		put(after.b.tap, f.toA[len(f.toA)-f.unread:])
		put(after.a.tap, f.toB)
	}
}

// take reads all frames that are there.
func take(tap int) (frames [][]byte) {
	buf := make([]byte, 128<<10)
	for {
		n, err := unix.Read(tap, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return frames
		}
		frames = append(frames, append([]byte(nil), buf[:n]...))
	}
}

func put(tap int, frames [][]byte) {
	for _, b := range frames {
		for {
			_, err := unix.Write(tap, b)
			if err == nil {
				break
			}
			if err != unix.EINTR {
				panic("BUG: a frame that does not fit: " + err.Error())
			}
		}
	}
}

// drop has a host's next packet get lost. Over devices a driver may say once that it
// has not looked.
func (h *crashHost) drop() {
	var p pool.Packet
	var s pool.Script
	s.Receive(&p)
	for range 2 {
		if h.drv.Execute(s.Ops()); s.Ops()[0].Done {
			h.top.release(&p)
			h.top.run()
			return
		}
	}
}

// step is a turn of the host's that takes what there is.
func (h *crashHost) step() {
	for range 2 {
		h.top.Step()
	}
}
