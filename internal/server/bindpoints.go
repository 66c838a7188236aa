package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// bindPoints keep the kernel off our ports, and us off the kernel's: "we create
// a dummy kernel socket, bind the address to it, and if the bind succeeds also
// bind the address to the user-space socket" (paper section 4.4.5). That is
// done for those addresses of the host that the kernel has too; addresses that
// are the ring's alone need none. The paper's children do it; here it is the
// server, which chooses the ports.
type bindPoints struct {
	own    map[wire.Addr]bool
	points map[wire.Endpoint]*bindPoint
}

type bindPoint struct {
	fd   int
	uses int
}

// newBindPoints finds out which of the addresses the kernel has.
func newBindPoints(addrs []wire.Addr) bindPoints {
	b := bindPoints{own: make(map[wire.Addr]bool), points: make(map[wire.Endpoint]*bindPoint)}
	for _, a := range addrs {
		if fd, err := dummySocket(wire.Endpoint{Addr: a}, false); err == nil {
			unix.Close(fd)
			b.own[a] = true
		}
	}
	return b
}

// take binds dummy sockets to local, or to the port at each address that it covers.
func (b *bindPoints) take(local wire.Endpoint, reuse bool) unix.Errno {
	var taken []wire.Endpoint
	for a := range b.own {
		if !covers(&local.Addr, &a) {
			continue
		}
		e := wire.Endpoint{Addr: a, Port: local.Port}
		if errno := b.takeOne(e, reuse); errno != 0 {
			for _, e := range taken {
				b.giveOne(e)
			}
			return errno
		}
		taken = append(taken, e)
	}
	return 0
}

func (b *bindPoints) takeOne(e wire.Endpoint, reuse bool) unix.Errno {
	if p := b.points[e]; p != nil {
		p.uses++
		return 0
	}
	fd, err := dummySocket(e, reuse)
	if err != nil {
		var errno unix.Errno
		if !errors.As(err, &errno) {
			errno = unix.EADDRNOTAVAIL
		}
		return errno
	}
	b.points[e] = &bindPoint{fd: fd, uses: 1}
	return 0
}

// give undoes one take of local.
func (b *bindPoints) give(local wire.Endpoint) {
	for a := range b.own {
		if covers(&local.Addr, &a) {
			b.giveOne(wire.Endpoint{Addr: a, Port: local.Port})
		}
	}
}

func (b *bindPoints) giveOne(e wire.Endpoint) {
	p := b.points[e]
	if p == nil {
		panic("BUG: bind-point given back that was not taken")
	}
	if p.uses--; p.uses == 0 {
		unix.Close(p.fd)
		delete(b.points, e)
	}
}

// dummySocket returns a kernel TCP socket bound to e, which never listens.
func dummySocket(e wire.Endpoint, reuse bool) (int, error) {
	domain := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: e.Addr, Port: int(e.Port)}
	if e.Addr.Is4() {
		domain = unix.AF_INET
		sa = &unix.SockaddrInet4{Addr: e.Addr.Netip().As4(), Port: int(e.Port)}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if reuse {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
