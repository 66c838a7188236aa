package half

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
)

func TestOptionsByTheKernelsNumbers(t *testing.T) {
	const sock, proto, ip = unix.SOL_SOCKET, unix.IPPROTO_TCP, unix.IPPROTO_IP
	for _, x := range []struct {
		what        string
		level, name int
		set, want   int
	}{
		{what: "SO_KEEPALIVE", level: sock, name: unix.SO_KEEPALIVE, set: 7, want: 1},
		{what: "SO_OOBINLINE", level: sock, name: unix.SO_OOBINLINE, set: 1, want: 1},
		{what: "SO_LINGER", level: sock, name: unix.SO_LINGER, set: 5, want: 5},
		{what: "SO_LINGER off", level: sock, name: unix.SO_LINGER, set: -3, want: -1},
		{what: "SO_SNDBUF", level: sock, name: unix.SO_SNDBUF, set: 100_000, want: 100_000},
		{what: "SO_SNDBUF, tiny", level: sock, name: unix.SO_SNDBUF, set: 1, want: minBuffer},
		{what: "SO_RCVBUF, huge", level: sock, name: unix.SO_RCVBUF, set: 1 << 40, want: maxBuffer},
		{what: "SO_RCVLOWAT", level: sock, name: unix.SO_RCVLOWAT, set: 3000, want: 3000},
		{what: "SO_RCVLOWAT of nothing", level: sock, name: unix.SO_RCVLOWAT, set: 0, want: 1},
		{what: "TCP_NODELAY", level: proto, name: unix.TCP_NODELAY, set: 1, want: 1},
		{what: "TCP_CORK", level: proto, name: unix.TCP_CORK, set: 1, want: 1},
		{what: "TCP_KEEPIDLE", level: proto, name: unix.TCP_KEEPIDLE, set: 30, want: 30},
		{what: "TCP_KEEPINTVL", level: proto, name: unix.TCP_KEEPINTVL, set: 32767, want: 32767},
		{what: "TCP_KEEPCNT", level: proto, name: unix.TCP_KEEPCNT, set: 127, want: 127},
		{what: "TCP_SYNCNT", level: proto, name: unix.TCP_SYNCNT, set: 3, want: 3},
		{what: "TCP_USER_TIMEOUT", level: proto, name: unix.TCP_USER_TIMEOUT, set: 1234, want: 1234},
		{what: "TCP_NOTSENT_LOWAT", level: proto, name: unix.TCP_NOTSENT_LOWAT, set: 16384, want: 16384},
		{what: "TCP_DEFER_ACCEPT", level: proto, name: unix.TCP_DEFER_ACCEPT, set: 9, want: 9},
		{what: "TCP_MAXSEG", level: proto, name: unix.TCP_MAXSEG, set: 1000, want: 1000},
		{what: "TCP_LINGER2", level: proto, name: unix.TCP_LINGER2, set: 7, want: 7},
		{what: "TCP_LINGER2, too long", level: proto, name: unix.TCP_LINGER2, set: 121, want: 0},
		{what: "TCP_LINGER2, none", level: proto, name: unix.TCP_LINGER2, set: -7, want: -1},
		{what: "TCP_WINDOW_CLAMP", level: proto, name: unix.TCP_WINDOW_CLAMP, set: 9999, want: 9999},
		{what: "IP_TOS without the bits of ECN", level: ip, name: unix.IP_TOS, set: 0x2b, want: 0x28},
		{what: "TCP_FASTOPEN", level: proto, name: unix.TCP_FASTOPEN, set: 16, want: 16},
		{what: "TCP_FASTOPEN, huge", level: proto, name: unix.TCP_FASTOPEN, set: 1 << 20, want: 65535},
		{what: "TCP_FASTOPEN_CONNECT", level: proto, name: unix.TCP_FASTOPEN_CONNECT, set: 1, want: 1},
		{what: "TCP_FASTOPEN_NO_COOKIE", level: proto, name: unix.TCP_FASTOPEN_NO_COOKIE, set: 1, want: 1},
		{what: "IP_TTL", level: ip, name: unix.IP_TTL, set: 1, want: 1},
		{what: "IP_TTL by default", level: ip, name: unix.IP_TTL, set: -1, want: 64},
		{what: "base of MTU probing", level: LevelUser, name: OptionBaseMSS, set: 512, want: 512},
		{what: "floor of MTU probing", level: LevelUser, name: OptionMTUProbeFloor, set: 88, want: 88},
		{what: "base of MTU probing, the default", level: LevelUser, name: OptionBaseMSS, set: 0, want: 0},
		{what: "ECN", level: LevelUser, name: OptionECN, set: 1, want: 1},
	} {
		o := tcp.DefaultOptions()
		if err := SetOption(&o, x.level, x.name, x.set); err != nil {
			t.Errorf("%s: %v", x.what, err)
			continue
		}
		if got, err := GetOption(&o, x.level, x.name); err != nil || got != x.want {
			t.Errorf("%s: %d, %v; want %d", x.what, got, err, x.want)
		}
	}
}

