package half

import (
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
)

// A sockopt is a socket option whose value is an int: how it lies in the
// engine's options.
type sockopt struct {
	get func(*tcp.ConnOptions) int
	set func(*tcp.ConnOptions, int) error // nil: can't be set
}

type optionName struct{ level, name int }

// Limits of options, the kernel's.
const (
	maxKeepTime  = 32767 // s
	maxKeepCount = 127
	maxSynCount  = 127
	minBuffer    = 4 << 10
	maxBuffer    = 1 << 30
)

// sockopts are the options that the kernel has, by its numbers.
var sockopts = map[optionName]sockopt{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}: flag(func(o *tcp.ConnOptions) *uint8 { return &o.KeepAlive }),
	{unix.SOL_SOCKET, unix.SO_OOBINLINE}: flag(func(o *tcp.ConnOptions) *uint8 { return &o.UrgentInline }),
	{unix.SOL_SOCKET, unix.SO_LINGER}:    {getLinger, setLinger},
	{unix.SOL_SOCKET, unix.SO_SNDBUF}:    {func(o *tcp.ConnOptions) int { return int(o.SndBuf) }, setSndBuf},
	{unix.SOL_SOCKET, unix.SO_RCVBUF}:    {func(o *tcp.ConnOptions) int { return int(o.RcvBuf) }, setRcvBuf},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT}:  {getRcvLowat, setRcvLowat},

	{unix.IPPROTO_TCP, unix.TCP_NODELAY}:       flag(func(o *tcp.ConnOptions) *uint8 { return &o.NoDelay }),
	{unix.IPPROTO_TCP, unix.TCP_CORK}:          flag(func(o *tcp.ConnOptions) *uint8 { return &o.Cork }),
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK}:      {func(o *tcp.ConnOptions) int { return int(o.QuickAck) }, setQuickAck},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:      number(func(o *tcp.ConnOptions) *uint32 { return &o.KeepIdle }, 1, maxKeepTime),
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}:     number(func(o *tcp.ConnOptions) *uint32 { return &o.KeepInterval }, 1, maxKeepTime),
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:       number(func(o *tcp.ConnOptions) *uint8 { return &o.KeepCount }, 1, maxKeepCount),
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT}:        number(func(o *tcp.ConnOptions) *uint8 { return &o.SynRetries }, 1, maxSynCount),
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}:  number(func(o *tcp.ConnOptions) *uint32 { return &o.UserTimeout }, 0, math.MaxInt32),
	{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}: number(func(o *tcp.ConnOptions) *uint32 { return &o.NotSentLowat }, 0, math.MaxUint32),
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT}:  {func(o *tcp.ConnOptions) int { return int(o.DeferAccept) }, setDeferAccept},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG}:        {getMaxSeg, setMaxSeg},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN}: {func(o *tcp.ConnOptions) int { return int(o.FastOpenQueue) }, func(o *tcp.ConnOptions, v int) error {
		if v < 0 {
			return syscall.EINVAL
		}
		o.FastOpenQueue = uint16(min(v, math.MaxUint16))
		return nil
	}},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT}:   number(func(o *tcp.ConnOptions) *uint8 { return &o.FastOpen }, 0, 1),
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_NO_COOKIE}: number(func(o *tcp.ConnOptions) *uint8 { return &o.FastOpenNoCookie }, 0, 1),
	{unix.IPPROTO_TCP, unix.TCP_LINGER2}:            {getFinWait, setFinWait},
	{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP}:       number(func(o *tcp.ConnOptions) *uint32 { return &o.WindowClamp }, 0, maxBuffer),

	{unix.IPPROTO_IP, unix.IP_TOS}:              {getTOS, setTOS},
	{unix.IPPROTO_IP, unix.IP_TTL}:              {func(o *tcp.ConnOptions) int { return int(o.TTL) }, setTTL},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:       {getTOS, setTOS},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}: {func(o *tcp.ConnOptions) int { return int(o.TTL) }, setTTL},

	// Linux has these as sysctls of the host: net.ipv4.tcp_ecn and
	// net.ipv4.tcp_mtu_probing. Here each socket has its own.
	{LevelUser, OptionECN}:               number(func(o *tcp.ConnOptions) *uint8 { return &o.ECN }, tcp.ECNOff, tcp.ECNPassiveAccurate),
	{LevelUser, OptionMTUProbing}:        number(func(o *tcp.ConnOptions) *uint8 { return &o.MTUProbe }, tcp.MTUProbeOff, tcp.MTUProbeOn),
	{LevelUser, OptionBaseMSS}:           mssOption(func(o *tcp.ConnOptions) *uint16 { return &o.BaseMSS }),
	{LevelUser, OptionMTUProbeFloor}:     mssOption(func(o *tcp.ConnOptions) *uint16 { return &o.FloorMSS }),
	{LevelUser, OptionUserTimeoutOption}: flag(func(o *tcp.ConnOptions) *uint8 { return &o.UserTimeoutOption }),
	{LevelUser, OptionAutoCorking}:       {getAutoCorking, setAutoCorking},
	{LevelUser, OptionSndMax}:            number(func(o *tcp.ConnOptions) *uint32 { return &o.SndMax }, 0, maxBuffer),
	{LevelUser, OptionRcvMax}:            number(func(o *tcp.ConnOptions) *uint32 { return &o.RcvMax }, 0, maxBuffer),
}

