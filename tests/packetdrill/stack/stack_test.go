package stack

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

var (
	ours   = wire.Endpoint{Addr: wire.Addr{10: 0xff, 11: 0xff, 12: 192, 13: 168, 14: 0, 15: 1}, Port: 8080}
	theirs = wire.Endpoint{Addr: wire.Addr{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: 1}, Port: 40000}
)

// tester is the far end of a conversation with a stack.
type tester struct {
	*testing.T
	s *Stack
}

func newTester(t *testing.T) *tester {
	s, err := New("ip=192.168.0.1,mtu=1500")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &tester{t, s}
}

// inject sends a segment to the stack.
func (t *tester) inject(h wire.TCP, payload string) {
	h.SrcPort, h.DstPort = theirs.Port, ours.Port
	b := make([]byte, 200+len(payload))
	ip := wire.IP{Src: theirs.Addr, Dst: ours.Addr, Proto: wire.ProtoTCP, TTL: 64}
	n := ip.Emit(b, h.Len()+len(payload))
	h.Checksum = wire.TCPChecksum(&ip.Src, &ip.Dst, emit(&h), [][]byte{[]byte(payload)})
	m := n + h.Emit(b[n:])
	t.s.Inject(b[:m+copy(b[m:], payload)])
}

func emit(h *wire.TCP) []byte {
	b := make([]byte, h.Len())
	h.Emit(b)
	return b
}

// want takes the next segment that leaves the stack.
func (t *tester) want(flags wire.Flags, payload string) wire.TCP {
	t.Helper()
	b, at, ok := t.s.Receive()
	if !ok {
		t.Fatalf("no segment left, want %v", flags)
	}
	if d := time.Since(at); d < 0 || d > time.Minute {
		t.Errorf("the segment left %v ago", d)
	}
	var ip wire.IP
	var h wire.TCP
	if err := wire.ParseIP(b, &ip); err != nil {
		t.Fatal(err)
	}
	n, err := wire.ParseTCP(b[ip.HeaderLen:], &h)
	if err != nil {
		t.Fatal(err)
	}
	seg := b[ip.HeaderLen:]
	if !wire.TCPChecksumOK(&ip.Src, &ip.Dst, seg[:n], [][]byte{seg[n:]}) {
		t.Error("wrong checksum")
	}
	if h.Flags != flags || string(seg[n:]) != payload {
		t.Fatalf("got %v %q, want %v %q", h.Flags, seg[n:], flags, payload)
	}
	return h
}

// establish accepts a connection and returns its descriptor and the number of
// the first octet that the stack will send.
func (t *tester) establish() (fd int, ack wire.TCP) {
	t.Helper()
	l, errno := t.s.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if errno != 0 {
		t.Fatal(errno)
	}
	if errno := t.s.Bind(l, ours); errno != 0 {
		t.Fatal(errno)
	}
	if errno := t.s.Listen(l, 1); errno != 0 {
		t.Fatal(errno)
	}
	t.inject(wire.TCP{Seq: 100, Flags: wire.SYN, Window: 65535, Options: wire.Options{Present: wire.HasMSS, MSS: 1000}}, "")
	syn := t.want(wire.SYN|wire.ACK, "")
	if syn.Options.MSS != 1460 || syn.Ack != 101 {
		t.Errorf("SYN-ACK %v", &syn)
	}
	ack = wire.TCP{Seq: 101, Ack: syn.Seq + 1, Flags: wire.ACK, Window: 65535}
	t.inject(ack, "")
	fd, from, errno := t.s.Accept(l)
	if errno != 0 || from != theirs {
		t.Fatal(fd, from, errno)
	}
	return fd, ack
}

func TestAConnectionIsAcceptedAndCarriesDataBothWays(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	h.Flags = wire.ACK | wire.PSH
	x.inject(h, "question")
	b := make([]byte, 100)
	if n, errno := x.s.Read(fd, b, 0); errno != 0 || string(b[:n]) != "question" {
		t.Fatal(n, errno)
	}
	x.want(wire.ACK, "")
	if n, errno := x.s.Write(fd, []byte("answer"), 0); n != 6 || errno != 0 {
		t.Fatal(n, errno)
	}
	x.want(wire.ACK|wire.PSH, "answer")
}

