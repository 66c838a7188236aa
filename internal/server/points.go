package server

import (
	"bytes"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// Bind points are the dummy kernel sockets that keep the port space of kernel
// and user-space TCP consistent (paper section 4.4.5): where an address of ours
// is the host's own, a port that we use is bound in the kernel too, so that a
// port in use by either stack is in use for the other. The addresses of a ring
// that the kernel does not have need none. The server binds them, since a child
// has no right to low ports; the child gets copies, so that the port stays bound
// when the server dies.

// bindPoints binds local in the kernel for a user, at every address of the host
// if it is the unspecified one. It returns EADDRINUSE if the kernel has it in
// use, EACCES if the user may not have it.
func (s *Server) bindPoints(local wire.Endpoint, app *application, reuse bool) (fds []int, errno unix.Errno) {
	for _, a := range s.kernelAddrs(local.Addr) {
		if len(fds) == message.MaxFiles {
			break // what a message carries
		}
		if !local.Addr.Covers(new(wire.AddrFrom(a))) {
			continue
		}
		fd, errno := bindFamily(netip.AddrPortFrom(a, local.Port), reuse, local.Addr == wire.Any6)
		if errno == unix.EADDRNOTAVAIL {
			continue // the ring's alone
		}
		if errno == 0 && int(local.Port) < unprivileged() && !app.mayBindLow() {
			unix.Close(fd)
			errno = unix.EACCES
		}
		if errno != 0 {
			message.CloseFiles(fds)
			return nil, errno
		}
		fds = append(fds, fd)
	}
	return fds, 0
}

// unprivileged is the first port that needs no privilege.
var unprivileged = sync.OnceValue(func() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if n, err2 := strconv.Atoi(string(bytes.TrimSpace(b))); err == nil && err2 == nil {
		return n
	}
	return 1024
})

// bindKernel returns a TCP socket of the kernel that is bound and never used.
// With SO_REUSEADDR a bound socket that does not listen keeps nobody out, so it
// is set only while binding (to get past the kernel's TIME-WAIT).
func bindKernel(ap netip.AddrPort, reuse bool) (int, unix.Errno) {
	return bindFamily(ap, reuse, false)
}

// bindFamily is bindKernel; at :: it binds IPv6 alone if that is asked for.
func bindFamily(ap netip.AddrPort, reuse, only6 bool) (int, unix.Errno) {
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	if ap.Addr().Is4() {
		family = unix.AF_INET
		sa = &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == unix.EAFNOSUPPORT && ap.Addr() == netip.IPv6Unspecified() && !only6 {
		return bindKernel(netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port()), reuse)
	}
	if err != nil {
		return -1, errnoOf(err)
	}
	if ap.Addr() == netip.IPv6Unspecified() { // whatever net.ipv6.bindv6only says
		v6only := 0
		if only6 {
			v6only = 1
		}
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)
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