// LevelUser is the level of the options that no kernel has by socket.
const LevelUser = 0x75736572

// Options of LevelUser.
const (
	OptionECN = 1 + iota
	OptionMTUProbing
	OptionUserTimeoutOption
	OptionSndMax
	OptionRcvMax
	OptionBaseMSS
	OptionMTUProbeFloor
	OptionAutoCorking
)

// SetOption changes an option by the kernel's level and name. It returns
// ENOPROTOOPT for one that is not known, EINVAL for a value out of range.
func SetOption(o *tcp.ConnOptions, level, name, value int) error {
	x, ok := sockopts[optionName{level, name}]
	if !ok || x.set == nil {
		return syscall.ENOPROTOOPT
	}
	return x.set(o, value)
}

// GetOption returns the value of an option, or ENOPROTOOPT.
func GetOption(o *tcp.ConnOptions, level, name int) (int, error) {
	x, ok := sockopts[optionName{level, name}]
	if !ok {
		return 0, syscall.ENOPROTOOPT
	}
	return x.get(o), nil
}

// flag is an option that is on for any value but zero.
func flag(at func(*tcp.ConnOptions) *uint8) sockopt {
	return sockopt{
		get: func(o *tcp.ConnOptions) int { return int(*at(o)) },
		set: func(o *tcp.ConnOptions, v int) error {
			*at(o) = 0
			if v != 0 {
				*at(o) = 1
			}
			return nil
		},
	}
}

// number is an option from least to most.
func number[T uint8 | uint32](at func(*tcp.ConnOptions) *T, least, most int) sockopt {
	return sockopt{
		get: func(o *tcp.ConnOptions) int { return int(*at(o)) },
		set: func(o *tcp.ConnOptions, v int) error {
			if v < least || v > most {
				return syscall.EINVAL
			}
			*at(o) = T(v)
			return nil
		},
	}
}

// Limits of TCP_MAXSEG in octets, the kernel's: TCP_MIN_MSS and MAX_TCP_WINDOW.
const (
	leastMSS = 88
	mostMSS  = 32767
)

// mssOption is an option that is a size of payload in octets; 0 for the default.
func mssOption(at func(*tcp.ConnOptions) *uint16) sockopt {
	return sockopt{
		get: func(o *tcp.ConnOptions) int { return int(*at(o)) },
		set: func(o *tcp.ConnOptions, v int) error {
			if v != 0 && (v < leastMSS || v > mostMSS) {
				return syscall.EINVAL
			}
			*at(o) = uint16(v)
			return nil
		},
	}
}

func getLinger(o *tcp.ConnOptions) int {
	if o.LingerSet == 0 {
		return -1
	}
	return int(o.Linger)
}

// setLinger takes seconds; less than zero turns it off.
func setLinger(o *tcp.ConnOptions, v int) error {
	o.LingerSet, o.Linger = 0, 0
	if v >= 0 {
		o.LingerSet, o.Linger = 1, uint32(min(v, math.MaxInt32))
	}
	return nil
}

// getAutoCorking and setAutoCorking have it the other way round, since it is on by
// default.
func getAutoCorking(o *tcp.ConnOptions) int { return int(1 - min(o.NoAutoCork, 1)) }

func setAutoCorking(o *tcp.ConnOptions, v int) error {
	o.NoAutoCork = 1
	if v != 0 {
		o.NoAutoCork = 0
	}
	return nil
}

// maxFinWait is the longest TCP_LINGER2, s: the kernel's TCP_FIN_TIMEOUT_MAX.
const maxFinWait = 120

func getFinWait(o *tcp.ConnOptions) int {
	if o.NoFinWait != 0 {
		return -1
	}
	return int(o.FinWait)
}

// setFinWait takes seconds. Less than zero is no wait; zero and what is too long are
// what the host says, as in the kernel.
func setFinWait(o *tcp.ConnOptions, v int) error {
	o.NoFinWait, o.FinWait = 0, 0
	switch {
	case v < 0:
		o.NoFinWait = 1
	case v <= maxFinWait:
		o.FinWait = uint8(v)
	}
	return nil
}

