package stack

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// receiveTimeout is how long Receive waits for a packet: packetdrill itself
// waits for ever.
const receiveTimeout = 4 * time.Second

// Stack is a system under test.
type Stack struct {
	top   *half.Top
	dev   *netdev
	seg   *shm.Segment
	local wire.Addr // if given by flags
	mtu   uint16    // of the device, octets

	mu     sync.Mutex
	socks  map[int]*socket
	epolls map[int]*epoll
	port   uint16
}

// New returns a system with the options of packetdrill's --so_flags:
// "ip=ADDR,mtu=N". What scripts set with sysctl is read from the network
// namespace.
func New(flags string) (*Stack, error) {
	s := &Stack{dev: newNetdev(), socks: map[int]*socket{}, epolls: map[int]*epoll{}, port: 32768}
	mtu, err := s.parse(flags)
	if err != nil {
		return nil, err
	}
	s.mtu = uint16(mtu)
	if s.seg, err = shm.Create("usertcp-packetdrill", half.Version, half.Specs(nil)...); err != nil {
		return nil, err
	}
	if err := half.Initialise(s.seg, mtu); err != nil {
		return nil, err
	}
	var doors [2]shm.Doorbell
	for i := range doors {
		if doors[i], err = shm.NewDoorbell(); err != nil {
			return nil, err
		}
	}
	s.top, err = half.NewTop(half.Config{
		Segment: s.seg, Driver: s.dev, Bell: new(shm.Bell), Doorbells: doors,
	}, half.SpinOff, nil)
	if err == nil {
		s.top.Alone()
	}
	return s, err
}

func (s *Stack) parse(flags string) (mtu int, err error) {
	mtu = 1500
	for _, f := range strings.Split(flags, ",") {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "":
		case "ip":
			a, err := netip.ParseAddr(value)
			if err != nil {
				return 0, fmt.Errorf("flag ip: %w", err)
			}
			s.local = wire.AddrFrom(a)
		case "mtu":
			if mtu, err = strconv.Atoi(value); err != nil || mtu < 576 || mtu > 65535 {
				return 0, fmt.Errorf("flag mtu: %q is not 576 to 65535", value)
			}
		default:
			return 0, fmt.Errorf("unknown flag %q", name)
		}
	}
	return mtu, nil
}

// Close ends the system.
func (s *Stack) Close() {
	s.mu.Lock()
	for fd := range s.socks {
		unix.Close(fd)
	}
	for fd := range s.epolls {
		unix.Close(fd)
	}
	s.socks, s.epolls = map[int]*socket{}, map[int]*epoll{}
	s.mu.Unlock()
	s.top.Close()
	s.dev.queue.close()
	s.dev.routes.close()
}

// Inject makes an IP packet arrive.
func (s *Stack) Inject(ip []byte) {
	s.dev.push(ip)
	s.top.Kick()
}

// Receive waits for the next packet that leaves, for some seconds. The time is
// that of Now.
func (s *Stack) Receive() (ip []byte, at time.Time, ok bool) {
	select {
	case p := <-s.dev.out:
		return p.ip, p.at, true
	case <-time.After(receiveTimeout):
		return nil, time.Time{}, false
	}
}

// options returns what a fresh socket has in this system.
func (s *Stack) options(o *tcp.ConnOptions) {
	ctl := readSysctls(sysctlDir)
	o.Timestamps = ctl.timestamps
	o.SACK = ctl.sack
	o.WindowScaling = ctl.windowScaling
	o.SndBuf, o.SndMax = ctl.wmem, ctl.wmemMax
	o.RcvBuf = ctl.rmem
	o.SynRetries = ctl.synRetries
	o.SynAckTries = ctl.synAckRetries
	o.DataRetries = ctl.retries
	o.ECN = ctl.ecn
	o.MTUProbe, o.BaseMSS, o.FloorMSS = ctl.mtuProbing, ctl.baseMSS, ctl.floorMSS
	o.NotSentLowat = ctl.notSentLowat
	o.KeepIdle, o.KeepInterval, o.KeepCount = ctl.keepIdle, ctl.keepInterval, ctl.keepCount
	if id, ok := tcp.CongestionByName(ctl.congestion); ok {
		o.Congestion = id
	}
	if ctl.fast&fastClientBare != 0 {
		o.FastOpenNoCookie = 1
	}
	shape(o, sysctlDir)
}
