package stack

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// socket is what a descriptor of ours stands for.
type socket struct {
	sock     *half.Socket
	family   int
	nonblock bool
	bound    wire.Endpoint
	listens  bool
	opened   bool // connect has been called
}

// errnoOf turns an error of the half into the errno that a system call has.
func errnoOf(err error) unix.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, os.ErrClosed):
		return unix.EBADF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return unix.EAGAIN
	case errors.Is(err, half.ErrNoSockets):
		return unix.ENFILE
	}
	return unix.EIO
}

func (s *Stack) find(fd int) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.socks[fd]
}

// add gives a socket a kernel descriptor of its own.
func (s *Stack) add(k *socket) (int, unix.Errno) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	s.mu.Lock()
	s.socks[fd] = k
	s.mu.Unlock()
	return fd, 0
}

// Socket makes a TCP socket.
func (s *Stack) Socket(family, typ, proto int) (int, unix.Errno) {
	switch {
	case family != unix.AF_INET && family != unix.AF_INET6:
		return -1, unix.EAFNOSUPPORT
	case typ&0xf != unix.SOCK_STREAM, proto != 0 && proto != unix.IPPROTO_TCP:
		return -1, unix.EPROTONOSUPPORT
	}
	h, err := s.top.Open()
	if err != nil {
		return -1, errnoOf(err)
	}
	k := &socket{sock: h, family: family}
	if err := h.Options(s.options); err != nil {
		return -1, errnoOf(err)
	}
	k.setNonblock(typ&unix.SOCK_NONBLOCK != 0)
	return s.add(k)
}

func (k *socket) setNonblock(on bool) {
	k.nonblock = on
	k.sock.SetNonblock(on)
}

// Bind takes a local address.
func (s *Stack) Bind(fd int, local wire.Endpoint) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.EBADF
	}
	if local.Port == 0 {
		local.Port = s.ephemeral()
	}
	k.bound = local
	return 0
}

func (s *Stack) ephemeral() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.port++
	return s.port
}

// Listen makes a socket a listener.
func (s *Stack) Listen(fd, backlog int) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.EBADF
	}
	if !k.listens {
		k.listens = true
		k.sock.Listen(k.bound, max(backlog, 0))
	}
	return 0
}

// Accept takes a connection, and returns where it comes from.
func (s *Stack) Accept(fd int) (int, wire.Endpoint, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return -1, wire.Endpoint{}, unix.EBADF
	}
	if !k.listens {
		return -1, wire.Endpoint{}, unix.EINVAL
	}
	h, err := k.sock.Accept()
	if err != nil {
		return -1, wire.Endpoint{}, errnoOf(err)
	}
	n, errno := s.add(&socket{sock: h, family: k.family, opened: true})
	return n, h.Flow().Remote, errno
}

// Connect opens a connection.
func (s *Stack) Connect(fd int, remote wire.Endpoint) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.EBADF
	}
	if k.opened {
		return k.connected()
	}
	local := k.bound
	if local.Port == 0 {
		local.Port = s.ephemeral()
	}
	if local.Addr.IsZero() {
		local.Addr = s.local
	}
	k.opened = true
	if err := k.sock.Connect(wire.Flow{Local: local, Remote: remote}, 0); err != nil {
		return errnoOf(err)
	}
	if k.nonblock {
		return unix.EINPROGRESS
	}
	return errnoOf(k.sock.Connected())
}

// connected is what connect says of a socket for which it was called before.
func (k *socket) connected() unix.Errno {
	c := k.sock.State()
	switch {
	case c.State == tcp.SynSent || c.State == tcp.SynReceived:
		return unix.EALREADY
	case c.State == tcp.Closed:
		return errnoOf(k.sock.Connected())
	}
	return unix.EISCONN
}

