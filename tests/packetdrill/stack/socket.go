package stack

import (
	"errors"
	"os"
	"syscall"

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
	opened   bool   // connect has been called
	deaf     bool   // shutdown has ended reading
	told     bool   // the program has been told why the connection failed
	routes   int    // changes of routes that it has heard of
	crowded  bool   // a write or poll has found no room
	lowat    bool   // TCP_NOTSENT_LOWAT was set
	inq      bool   // TCP_INQ is on
	keys     []byte // of Fast Open, if the program has set them
	inert    map[optionName]int
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

// failed returns the errno of why the connection has ended: as in Linux once.
func (k *socket) failed(err error) unix.Errno {
	errno := errnoOf(err)
	if errno == 0 || errno == unix.EAGAIN {
		return errno
	}
	if k.told {
		return 0
	}
	k.told = true
	return errno
}

// find returns the socket of a descriptor, or nil.
func (s *Stack) find(fd int) *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.socks[fd]
}

// Owns reports whether a descriptor stands for a socket of ours.
func (s *Stack) Owns(fd int) bool { return s.find(fd) != nil }

// Family returns the address family of a socket.
func (s *Stack) Family(fd int) int {
	if k := s.find(fd); k != nil {
		return k.family
	}
	return unix.AF_UNSPEC
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
	k := newSocket(h, family)
	if err := h.Options(s.options); err != nil {
		return -1, errnoOf(err)
	}
	k.setNonblock(typ&unix.SOCK_NONBLOCK != 0)
	return s.add(k)
}

func newSocket(h *half.Socket, family int) *socket {
	return &socket{sock: h, family: family, inert: map[optionName]int{}}
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
	if k.bound.Port != 0 || k.opened {
		return unix.EINVAL
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
	if k.opened {
		return unix.EINVAL
	}
	if !k.listens {
		if k.bound.Port == 0 {
			k.bound.Port = s.ephemeral()
		}
		k.listens = true
		if err := k.listenFast(backlog); err != nil {
			return errnoOf(err)
		}
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
	a := newSocket(h, k.family)
	a.opened, a.lowat = true, k.lowat
	a.setNonblock(false) // as in Linux, whatever the listener is
	n, errno := s.add(a)
	return n, h.Flow().Remote, errno
}

// Connect opens a connection.
func (s *Stack) Connect(fd int, remote wire.Endpoint) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.EBADF
	}
	switch {
	case k.listens:
		return unix.EISCONN
	case k.opened:
		return k.connected()
	}
	return s.connect(k, remote, k.nonblock)
}

// connect opens the connection of a socket that has none. The SYN of one that does
// Fast Open may wait for data: then connect is done at once.
func (s *Stack) connect(k *socket, remote wire.Endpoint, nonblock bool) unix.Errno {
	if k.family == unix.AF_INET && !remote.Addr.Is4() {
		return unix.EAFNOSUPPORT
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
	if k.early() {
		return 0
	}
	if nonblock || k.nonblock {
		return unix.EINPROGRESS
	}
	return k.failed(k.sock.Connected())
}

// connected is what connect says of a socket for which it was called before.
func (k *socket) connected() unix.Errno {
	c := k.sock.State()
	switch {
	case c.State == tcp.SynSent || c.State == tcp.SynReceived:
		return unix.EALREADY
	case c.State == tcp.Closed:
		return k.failed(k.sock.Connected())
	}
	return unix.EISCONN
}

// Shutdown ends one or both directions.
func (s *Stack) Shutdown(fd, how int) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.ENOTSOCK
	}
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	state := k.sock.State().State
	if state == tcp.Closed || state == tcp.Listen {
		return unix.ENOTCONN
	}
	if how != unix.SHUT_WR {
		k.deaf = true
		k.sock.StopReading()
	}
	if how != unix.SHUT_RD && (state == tcp.Established || state == tcp.CloseWait) {
		return errnoOf(k.sock.CloseWrite())
	}
	return 0
}

// CloseDescriptor closes a descriptor, ours or not.
func (s *Stack) CloseDescriptor(fd int) unix.Errno {
	s.mu.Lock()
	k := s.socks[fd]
	delete(s.socks, fd)
	delete(s.epolls, fd)
	for _, e := range s.epolls {
		delete(e.items, fd)
	}
	s.mu.Unlock()
	errno := errnoOf(unix.Close(fd))
	if k != nil {
		errno = errnoOf(k.sock.Close())
	}
	return errno
}

// Fcntl knows F_GETFL and F_SETFL of sockets; other descriptors are the kernel's.
func (s *Stack) Fcntl(fd, cmd, arg int) (int, unix.Errno) {
	k := s.find(fd)
	switch {
	case k == nil, cmd == unix.F_GETFD, cmd == unix.F_SETFD:
		n, err := unix.FcntlInt(uintptr(fd), cmd, arg)
		return n, errnoOf(err)
	case cmd == unix.F_GETFL && k.nonblock:
		return unix.O_RDWR | unix.O_NONBLOCK, 0
	case cmd == unix.F_GETFL:
		return unix.O_RDWR, 0
	case cmd == unix.F_SETFL:
		k.setNonblock(arg&unix.O_NONBLOCK != 0)
		return 0, 0
	}
	return -1, unix.EINVAL
}

// siocOutQNSD is SIOCOUTQNSD of <linux/sockios.h>.
const siocOutQNSD = 0x894b

// Ioctl knows SIOCINQ, SIOCOUTQ and SIOCOUTQNSD: octets to be read, octets not
// acknowledged, octets not sent; and SIOCATMARK.
func (s *Stack) Ioctl(fd int, request uint) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return -1, unix.ENOTTY
	}
	if k.listens {
		return -1, unix.EINVAL
	}
	i, err := k.sock.Info()
	if err != nil {
		return -1, errnoOf(err)
	}
	switch request {
	case unix.SIOCINQ:
		return int(i.Unread), 0
	case unix.SIOCOUTQ:
		return int(i.Unacked + i.NotSent), 0
	case siocOutQNSD:
		return int(i.NotSent), 0
	case unix.SIOCATMARK:
		if k.sock.AtMark() {
			return 1, 0
		}
		return 0, 0
	}
	return -1, unix.ENOTTY
}
