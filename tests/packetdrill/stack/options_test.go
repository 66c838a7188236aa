package stack

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

func (t *tester) set(fd, level, name, v int) {
	t.Helper()
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(v))
	if errno := t.s.Setsockopt(fd, level, name, b[:]); errno != 0 {
		t.Fatalf("setsockopt(%d, %d, %d): %v", level, name, v, errno)
	}
}

func (t *tester) get(fd, level, name int) int {
	t.Helper()
	var b [4]byte
	if n, errno := t.s.Getsockopt(fd, level, name, b[:]); n != 4 || errno != 0 {
		t.Fatalf("getsockopt(%d, %d): %d, %v", level, name, n, errno)
	}
	return int(int32(binary.NativeEndian.Uint32(b[:])))
}

func TestOptionsAreAsLinuxHasThem(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	for _, o := range []struct{ level, name, set, want int }{
		{unix.SOL_SOCKET, unix.SO_SNDBUF, 10000, 20000},
		{unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, 1},
		{unix.IPPROTO_IP, unix.IP_TOS, 4, 4},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT, unix.IP_PMTUDISC_DONT},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 4000, 4000},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, -1, -1},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 0, 0},
	} {
		x.set(fd, o.level, o.name, o.set)
		if v := x.get(fd, o.level, o.name); v != o.want {
			t.Errorf("%d, %d: %d, want %d", o.level, o.name, v, o.want)
		}
	}
	for name, want := range map[int]int{unix.SO_TYPE: unix.SOCK_STREAM, unix.SO_DOMAIN: unix.AF_INET,
		unix.SO_PROTOCOL: unix.IPPROTO_TCP, unix.SO_ACCEPTCONN: 0, unix.SO_ERROR: 0} {
		if v := x.get(fd, unix.SOL_SOCKET, name); v != want {
			t.Errorf("%d: %d, want %d", name, v, want)
		}
	}
}

func TestOptionsOfIPMayHaveOneOctet(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	if errno := x.s.Setsockopt(fd, unix.IPPROTO_IP, unix.IP_TOS, []byte{8}); errno != 0 {
		t.Error(errno)
	}
	if v := x.get(fd, unix.IPPROTO_IP, unix.IP_TOS); v != 8 {
		t.Errorf("IP_TOS is %d", v)
	}
	if errno := x.s.Setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, []byte{1}); errno != unix.EINVAL {
		t.Errorf("TCP_NODELAY of one octet: %v", errno)
	}
}

func TestOptionsOfIPv6AreOfItsSockets(t *testing.T) {
	x := newTester(t)
	on := []byte{1, 0, 0, 0}
	for family, want := range map[int]unix.Errno{unix.AF_INET: unix.ENOPROTOOPT, unix.AF_INET6: 0} {
		fd, _ := x.s.Socket(family, unix.SOCK_STREAM, 0)
		if errno := x.s.Setsockopt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, on); errno != want {
			t.Errorf("family %d: %v, want %v", family, errno, want)
		}
		if got := x.s.Family(fd); got != family {
			t.Errorf("family %d, want %d", got, family)
		}
	}
}

func TestLingerIsAStruct(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	b := make([]byte, 8)
	if n, errno := x.s.Getsockopt(fd, unix.SOL_SOCKET, unix.SO_LINGER, b); n != 8 || errno != 0 || b[0] != 0 {
		t.Error(n, errno, b)
	}
	if errno := x.s.Setsockopt(fd, unix.SOL_SOCKET, unix.SO_LINGER, []byte{1, 0, 0, 0, 5, 0, 0, 0}); errno != 0 {
		t.Fatal(errno)
	}
	if n, errno := x.s.Getsockopt(fd, unix.SOL_SOCKET, unix.SO_LINGER, b); n != 8 || errno != 0 || b[0] != 1 || b[4] != 5 {
		t.Error(n, errno, b)
	}
}

func TestWhatIsLeftToReadIsTold(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	x.bring(&h, "abcd")
	if n := x.s.Inq(fd); n != -1 {
		t.Errorf("%d, and nobody asked", n)
	}
	x.set(fd, unix.IPPROTO_TCP, unix.TCP_INQ, 1)
	if v := x.get(fd, unix.IPPROTO_TCP, unix.TCP_INQ); v != 1 {
		t.Errorf("TCP_INQ is %d", v)
	}
	x.wantRead(fd, 1, 0, "a", 0)
	if n := x.s.Inq(fd); n != 3 {
		t.Errorf("%d, want 3", n)
	}
	h.Flags = wire.ACK | wire.FIN
	x.inject(h, "")
	x.want(wire.ACK, "")
	x.wantRead(fd, 9, 0, "bcd", 0)
	if n := x.s.Inq(fd); n != 1 {
		t.Errorf("%d, want 1 for the end", n)
	}
	if errno := x.s.Setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INQ, []byte{2, 0, 0, 0}); errno != unix.EINVAL {
		t.Error(errno)
	}
}
