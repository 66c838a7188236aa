package stack

import "golang.org/x/sys/unix"

// An epoll is what a descriptor of epoll_create stands for. It looks at its
// descriptors only while somebody waits, so that it must find out then what has
// happened since: see interest.
type epoll struct {
	items map[int]*interest
	order []int // descriptors, those that were reported longest ago first
}

// interest is what is asked about one descriptor.
type interest struct {
	event  unix.EpollEvent // Fd and Pad are the program's own
	armed  bool            // something has happened since the last report
	in     uint64          // octets that had come when last looked
	closed bool            // the stream had ended then
	silent bool            // EPOLLONESHOT: reported, and not asked again
}

// EpollCreate makes an epoll descriptor.
func (s *Stack) EpollCreate(size int) (int, unix.Errno) {
	if size <= 0 {
		return -1, unix.EINVAL
	}
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	s.mu.Lock()
	s.epolls[fd] = &epoll{items: map[int]*interest{}}
	s.mu.Unlock()
	return fd, 0
}

// EpollCtl adds, changes or removes a descriptor.
func (s *Stack) EpollCtl(efd, op, fd int, ev unix.EpollEvent) unix.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.epolls[efd]
	if e == nil || efd == fd {
		return unix.EINVAL
	}
	_, has := e.items[fd]
	switch {
	case op == unix.EPOLL_CTL_ADD && has:
		return unix.EEXIST
	case op != unix.EPOLL_CTL_ADD && !has:
		return unix.ENOENT
	}
	switch op {
	case unix.EPOLL_CTL_ADD:
		e.order = append(e.order, fd)
		e.items[fd] = &interest{event: ev, armed: true}
	case unix.EPOLL_CTL_MOD:
		*e.items[fd] = interest{event: ev, armed: true}
	case unix.EPOLL_CTL_DEL:
		delete(e.items, fd)
	default:
		return unix.EINVAL
	}
	return 0
}

// EpollWait waits for up to len(out) events, or until the time (in ms) is over.
func (s *Stack) EpollWait(efd int, out []unix.EpollEvent, timeout int) (int, unix.Errno) {
	s.mu.Lock()
	e := s.epolls[efd]
	s.mu.Unlock()
	if e == nil || len(out) == 0 {
		return -1, unix.EINVAL
	}
	return until(timeout, func() int { return s.collect(e, out) }), 0
}

// collect fills out with what there is, and puts those reported at the end of the
// order, so that all have their turn.
func (s *Stack) collect(e *epoll, out []unix.EpollEvent) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var waits, reported []int
	for _, fd := range e.order {
		i := e.items[fd]
		switch {
		case i == nil: // removed
		case n < len(out) && s.report(fd, i, &out[n]):
			n++
			reported = append(reported, fd)
		default:
			waits = append(waits, fd)
		}
	}
	e.order = append(waits, reported...)
	return n
}

// report fills in what is to be said of fd, if anything is.
func (s *Stack) report(fd int, i *interest, out *unix.EpollEvent) bool {
	var ready int16
	if k := s.socks[fd]; k != nil {
		ready = k.ready()
		i.notice(k, ready)
	} else {
		p := []unix.PollFd{{Fd: int32(fd), Events: -1}}
		unix.Poll(p, 0)
		ready, i.armed = p[0].Revents, true
	}
	events := uint32(uint16(ready)) & (i.event.Events | unix.EPOLLERR | unix.EPOLLHUP)
	if events == 0 || i.silent || i.event.Events&unix.EPOLLET != 0 && !i.armed {
		return false
	}
	i.armed = false
	i.silent = i.event.Events&unix.EPOLLONESHOT != 0
	*out = i.event
	out.Events = events
	return true
}

// notice arms i if something has happened to its socket that the kernel would wake
// somebody for: octets or the end have come, or there is room where none was.
func (i *interest) notice(k *socket, ready int16) {
	c := k.sock.State()
	in := c.Stats.BytesIn
	ended := ready&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR) != 0
	if k.listens || in != i.in || ended && !i.closed {
		i.armed = true
	}
	if k.crowded && ready&unix.POLLOUT != 0 {
		k.crowded, i.armed = false, true
	}
	i.in, i.closed = in, ended
}
