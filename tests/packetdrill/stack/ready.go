package stack

import (
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
)

// pollPeriod is how often a call that waits for readiness looks.
const pollPeriod = 200 * time.Microsecond

// until calls look until it returns a number other than 0 or timeout (in ms, less
// than 0: for ever) is over.
func until(timeout int, look func() int) int {
	end := time.Now().Add(time.Duration(timeout) * time.Millisecond)
	for {
		if n := look(); n != 0 || timeout >= 0 && !time.Now().Before(end) {
			return n
		}
		time.Sleep(pollPeriod)
	}
}

// Poll waits until one of the descriptors is ready, or the time (in ms) is over.
func (s *Stack) Poll(fds []unix.PollFd, timeout int) int {
	return until(timeout, func() (n int) {
		for i := range fds {
			fds[i].Revents = s.events(int(fds[i].Fd)) & (fds[i].Events | unix.POLLERR | unix.POLLHUP | unix.POLLNVAL)
			if fds[i].Revents != 0 {
				n++
			}
		}
		return n
	})
}

// Bits that package unix does not know, or has under other names.
const (
	pollRdNorm = 0x40
	pollWrNorm = 0x100
)

// events returns what poll says of a descriptor.
func (s *Stack) events(fd int) int16 {
	k := s.find(fd)
	if k == nil {
		p := []unix.PollFd{{Fd: int32(fd), Events: -1}}
		unix.Poll(p, 0)
		return p[0].Revents
	}
	return k.ready()
}

// ready returns what poll says of a socket.
func (k *socket) ready() (ev int16) {
	read, write := k.sock.Ready()
	c := k.sock.State()
	if c.State == tcp.Listen {
		if read {
			ev = unix.POLLIN | pollRdNorm
		}
		return ev
	}
	_, fin := c.Readable()
	deaf := k.deaf || fin
	mute := c.State >= tcp.FinWait1 && c.State != tcp.CloseWait || c.State == tcp.Closed
	if c.State == tcp.Closed || deaf && mute {
		ev |= unix.POLLHUP
	}
	if deaf || c.State == tcp.Closed && k.opened {
		ev |= unix.POLLIN | pollRdNorm | unix.POLLRDHUP
	}
	if c.FastHeld() {
		ev |= unix.POLLOUT | pollWrNorm
	}
	if c.State == tcp.SynSent || c.State == tcp.SynReceived && !c.FastPending() {
		return ev
	}
	if read && k.opened {
		ev |= unix.POLLIN | pollRdNorm
	}
	if c.UrgentPending() {
		ev |= unix.POLLPRI
	}
	if write || mute {
		ev |= unix.POLLOUT | pollWrNorm
	} else {
		k.crowded = true
	}
	if c.Error != tcp.ErrNone && !k.told {
		ev |= unix.POLLERR
	}
	return ev
}
