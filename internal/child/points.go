package child

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// bindPoints are the dummy kernel sockets that keep the port space of kernel
// and user-space TCP consistent (paper section 4.4.5): where an address of ours
// is the host's own, a port that we use is bound in the kernel too, so that a
// port in use by either stack is in use for the other. The addresses of a ring
// that the kernel does not have need none.
type bindPoints struct {
	mu     sync.Mutex
	points map[uint32][]int // descriptors, by socket
}

// take binds local in the kernel, every address of the host if it is the
// unspecified one. It returns EADDRINUSE if the kernel has it in use, EACCES if
// it does not allow it.
func (p *bindPoints) take(socket uint32, local wire.Endpoint, host []netip.Addr, reuse bool) unix.Errno {
	var fds []int
	for _, a := range host {
		w := wire.AddrFrom(a)
		if !local.Addr.IsZero() && local.Addr != w {
			continue
		}
		fd, errno := bindKernel(netip.AddrPortFrom(a, local.Port), reuse)
		if errno == unix.EADDRNOTAVAIL {
			continue // the ring's alone
		}
		if errno != 0 {
			closeAll(fds)
			return errno
		}
		fds = append(fds, fd)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.points == nil {
		p.points = map[uint32][]int{}
	}
	p.points[socket] = append(p.points[socket], fds...)
	return 0
}

// bindKernel returns a TCP socket of the kernel that is bound and never used.
// With SO_REUSEADDR a bound socket that does not listen keeps nobody out, so it
// is set only while binding (to get past the kernel's TIME-WAIT).
func bindKernel(ap netip.AddrPort, reuse bool) (int, unix.Errno) {
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	if ap.Addr().Is4() {
		family = unix.AF_INET
		sa = &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == unix.EAFNOSUPPORT && ap.Addr() == netip.IPv6Unspecified() {
		return bindKernel(netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port()), reuse)
	}
	if err != nil {
		return -1, errnoOf(err)
	}
	if ap.Addr() == netip.IPv6Unspecified() { // all of IPv4, too
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if reuse {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err = unix.Bind(fd, sa); err == nil && reuse {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	}
	if err != nil {
		unix.Close(fd)
		return -1, errnoOf(err)
	}
	return fd, 0
}

func errnoOf(err error) unix.Errno {
	if e, ok := err.(unix.Errno); ok {
		return e
	}
	return unix.EINVAL
}

// has reports whether a socket has been through take.
func (p *bindPoints) has(socket uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.points[socket]
	return ok
}

// drop closes a socket's bind points.
func (p *bindPoints) drop(socket uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeAll(p.points[socket])
	delete(p.points, socket)
}

// reuse sets or clears SO_REUSEADDR of a socket's bind points.
func (p *bindPoints) reuse(socket uint32, on bool) unix.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := 0
	if on {
		v = 1
	}
	for _, fd := range p.points[socket] {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, v); err != nil {
			return errnoOf(err)
		}
	}
	return 0
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
