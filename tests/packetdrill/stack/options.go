package stack

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
)

// Setsockopt sets an option to the value in b: a number, a struct linger, or a
// name.
func (s *Stack) Setsockopt(fd, level, name int, b []byte) unix.Errno {
	k := s.find(fd)
	if k == nil {
		return unix.EBADF
	}
	switch (optionName{level, name}) {
	case optionName{unix.SOL_SOCKET, unix.SO_REUSEADDR}, optionName{unix.SOL_SOCKET, unix.SO_REUSEPORT}:
		return 0 // there is nobody else
	case optionName{unix.SOL_SOCKET, unix.SO_LINGER}:
		return k.setLinger(b)
	case optionName{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:
		return k.setCongestion(string(b))
	}
	if len(b) < 4 {
		return unix.EINVAL
	}
	v := int(int32(binary.NativeEndian.Uint32(b)))
	if level == unix.SOL_SOCKET && (name == unix.SO_SNDBUF || name == unix.SO_RCVBUF) {
		v *= 2 // as Linux does
	}
	return errnoOf(k.sock.SetOption(level, name, v))
}

type optionName struct{ level, name int }

func (k *socket) setLinger(b []byte) unix.Errno {
	if len(b) < 8 {
		return unix.EINVAL
	}
	on, sec := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
	return errnoOf(k.sock.Options(func(o *tcp.ConnOptions) {
		o.LingerSet, o.Linger = uint8(min(on, 1)), sec
	}))
}

func (k *socket) setCongestion(name string) unix.Errno {
	id, ok := tcp.CongestionByName(strings.TrimRight(name, "\x00"))
	if !ok {
		return unix.ENOENT
	}
	return errnoOf(k.sock.Options(func(o *tcp.ConnOptions) { o.Congestion = id }))
}

// Getsockopt writes an option's value to b and returns its length.
func (s *Stack) Getsockopt(fd, level, name int, b []byte) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return 0, unix.EBADF
	}
	v := 0
	switch (optionName{level, name}) {
	case optionName{unix.SOL_SOCKET, unix.SO_ERROR}:
		v = int(errnoOf(k.sock.Failure()))
	case optionName{unix.IPPROTO_TCP, unix.TCP_INFO}:
		i, err := k.sock.Info()
		return copy(b, encodeInfo(&i)), errnoOf(err)
	case optionName{unix.IPPROTO_TCP, unix.TCP_CC_INFO}:
		return 0, 0 // as of a congestion control that has nothing to say
	case optionName{unix.SOL_SOCKET, unix.SO_MEMINFO}:
		return len(encodeMeminfo(k, b)), 0
	default:
		var err error
		if v, err = k.sock.Option(level, name); err != nil {
			return 0, errnoOf(err)
		}
	}
	if len(b) < 4 {
		return 0, unix.EINVAL
	}
	binary.NativeEndian.PutUint32(b, uint32(v))
	return 4, 0
}

// meminfoLen is the length of what SO_MEMINFO says: nine numbers.
const meminfoLen = 9 * 4

// encodeMeminfo says how much memory a socket uses, in octets: of RcvQ, its
// limit, of SndQ, its limit; and again of SndQ what waits there. The rest are
// the kernel's own.
func encodeMeminfo(k *socket, b []byte) []byte {
	c := k.sock.State()
	var m [meminfoLen]byte
	for i, v := range []uint32{c.RcvQ.Bytes, c.Opt.RcvBuf, c.SndQ.Bytes, c.Opt.SndBuf, 0, c.SndQ.Bytes} {
		binary.NativeEndian.PutUint32(m[4*i:], v)
	}
	return b[:copy(b, m[:])]
}