// What the kernel refuses is refused, and changes nothing.
func TestOptionsThatAreRefused(t *testing.T) {
	const sock, proto, ip = unix.SOL_SOCKET, unix.IPPROTO_TCP, unix.IPPROTO_IP
	for _, x := range []struct {
		what             string
		level, name, set int
		errno            error
	}{
		{what: "TCP_KEEPIDLE of 0", level: proto, name: unix.TCP_KEEPIDLE, set: 0, errno: syscall.EINVAL},
		{what: "TCP_KEEPCNT of 128", level: proto, name: unix.TCP_KEEPCNT, set: 128, errno: syscall.EINVAL},
		{what: "TCP_USER_TIMEOUT below 0", level: proto, name: unix.TCP_USER_TIMEOUT, set: -1, errno: syscall.EINVAL},
		{what: "TCP_MAXSEG of 87", level: proto, name: unix.TCP_MAXSEG, set: 87, errno: syscall.EINVAL},
		{what: "IP_TTL of 256", level: ip, name: unix.IP_TTL, set: 256, errno: syscall.EINVAL},
		{what: "IP_TOS of 256", level: ip, name: unix.IP_TOS, set: 256, errno: syscall.EINVAL},
		{what: "SO_SNDBUF of 0", level: sock, name: unix.SO_SNDBUF, set: 0, errno: syscall.EINVAL},
		{what: "SO_RCVBUF below 0", level: sock, name: unix.SO_RCVBUF, set: -1, errno: syscall.EINVAL},
		{what: "TCP_FASTOPEN below 0", level: proto, name: unix.TCP_FASTOPEN, set: -1, errno: syscall.EINVAL},
		{what: "TCP_FASTOPEN_CONNECT of 2", level: proto, name: unix.TCP_FASTOPEN_CONNECT, set: 2, errno: syscall.EINVAL},
		{what: "base of MTU probing of 87", level: LevelUser, name: OptionBaseMSS, set: 87, errno: syscall.EINVAL},
		{what: "floor of MTU probing of 65536", level: LevelUser, name: OptionMTUProbeFloor, set: 1 << 16, errno: syscall.EINVAL},
		{what: "ECN of 6", level: LevelUser, name: OptionECN, set: 6, errno: syscall.EINVAL},
		{what: "an option of no level", level: 77, name: 1, errno: syscall.ENOPROTOOPT},
	} {
		o := tcp.DefaultOptions()
		before := o
		if err := SetOption(&o, x.level, x.name, x.set); err != x.errno {
			t.Errorf("%s: %v, want %v", x.what, err, x.errno)
		}
		if o != before {
			t.Errorf("%s: refused, and changed", x.what)
		}
	}
}

func TestSetBuffersAreLocked(t *testing.T) {
	o := tcp.DefaultOptions()
	SetOption(&o, unix.SOL_SOCKET, unix.SO_SNDBUF, 50000)
	SetOption(&o, unix.SOL_SOCKET, unix.SO_RCVBUF, 50000)
	if o.SndLock == 0 || o.RcvLock == 0 {
		t.Error("a buffer that the program has set would still grow")
	}
	SetOption(&o, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1<<30)
	if o.RcvLowat > o.RcvBuf/2 {
		t.Errorf("a reader would wait for %d octets of a buffer of %d", o.RcvLowat, o.RcvBuf)
	}
}

func TestUnknownOptionHasNoValue(t *testing.T) {
	o := tcp.DefaultOptions()
	if _, err := GetOption(&o, unix.IPPROTO_TCP, 9999); err != syscall.ENOPROTOOPT {
		t.Error(err)
	}
}