// Read reads into b.
func (s *Stack) Read(fd int, b []byte, flags int) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return -1, unix.EBADF
	}
	if flags&unix.MSG_DONTWAIT != 0 && !k.nonblock {
		k.sock.SetNonblock(true)
		defer k.sock.SetNonblock(false)
	}
	if !k.opened {
		return -1, unix.ENOTCONN
	}
	n, err := k.sock.Read(b)
	if err == io.EOF {
		return 0, 0
	}
	if err != nil {
		return -1, errnoOf(err)
	}
	return n, 0
}

// Write sends b.
func (s *Stack) Write(fd int, b []byte, flags int) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return -1, unix.EBADF
	}
	if flags&unix.MSG_DONTWAIT != 0 && !k.nonblock {
		k.sock.SetNonblock(true)
		defer k.sock.SetNonblock(false)
	}
	if !k.opened {
		return -1, unix.EPIPE
	}
	n, err := k.sock.Write(b)
	if n > 0 || err == nil {
		return n, 0
	}
	return -1, errnoOf(err)
}

// Shutdown ends one or both directions.
func (s *Stack) Shutdown(fd, how int) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.EBADF
	}
	var err error
	if how == unix.SHUT_RD || how == unix.SHUT_RDWR {
		err = k.sock.CloseRead()
	}
	if how == unix.SHUT_WR || how == unix.SHUT_RDWR {
		err = errors.Join(err, k.sock.CloseWrite())
	}
	return errnoOf(err)
}

// Close closes the descriptor.
func (s *Stack) CloseSocket(fd int) unix.Errno {
	s.mu.Lock()
	k := s.socks[fd]
	delete(s.socks, fd)
	s.mu.Unlock()
	if k == nil {
		return unix.EBADF
	}
	unix.Close(fd)
	return errnoOf(k.sock.Close())
}

// Fcntl knows F_GETFL and F_SETFL.
func (s *Stack) Fcntl(fd, cmd, arg int) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return -1, unix.EBADF
	}
	switch cmd {
	case unix.F_GETFL:
		if k.nonblock {
			return unix.O_RDWR | unix.O_NONBLOCK, 0
		}
		return unix.O_RDWR, 0
	case unix.F_SETFL:
		k.setNonblock(arg&unix.O_NONBLOCK != 0)
		return 0, 0
	}
	return -1, unix.EINVAL
}

// Ioctl knows SIOCINQ and SIOCOUTQ: octets to be read, octets not acknowledged.
func (s *Stack) Ioctl(fd int, request uint) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return -1, unix.EBADF
	}
	c := k.sock.State()
	switch request {
	case unix.SIOCINQ:
		n, _ := c.Readable()
		return int(n), 0
	case unix.SIOCOUTQ:
		return int(c.SndQ.Bytes), 0
	}
	return -1, unix.EINVAL
}

// Poll waits until one of the descriptors is ready, or the time (in ms) is over.
func (s *Stack) Poll(fds []unix.PollFd, timeout int) int {
	end := time.Now().Add(time.Duration(timeout) * time.Millisecond)
	for {
		n := 0
		for i := range fds {
			fds[i].Revents = s.events(int(fds[i].Fd)) & (fds[i].Events | unix.POLLERR | unix.POLLHUP | unix.POLLNVAL)
			if fds[i].Revents != 0 {
				n++
			}
		}
		if n > 0 || timeout >= 0 && !time.Now().Before(end) {
			return n
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// events returns what poll says of a descriptor.
func (s *Stack) events(fd int) int16 {
	k := s.find(fd)
	if k == nil {
		return unix.POLLNVAL
	}
	read, write := k.sock.Ready()
	c := k.sock.State()
	_, fin := c.Readable()
	var ev int16
	if read {
		ev |= unix.POLLIN | 0x40 // POLLRDNORM
	}
	if write {
		ev |= unix.POLLOUT | 0x100 // POLLWRNORM
	}
	if fin {
		ev |= unix.POLLRDHUP
	}
	if c.Error != tcp.ErrNone {
		ev |= unix.POLLERR
	}
	if c.State == tcp.Closed && k.opened || fin && c.State != tcp.CloseWait {
		ev |= unix.POLLHUP
	}
	return ev
}