func TestCallsThatWouldWaitSaySo(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	if _, errno := x.s.Fcntl(fd, unix.F_SETFL, unix.O_NONBLOCK); errno != 0 {
		t.Fatal(errno)
	}
	if fl, _ := x.s.Fcntl(fd, unix.F_GETFL, 0); fl&unix.O_NONBLOCK == 0 {
		t.Errorf("F_GETFL says %#x", fl)
	}
	if n, errno := x.s.Read(fd, make([]byte, 1), 0); errno != unix.EAGAIN {
		t.Errorf("read: %d, %v", n, errno)
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
	if n := x.s.Poll(p, 0); n != 1 || p[0].Revents != unix.POLLOUT {
		t.Errorf("poll: %d, %#x", n, p[0].Revents)
	}
}

func TestAConnectWithoutWaitingIsInProgress(t *testing.T) {
	x := newTester(t)
	fd, _ := x.s.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno := x.s.Connect(fd, theirs); errno != unix.EINPROGRESS {
		t.Fatal(errno)
	}
	x.want(wire.SYN, "")
	if errno := x.s.Connect(fd, theirs); errno != unix.EALREADY {
		t.Error(errno)
	}
}

func TestClosingSendsFIN(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	if errno := x.s.CloseDescriptor(fd); errno != 0 {
		t.Fatal(errno)
	}
	x.want(wire.FIN|wire.ACK, "")
	if errno := x.s.CloseDescriptor(fd); errno != unix.EBADF {
		t.Errorf("second close: %v", errno)
	}
}

func TestOptionsAreRememberedAndOthersRefused(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	on, b := []byte{1, 0, 0, 0}, make([]byte, 4)
	if errno := x.s.Setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, on); errno != 0 {
		t.Fatal(errno)
	}
	if n, errno := x.s.Getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, b); n != 4 || errno != 0 || b[0] != 1 {
		t.Error(n, errno, b)
	}
	if errno := x.s.Setsockopt(fd, unix.IPPROTO_TCP, 9999, on); errno != unix.ENOPROTOOPT {
		t.Error(errno)
	}
}

func TestWrongFlagsAreErrors(t *testing.T) {
	for _, flags := range []string{"ip=nowhere", "mtu=12", "mtu=x", "colour=blue"} {
		if _, err := New(flags); err == nil {
			t.Errorf("%q was taken", flags)
		}
	}
}

func TestDamagedPacketsArePassedOver(t *testing.T) {
	x := newTester(t)
	for _, b := range [][]byte{nil, {0x45}, make([]byte, 40), append([]byte{0x45, 0, 0, 200}, make([]byte, 36)...)} {
		x.s.Inject(b)
	}
	x.establish()
}

func TestSysctlsAreReadFromTheNamespace(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{"tcp_sack": "0\n", "tcp_rmem": "4096\t540000\t15728640\n", "tcp_syn_retries": "3\n", "tcp_wmem": "garbage",
		"tcp_ecn": "3", "tcp_notsent_lowat": "4000", "tcp_congestion_control": "reno", "tcp_keepalive_time": "77"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := readSysctls(dir)
	if c.sack != 0 || c.timestamps != 1 || c.rmem != 15728640 || c.synRetries != 3 || c.wmem != 1<<20 {
		t.Errorf("%+v", c)
	}
	if c.ecn != 3 || c.notSentLowat != 4000 || c.congestion != "reno" || c.keepIdle != 77 || c.keepInterval != 75 {
		t.Errorf("%+v", c)
	}
	if c := readSysctls(t.TempDir()); c.notSentLowat != 0 || c.ecn != 2 || c.congestion != "" {
		t.Errorf("without a file: %+v", c)
	}
}

func TestTCPInfoIsLaidOutAsLinuxDoes(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	b := make([]byte, 300)
	n, errno := x.s.Getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, b)
	if errno != 0 || n != infoLen {
		t.Fatal(n, errno)
	}
	if state, mss, cwnd := b[0], binary.NativeEndian.Uint32(b[16:]), binary.NativeEndian.Uint32(b[80:]); state != 1 || mss != 1000 || cwnd != 10 {
		t.Errorf("state %d, snd_mss %d, snd_cwnd %d", state, mss, cwnd)
	}
	if n, errno := x.s.Getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, b[:8]); n != 8 || errno != 0 {
		t.Errorf("with little room: %d, %v", n, errno)
	}
}

func TestSegmentsThatFollowEachOtherLeaveTogether(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	// A segment and a half: two segments leave together at whatever pace. The handshake's
	// round trip says what the pace is, and takes long on a machine that has other work.
	data := strings.Repeat("abcdefghij", 150)
	if n, errno := x.s.Write(fd, []byte(data), 0); n != len(data) || errno != 0 {
		t.Fatal(n, errno)
	}
	x.want(wire.ACK|wire.PSH, data)
	if n, errno := x.s.Write(fd, []byte("x"), 0); n != 1 || errno != 0 {
		t.Fatal(n, errno)
	}
}
