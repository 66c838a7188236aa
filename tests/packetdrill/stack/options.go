package stack

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
)

// option is a socket option that is an int.
type option struct {
	get func(*tcp.ConnOptions) int
	set func(*tcp.ConnOptions, int)
}

func flag8(p func(*tcp.ConnOptions) *uint8) option {
	return option{
		func(o *tcp.ConnOptions) int { return int(*p(o)) },
		func(o *tcp.ConnOptions, v int) {
			*p(o) = 0
			if v != 0 {
				*p(o) = 1
			}
		},
	}
}

func int32s(p func(*tcp.ConnOptions) *uint32) option {
	return option{
		func(o *tcp.ConnOptions) int { return int(*p(o)) },
		func(o *tcp.ConnOptions, v int) { *p(o) = uint32(max(v, 0)) },
	}
}

type optionKey struct{ level, name int }

// options are those that are numbers, with the kernel's names for them.
var options = map[optionKey]option{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY}:      flag8(func(o *tcp.ConnOptions) *uint8 { return &o.NoDelay }),
	{unix.IPPROTO_TCP, unix.TCP_CORK}:         flag8(func(o *tcp.ConnOptions) *uint8 { return &o.Cork }),
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK}:     flag8(func(o *tcp.ConnOptions) *uint8 { return &o.QuickAck }),
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}:      flag8(func(o *tcp.ConnOptions) *uint8 { return &o.KeepAlive }),
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: int32s(func(o *tcp.ConnOptions) *uint32 { return &o.UserTimeout }),
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:     int32s(func(o *tcp.ConnOptions) *uint32 { return &o.KeepIdle }),
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}:    int32s(func(o *tcp.ConnOptions) *uint32 { return &o.KeepInterval }),
	{unix.SOL_SOCKET, unix.SO_SNDBUF}:         {func(o *tcp.ConnOptions) int { return int(o.SndBuf) }, func(o *tcp.ConnOptions, v int) { o.SndBuf = uint32(2 * v) }},
	{unix.SOL_SOCKET, unix.SO_RCVBUF}:         {func(o *tcp.ConnOptions) int { return int(o.RcvBuf) }, func(o *tcp.ConnOptions, v int) { o.RcvBuf = uint32(2 * v) }},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:      {func(o *tcp.ConnOptions) int { return int(o.KeepCount) }, func(o *tcp.ConnOptions, v int) { o.KeepCount = uint8(v) }},
}

// Setsockopt sets an option to the value in b.
func (s *Stack) Setsockopt(fd, level, name int, b []byte) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.EBADF
	}
	if level == unix.SOL_SOCKET && (name == unix.SO_REUSEADDR || name == unix.SO_REUSEPORT) {
		return 0
	}
	if level == unix.SOL_SOCKET && name == unix.SO_LINGER {
		return s.setLinger(k, b)
	}
	o, ok := options[optionKey{level, name}]
	switch {
	case !ok:
		return unix.ENOPROTOOPT
	case len(b) < 4:
		return unix.EINVAL
	}
	v := int(int32(binary.NativeEndian.Uint32(b)))
	return errnoOf(k.sock.Options(func(c *tcp.ConnOptions) { o.set(c, v) }))
}

func (s *Stack) setLinger(k *socket, b []byte) unix.Errno {
	if len(b) < 8 {
		return unix.EINVAL
	}
	on, sec := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
	return errnoOf(k.sock.Options(func(o *tcp.ConnOptions) {
		o.LingerSet, o.Linger = uint8(min(on, 1)), sec
	}))
}

// Getsockopt writes an option's value to b and returns its length.
func (s *Stack) Getsockopt(fd, level, name int, b []byte) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return 0, unix.EBADF
	}
	c := k.sock.State()
	v := 0
	switch o, ok := options[optionKey{level, name}]; {
	case ok:
		v = o.get(&c.Opt)
	case level == unix.SOL_SOCKET && name == unix.SO_ERROR:
		v = int(errnoOf(k.sock.Failure()))
	default:
		return 0, unix.ENOPROTOOPT
	}
	if len(b) < 4 {
		return 0, unix.EINVAL
	}
	binary.NativeEndian.PutUint32(b, uint32(v))
	return 4, 0
}
