package stack

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Bits of the sysctl tcp_fastopen.
const (
	fastClient       = 1 << iota // active opens may
	fastServer                   // listeners with TCP_FASTOPEN may
	fastClientBare               // active opens need no cookie
	fastServerBare   = 0x200     // nor do passive ones
	fastAllListeners = 0x400     // all listeners do, with their backlog for a queue
)

// fastKeyOption is TCP_FASTOPEN_KEY, whose value is one key of 16 octets or two.
var fastKeyOption = optionName{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_KEY}

// fastKeys reads one key or two: the second is for checking only.
func fastKeys(b []byte) (first, second [16]byte, ok bool) {
	if len(b) != 16 && len(b) != 32 {
		return first, second, false
	}
	copy(first[:], b)
	copy(second[:], b[len(b)-16:])
	return first, second, true
}

// parseFastKeys reads the sysctl tcp_fastopen_key: four words in hexadecimal, and after
// a comma four more. It returns the octets that TCP_FASTOPEN_KEY would have, or none if
// it is not understood or was never set.
func parseFastKeys(s string) (b []byte) {
	zero := true
	for _, key := range strings.Split(s, ",") {
		words := strings.Split(key, "-")
		if len(words) != 4 {
			return nil
		}
		for _, w := range words {
			x, err := strconv.ParseUint(w, 16, 32)
			if err != nil {
				return nil
			}
			zero = zero && x == 0
			b = binary.LittleEndian.AppendUint32(b, uint32(x))
		}
	}
	if zero || len(b) > 32 {
		return nil
	}
	return b
}

func (k *socket) setFastKeys(b []byte) unix.Errno {
	first, second, ok := fastKeys(b)
	if !ok {
		return unix.EINVAL
	}
	if err := k.sock.SetFastOpenKeys(first, second); err != nil {
		return errnoOf(err)
	}
	k.keys = append([]byte(nil), b...)
	return 0
}

// listenFast lets a listener do what the namespace's settings say of Fast Open.
func (k *socket) listenFast(backlog int) error {
	ctl := readSysctls(sysctlDir)
	if first, second, ok := fastKeys(ctl.fastKeys); ok && k.keys == nil {
		if err := k.sock.SetFastOpenKeys(first, second); err != nil {
			return err
		}
	}
	return k.sock.Options(func(o *tcp.ConnOptions) { listenerOptions(o, ctl.fast, backlog) })
}

// listenerOptions obeys the bits of the sysctl.
func listenerOptions(o *tcp.ConnOptions, bits uint32, backlog int) {
	if bits&fastAllListeners != 0 && o.FastOpenQueue == 0 {
		o.FastOpenQueue = uint16(min(backlog, 0xffff))
	}
	if bits&fastServerBare != 0 {
		o.FastOpenNoCookie = 1
	}
	if bits&fastServer == 0 {
		o.FastOpenQueue = 0
	}
}

// early reports whether the first data may be written before the connection is
// open: connect has said that it is.
func (k *socket) early() bool {
	c := k.sock.State()
	return c.FastHeld()
}

// WriteFirst is sendto with an address and MSG_FASTOPEN: connect and write in one.
// ok says that b is the program's memory.
func (s *Stack) WriteFirst(fd int, b []byte, ok bool, flags int, remote wire.Endpoint) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		return -1, unix.ENOTSOCK
	}
	opening := k.sock.State().State == tcp.SynSent
	switch ctl := readSysctls(sysctlDir); {
	case k.opened && opening && !k.early():
		return -1, unix.EALREADY
	case k.opened || k.listens:
		return s.Write(fd, b, flags&^unix.MSG_FASTOPEN)
	case ctl.fast&fastClient == 0:
		return -1, unix.EOPNOTSUPP
	}
	if err := k.sock.Options(func(o *tcp.ConnOptions) { o.FastOpen = 1 }); err != nil {
		return -1, errnoOf(err)
	}
	defer k.momentarily(flags)()
	if errno := s.connect(k, remote, flags&unix.MSG_DONTWAIT != 0); errno != 0 {
		return -1, errno
	}
	if !ok {
		return -1, unix.EFAULT
	}
	return s.Write(fd, b, flags&^unix.MSG_FASTOPEN)
}

// writeEarly writes as much as goes with the SYN, and the rest, if the call may
// wait, when the connection is open.
func (k *socket) writeEarly(b []byte, wait bool) (int, unix.Errno) {
	if len(b) == 0 {
		k.sock.LetFast()
		if !wait {
			return -1, unix.EINPROGRESS
		}
		return 0, k.failed(k.sock.Connected())
	}
	c := k.sock.State()
	first := b[:min(len(b), int(c.FastRoom()))]
	n, err := k.sock.Write(first)
	if err == nil && wait {
		if err = k.sock.Connected(); err == nil && len(first) < len(b) {
			var m int
			m, err = k.sock.Write(b[len(first):])
			n += m
		}
	}
	if errno := k.failed(err); errno != 0 {
		return -1, errno
	}
	return n, 0
}
