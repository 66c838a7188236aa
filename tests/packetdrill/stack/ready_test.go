package stack

import (
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

func wireSize(s string) seq.Size { return seq.Size(len(s)) }

// poll asks for events of a descriptor, without waiting.
func poll(s *Stack, fd int, events int16) int16 {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	s.Poll(p, 0)
	return p[0].Revents
}

const allEvents = unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP

func TestShutdownOfReadingLeavesWhatComes(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	if errno := x.s.Shutdown(fd, unix.SHUT_RD); errno != 0 {
		t.Fatal(errno)
	}
	if p := poll(x.s, fd, allEvents); p != allEvents {
		t.Errorf("poll says %#x", p)
	}
	x.wantRead(fd, 9, 0, "", 0)
	x.bring(&h, "abc")
	x.wantRead(fd, 9, 0, "abc", 0)
	x.wantRead(fd, 9, 0, "", 0)
}

func TestShutdownOfBothSendsFIN(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	for range 2 { // the second changes nothing
		if errno := x.s.Shutdown(fd, unix.SHUT_RDWR); errno != 0 {
			t.Fatal(errno)
		}
	}
	x.want(wire.FIN|wire.ACK, "") // and no acknowledgement before it
	x.wantRead(fd, 9, 0, "", 0)
	if n, errno := x.s.Write(fd, []byte("x"), 0); n != -1 || errno != unix.EPIPE {
		t.Errorf("write: %d, %v", n, errno)
	}
	if p := poll(x.s, fd, allEvents); p != allEvents|unix.POLLHUP {
		t.Errorf("poll says %#x", p)
	}
}

func TestShutdownWithoutAConnection(t *testing.T) {
	x := newTester(t)
	fd, _ := x.s.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno := x.s.Shutdown(fd, unix.SHUT_RDWR); errno != unix.ENOTCONN {
		t.Error(errno)
	}
	if errno := x.s.Shutdown(fd, 7); errno != unix.EINVAL {
		t.Error(errno)
	}
	if errno := x.s.Shutdown(12345, unix.SHUT_RD); errno != unix.ENOTSOCK {
		t.Error(errno)
	}
	if p := poll(x.s, fd, allEvents); p != unix.POLLHUP|unix.POLLOUT {
		t.Errorf("poll says %#x of a fresh socket", p)
	}
}

func TestRefusedConnectIsToldOnce(t *testing.T) {
	x := newTester(t)
	fd, _ := x.s.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno := x.s.Bind(fd, ours); errno != 0 {
		t.Fatal(errno)
	}
	if errno := x.s.Connect(fd, theirs); errno != unix.EINPROGRESS {
		t.Fatal(errno)
	}
	syn := x.want(wire.SYN, "")
	x.inject(wire.TCP{Ack: syn.Seq.Add(1), Flags: wire.RST | wire.ACK}, "")
	if p := poll(x.s, fd, unix.POLLOUT); p&(unix.POLLERR|unix.POLLOUT) != unix.POLLERR|unix.POLLOUT {
		t.Errorf("poll says %#x", p)
	}
	if v := x.get(fd, unix.SOL_SOCKET, unix.SO_ERROR); v != int(unix.ECONNREFUSED) {
		t.Errorf("SO_ERROR is %d", v)
	}
	if v := x.get(fd, unix.SOL_SOCKET, unix.SO_ERROR); v != 0 {
		t.Errorf("SO_ERROR is %d again", v)
	}
}

func TestCountsOfIoctl(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	x.bring(&h, "abc")
	x.s.Write(fd, []byte("defgh"), 0)
	x.set(fd, unix.IPPROTO_TCP, unix.TCP_CORK, 1)
	x.s.Write(fd, []byte("ij"), 0)
	for request, want := range map[uint]int{unix.SIOCINQ: 3, unix.SIOCOUTQ: 7, siocOutQNSD: 2, unix.SIOCATMARK: 0} {
		if n, errno := x.s.Ioctl(fd, request); n != want || errno != 0 {
			t.Errorf("%#x: %d, %v; want %d", request, n, errno, want)
		}
	}
	if _, errno := x.s.Ioctl(fd, 0x1234); errno != unix.ENOTTY {
		t.Error(errno)
	}
}

// epollWait returns what is reported at once.
func (t *tester) epollWait(efd int) (events uint32) {
	t.Helper()
	out := make([]unix.EpollEvent, 4)
	n, errno := t.s.EpollWait(efd, out, 0)
	if errno != 0 || n > 1 || n == 1 && out[0].Fd != 77 {
		t.Fatal(n, errno, out)
	}
	if n == 0 {
		return 0
	}
	return out[0].Events
}

func (t *tester) epoll(fd int, events uint32) (efd int) {
	t.Helper()
	efd, errno := t.s.EpollCreate(1)
	if errno == 0 {
		errno = t.s.EpollCtl(efd, unix.EPOLL_CTL_ADD, fd, unix.EpollEvent{Events: events, Fd: 77})
	}
	if errno != 0 {
		t.Fatal(errno)
	}
	return efd
}

func TestEpollReportsWhatIsReady(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	efd := x.epoll(fd, unix.EPOLLIN)
	if ev := x.epollWait(efd); ev != 0 {
		t.Errorf("%#x before anything", ev)
	}
	x.bring(&h, "abc")
	for range 2 {
		if ev := x.epollWait(efd); ev != unix.EPOLLIN {
			t.Errorf("%#x when octets have come", ev)
		}
	}
	x.s.EpollCtl(efd, unix.EPOLL_CTL_DEL, fd, unix.EpollEvent{})
	if ev := x.epollWait(efd); ev != 0 {
		t.Errorf("%#x of what was removed", ev)
	}
}

func TestEpollReportsEdgesOnce(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	efd := x.epoll(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET&0xffffffff)
	for i, want := range []uint32{unix.EPOLLOUT, 0, unix.EPOLLIN | unix.EPOLLOUT, 0, unix.EPOLLIN | unix.EPOLLOUT, 0} {
		if want&unix.EPOLLIN != 0 {
			x.bring(&h, "abc")
		}
		if ev := x.epollWait(efd); ev != want {
			t.Errorf("%d: %#x, want %#x", i, ev, want)
		}
	}
}

func TestEpollOneShotIsOnce(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	efd := x.epoll(fd, unix.EPOLLOUT|unix.EPOLLONESHOT)
	for i, want := range []uint32{unix.EPOLLOUT, 0, unix.EPOLLOUT} {
		if i == 2 {
			x.s.EpollCtl(efd, unix.EPOLL_CTL_MOD, fd, unix.EpollEvent{Events: unix.EPOLLOUT, Fd: 77})
		}
		if ev := x.epollWait(efd); ev != want {
			t.Errorf("%d: %#x, want %#x", i, ev, want)
		}
	}
}

func TestEpollRefusesNonsense(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	efd := x.epoll(fd, unix.EPOLLIN)
	for _, c := range []struct {
		efd, op, fd int
		want        unix.Errno
	}{
		{efd, unix.EPOLL_CTL_ADD, fd, unix.EEXIST},
		{efd, unix.EPOLL_CTL_MOD, fd + 1000, unix.ENOENT},
		{efd, 99, fd, unix.EINVAL},
		{fd, unix.EPOLL_CTL_ADD, fd, unix.EINVAL},
		{efd, unix.EPOLL_CTL_ADD, efd, unix.EINVAL},
	} {
		if errno := x.s.EpollCtl(c.efd, c.op, c.fd, unix.EpollEvent{}); errno != c.want {
			t.Errorf("%+v: %v", c, errno)
		}
	}
	if _, errno := x.s.EpollCreate(0); errno != unix.EINVAL {
		t.Error(errno)
	}
	if _, errno := x.s.EpollWait(fd, make([]unix.EpollEvent, 1), 0); errno != unix.EINVAL {
		t.Error(errno)
	}
}
