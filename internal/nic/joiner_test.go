package nic

import (
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// A train is what a sender without segmentation offload has its kernel cut.
const (
	cutAt = 1400 // octets of a segment
	train = 45   // segments
)

// sender sends segments from 10.9.0.2:2000 to 10.9.0.1:1000 by the device vb, whose
// kernel cuts them.
type sender struct {
	t  *testing.T
	fd int
	at *unix.SockaddrLinklayer
	to [6]byte
}

func newSender(t *testing.T, a, b *testnet.Namespace) *sender {
	a.SetOffloads("va", false)
	b.SetOffloads("vb", false)
	s := &sender{t: t, at: &unix.SockaddrLinklayer{Ifindex: b.Index("vb")}}
	a.Do(func() {
		va, err := net.InterfaceByName("va")
		must(t, err)
		s.to = [6]byte(va.HardwareAddr)
	})
	var err error
	b.Do(func() {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	})
	must(t, err)
	t.Cleanup(func() { unix.Close(s.fd) })
	must(t, unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	return s
}

// send sends payload octets from seq on.
func (s *sender) send(seq, payload int) {
	s.t.Helper()
	b := make([]byte, payload)
	for i := range b {
		b[i] = byte((seq + i) * 7)
	}
	frame := segment{
		src: "10.9.0.2:2000", dst: "10.9.0.1:1000", payload: string(b),
		tcp:   layers.TCP{ACK: true, Seq: uint32(seq)},
		ether: func(e *layers.Ethernet) { e.DstMAC = s.to[:] },
	}.frame(s.t)
	virtio := make([]byte, 10)
	if payload > cutAt {
		whole := partial(34, 16)
		copy(virtio, whole[:])
		virtio[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
		binary.LittleEndian.PutUint16(virtio[2:], 54)
		binary.LittleEndian.PutUint16(virtio[4:], cutAt)
		pseudo(frame)
	}
	must(s.t, unix.Sendto(s.fd, append(virtio, frame...), 0, s.at))
}

// pseudo makes the TCP checksum in a frame that of the pseudo-header.
func pseudo(frame []byte) {
	sum := uint32(6) + uint32(len(frame)-34)
	for i := 26; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(frame[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(frame[50:], uint16(sum))
}

// arrive reads until all octets from seq on have come, each behind the one before, and
// returns the most that came at once; 0 if some do not come.
func arrive(t *testing.T, p *Pool, seq, octets int, within time.Duration) (most int) {
	t.Helper()
	for octets > 0 {
		r := read(t, p, within)
		if r == nil {
			return 0
		}
		s := r.tcp()
		if s == nil || int(s.Seq) != seq {
			continue
		}
		for i, c := range s.Payload {
			if c != byte((seq+i)*7) {
				t.Fatalf("octet %d is %d", seq+i, c)
			}
		}
		if n := len(s.Payload); n > cutAt && (r.virtio[1] != unix.VIRTIO_NET_HDR_GSO_TCPV4 || binary.LittleEndian.Uint16(r.virtio[4:]) != cutAt) {
			t.Fatalf("%d octets with the virtio header %x", n, r.virtio)
		}
		most = max(most, len(s.Payload))
		seq, octets = seq+len(s.Payload), octets-len(s.Payload)
	}
	return most
}

// ours returns the devices that join.
func ours(a *testnet.Namespace) (names []string) {
	for _, d := range a.Devices() {
		if strings.HasPrefix(d, "utcpj") || strings.HasPrefix(d, "utcpk") {
			names = append(names, d)
		}
	}
	slices.Sort(names)
	return names
}

// A device that joins nothing has the pool called for each segment of a stream: they are
// joined on their way then, with those that are short behind those that came before.
func TestFullSegmentsAreJoined(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
	s, seq := newSender(t, a, b), 1
	stream := func(want func(most int) bool) bool {
		for end := time.Now().Add(patience); time.Now().Before(end); {
			s.send(seq, train*cutAt)
			s.send(seq+train*cutAt, 10)
			most := arrive(t, p, seq, train*cutAt+10, time.Second)
			seq += train*cutAt + 10
			if want(most) {
				return true
			}
		}
		return false
	}
	if got := ours(a); len(got) != 0 {
		t.Errorf("there are %v before anybody needs them", got)
	}
	if !stream(func(most int) bool { return most >= train/2*cutAt }) {
		t.Fatal("nothing has been joined")
	}
	if got := ours(a); !slices.Equal(got, []string{"utcpj0", "utcpk0"}) {
		t.Errorf("there are %v", got)
	}
	a.Remove("utcpj0")
	if !stream(func(most int) bool { return most >= train/2*cutAt }) {
		t.Error("nothing is joined any more, by devices that somebody has taken away")
	}
	a.Down("utcpk0")
	if !stream(func(most int) bool { return most >= train/2*cutAt }) {
		t.Error("nothing is joined any more, by devices that somebody has taken down")
	}
}

// Segments that come with long pauses between them gain nothing by the way round.
func TestSegmentsAloneAreNotSentRound(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	p := newPool(t, m, 1)
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
	must(t, m.place.do(m.join))
	s, seq := newSender(t, a, b), 1
	const at = 1000 ^ 2000
	var was, is kernelBurst
	for end := time.Now().Add(patience); ; {
		s.send(seq, cutAt)
		if n := arrive(t, p, seq, cutAt, 20*time.Second); n != cutAt {
			t.Fatalf("%d octets of segment %d have come; %+v, %+v", n, seq/cutAt, is, counters(t, p))
		}
		seq += cutAt
		must(t, m.kernel.Bursts.Lookup(uint32(at), &is))
		if was.Until != 0 && is.Until == 0 && is.Begun > was.Until {
			return // a pause of a second: longer than any burst
		}
		if was = is; time.Now().After(end) {
			t.Fatalf("after %d segments: %+v", seq/cutAt, is)
		}
	}
}

// Each server of a namespace has its own.
func TestTwoServersJoin(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	testnet.Join(testnet.Wire{A: testnet.End{In: a, Name: "vc"}, B: testnet.End{In: b, Name: "vd"}})
	other := open(t, a, Config{Devices: []string{"vc"}})
	must(t, m.place.do(m.join))
	must(t, other.place.do(other.join))
	must(t, other.place.do(other.join)) // is asked for twice
	if got := ours(a); !slices.Equal(got, []string{"utcpj0", "utcpj1", "utcpk0", "utcpk1"}) {
		t.Errorf("there are %v", got)
	}
	must(t, m.Close())
	if got := ours(a); !slices.Equal(got, []string{"utcpj1", "utcpk1"}) {
		t.Errorf("when one has gone there are %v", got)
	}
}
