package stack

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
)

// inert are options that are accepted and remembered, and have nothing to say to a
// stack of its own on a network of its own. Path MTU discovery is always on, and
// sends without copies (SO_ZEROCOPY) are copied.
var inert = map[optionName]bool{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR}:        true,
	{unix.SOL_SOCKET, unix.SO_REUSEPORT}:        true,
	{unix.SOL_SOCKET, unix.SO_PRIORITY}:         true,
	{unix.SOL_SOCKET, unix.SO_MARK}:             true,
	{unix.SOL_SOCKET, unix.SO_ZEROCOPY}:         true,
	{unix.IPPROTO_IP, unix.IP_FREEBIND}:         true,
	{unix.IPPROTO_IP, unix.IP_RECVERR}:          true,
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER}:     true,
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR}:      true,
	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}:       true,
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER}: true,
}

// Setsockopt sets an option to the value in b: a number, a struct linger, or a
// name.
func (s *Stack) Setsockopt(fd, level, name int, b []byte) unix.Errno {
	k := s.find(fd)
	o := optionName{level, name}
	switch {
	case k == nil:
		return unix.ENOTSOCK
	case level == unix.IPPROTO_IPV6 && k.family == unix.AF_INET:
		return unix.ENOPROTOOPT
	case o == optionName{unix.SOL_SOCKET, unix.SO_LINGER}:
		return k.setLinger(b)
	case o == optionName{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:
		return k.setCongestion(string(b))
	case o == fastKeyOption:
		return k.setFastKeys(b)
	}
	v, ok := value(level, b)
	if !ok {
		return unix.EINVAL
	}
	if inert[o] {
		k.inert[o] = v
		return 0
	}
	if o == inqOption && v>>1 != 0 {
		return unix.EINVAL
	}
	if o == (optionName{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT}) && readSysctls(sysctlDir).fast&fastClient == 0 {
		return unix.EOPNOTSUPP
	}
	return errnoOf(k.setNumber(o, v))
}

// value reads a number. Options of IP may have one octet.
func value(level int, b []byte) (v int, ok bool) {
	switch {
	case len(b) >= 4:
		return int(int32(binary.NativeEndian.Uint32(b))), true
	case len(b) >= 1 && level == unix.IPPROTO_IP:
		return int(b[0]), true
	}
	return 0, false
}

// inqOption makes recvmsg tell how much there is left to read.
var inqOption = optionName{unix.IPPROTO_TCP, unix.TCP_INQ}

// Inq returns how many octets are left to read, with one for the end of the stream
// so that the program reads that too; less than 0 if TCP_INQ is off.
func (s *Stack) Inq(fd int) int {
	k := s.find(fd)
	if k == nil || !k.inq {
		return -1
	}
	c := k.sock.State()
	n, fin := c.Readable()
	if fin {
		n++
	}
	return int(n)
}

// setNumber sets an option in Linux's units.
func (k *socket) setNumber(o optionName, v int) error {
	switch o {
	case inqOption:
		k.inq = v != 0
		return nil
	case optionName{unix.SOL_SOCKET, unix.SO_SNDBUF}, optionName{unix.SOL_SOCKET, unix.SO_RCVBUF}:
		v *= 2
	case optionName{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}:
		v = int(uint32(v))
		if k.lowat = v != 0; !k.lowat {
			v = int(readSysctls(sysctlDir).notSentLowat)
		}
	case optionName{unix.IPPROTO_IP, unix.IP_TOS}:
		v &= 0xff
	}
	return k.sock.SetOption(o.level, o.name, v)
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
	switch (optionName{level, name}) {
	case optionName{unix.IPPROTO_TCP, unix.TCP_INFO}:
		i, err := k.sock.Info()
		return copy(b, encodeInfo(&i)), errnoOf(err)
	case fastKeyOption:
		return copy(b, k.keys), 0
	case optionName{unix.IPPROTO_TCP, unix.TCP_CC_INFO}:
		return 0, 0 // as of a congestion control that has nothing to say
	case optionName{unix.SOL_SOCKET, unix.SO_MEMINFO}:
		return len(encodeMeminfo(k, b)), 0
	case optionName{unix.SOL_SOCKET, unix.SO_LINGER}:
		return k.linger(b)
	case optionName{unix.IPPROTO_TCP, unix.TCP_CONGESTION}:
		i, err := k.sock.Info()
		var name [16]byte
		copy(name[:], i.Congestion)
		return copy(b, name[:]), errnoOf(err)
	}
	v, err := k.number(optionName{level, name})
	if err != nil {
		return 0, errnoOf(err)
	}
	var out [4]byte
	binary.NativeEndian.PutUint32(out[:], uint32(v))
	return copy(b, out[:]), 0
}

// number returns the value of an option that is one.
func (k *socket) number(o optionName) (int, error) {
	switch o {
	case optionName{unix.SOL_SOCKET, unix.SO_ERROR}:
		return int(k.failed(k.sock.Failure())), nil
	case optionName{unix.SOL_SOCKET, unix.SO_TYPE}:
		return unix.SOCK_STREAM, nil
	case optionName{unix.SOL_SOCKET, unix.SO_DOMAIN}:
		return k.family, nil
	case optionName{unix.SOL_SOCKET, unix.SO_PROTOCOL}:
		return unix.IPPROTO_TCP, nil
	case optionName{unix.SOL_SOCKET, unix.SO_ACCEPTCONN}:
		if k.listens {
			return 1, nil
		}
		return 0, nil
	case inqOption:
		if k.inq {
			return 1, nil
		}
		return 0, nil
	case optionName{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}:
		if !k.lowat {
			return 0, nil // what holds is the sysctl
		}
	}
	if inert[o] {
		return k.inert[o], nil
	}
	return k.sock.Option(o.level, o.name)
}

// linger writes a struct linger.
func (k *socket) linger(b []byte) (int, unix.Errno) {
	v, err := k.sock.Option(unix.SOL_SOCKET, unix.SO_LINGER)
	var out [8]byte
	if v >= 0 {
		binary.NativeEndian.PutUint32(out[:], 1)
		binary.NativeEndian.PutUint32(out[4:], uint32(v))
	}
	return copy(b, out[:]), errnoOf(err)
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