func setSndBuf(o *tcp.ConnOptions, v int) error {
	if v <= 0 {
		return syscall.EINVAL
	}
	o.SndBuf, o.SndLock = uint32(min(max(v, minBuffer), maxBuffer)), 1
	return nil
}

func setRcvBuf(o *tcp.ConnOptions, v int) error {
	if v <= 0 {
		return syscall.EINVAL
	}
	o.RcvBuf, o.RcvLock = uint32(min(max(v, minBuffer), maxBuffer)), 1
	return nil
}

func getRcvLowat(o *tcp.ConnOptions) int { return int(max(o.RcvLowat, 1)) }

// setRcvLowat keeps a reader from waiting for more than can come.
func setRcvLowat(o *tcp.ConnOptions, v int) error {
	if v < 0 {
		v = maxBuffer
	}
	most := o.RcvBuf
	if o.RcvLock == 0 {
		most = max(most, o.RcvMax)
	}
	o.RcvLowat = min(uint32(min(v, maxBuffer)), most/2)
	if o.RcvLock == 0 {
		o.RcvBuf = max(o.RcvBuf, 2*o.RcvLowat)
	}
	return nil
}

func setQuickAck(o *tcp.ConnOptions, v int) error {
	o.QuickAck = tcp.QuickAckOff
	if v&1 != 0 {
		o.QuickAck = tcp.QuickAckOn
	}
	return nil
}

func setDeferAccept(o *tcp.ConnOptions, v int) error {
	o.DeferAccept = uint32(min(max(v, 0), math.MaxInt32))
	return nil
}

func getMaxSeg(o *tcp.ConnOptions) int {
	if o.UserMSS != 0 {
		return int(o.UserMSS)
	}
	return int(o.MSS)
}

// setMaxSeg sets TCP_MAXSEG.
func setMaxSeg(o *tcp.ConnOptions, v int) error {
	if v != 0 && (v < leastMSS || v > mostMSS) {
		return syscall.EINVAL
	}
	o.UserMSS = uint16(v)
	return nil
}

// ecnBits are the two bits of TOS that are TCP's own.
const ecnBits = 3

func getTOS(o *tcp.ConnOptions) int { return int(o.TOS) }

func setTOS(o *tcp.ConnOptions, v int) error {
	if v < 0 || v > 255 {
		return syscall.EINVAL
	}
	o.TOS = uint8(v) &^ ecnBits
	return nil
}

// defaultTTL is Linux's.
const defaultTTL = 64

func setTTL(o *tcp.ConnOptions, v int) error {
	if v == -1 {
		v = defaultTTL
	}
	if v < 1 || v > 255 {
		return syscall.EINVAL
	}
	o.TTL = uint8(v)
	return nil
}

// SetOption changes an option of the socket.
func (s *Socket) SetOption(level, name, value int) error {
	var bad error
	err := s.Options(func(o *tcp.ConnOptions) { bad = SetOption(o, level, name, value) })
	if err == nil {
		err = bad
	}
	if err == nil && value != 0 && level == unix.IPPROTO_TCP && name == unix.TCP_NODELAY {
		s.push()
	}
	return err
}

// push sends what is queued, even if it is corked: TCP_NODELAY does, as in Linux.
func (s *Socket) push() {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return
	}
	t.begin(s.i).Push()
	t.commit(s.i)
	t.settle()
}

// Option returns an option of the socket. Of a connection TCP_MAXSEG is the
// largest segment that it sends, IP_MTU the path's MTU, and SO_ERROR what went
// wrong, once.
func (s *Socket) Option(level, name int) (int, error) {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return 0, os.ErrClosed
	}
	c := &t.conns[s.i]
	i := c.Info(t.clock())
	switch (optionName{level, name}) {
	case optionName{unix.IPPROTO_TCP, unix.TCP_MAXSEG}:
		if i.State.Synchronized() {
			return int(i.SndMSS), nil
		}
	case optionName{unix.IPPROTO_IP, unix.IP_MTU}, optionName{unix.IPPROTO_IPV6, unix.IPV6_MTU}:
		if !i.State.Synchronized() {
			return 0, syscall.ENOTCONN
		}
		return int(i.PathMTU), nil
	case optionName{unix.IPPROTO_TCP, unix.TCP_LINGER2}:
		if v := getFinWait(&c.Opt); v != 0 {
			return v, nil
		}
		wait, _ := t.ctl.limits.orphanTime()
		return int(wait / tcp.Second), nil
	case optionName{unix.SOL_SOCKET, unix.SO_ERROR}:
		errno, _ := s.failure().(syscall.Errno)
		return int(errno), nil
	}
	return GetOption(&c.Opt, level, name)
}

// Info returns what TCP_INFO says.
func (s *Socket) Info() (tcp.Info, error) {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return tcp.Info{}, os.ErrClosed
	}
	return t.conns[s.i].Info(t.clock()), nil
}
