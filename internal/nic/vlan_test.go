package nic

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"

	"usertcp/internal/testnet"
)

// Kernels without 8021q have no VLAN devices. What one hands up is a frame without a tag
// that says that it was received by it; what it hands down goes to whatever device the
// route names. So it is enough to run the program by itself: on frames with tags as they
// may arrive, none of which is ours, and on one without that has come by another device.

// verdicts of the program.
const (
	nextProgram = ^uint32(0) // TCX_NEXT
	redirected  = 7          // TCX_REDIRECT
)

// runDemux runs the program on a frame that a device has received.
func runDemux(t *testing.T, m *Manager, in *testnet.Namespace, device string, frame []byte) (verdict uint32) {
	t.Helper()
	var skb [192]byte // struct __sk_buff
	binary.NativeEndian.PutUint32(skb[40:], uint32(in.Index(device)))
	in.Do(func() {
		var err error
		verdict, err = m.kernel.UsertcpDemux.Run(&ebpf.RunOptions{Data: frame, Context: skb})
		must(t, err)
	})
	return verdict
}

func TestFramesWithTagsThroughTheProgram(t *testing.T) {
	t.Parallel()
	m, a, _ := pair(t, Config{Devices: []string{"va", "lo"}})
	p := newPool(t, m, 1)
	must(t, p.Listen(endpoint("0.0.0.0:80")))
	must(t, p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")))
	tag := func(kind, tci uint16) []byte {
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, kind), tci)
	}
	const q, ad = 0x8100, 0x88a8
	for _, row := range []struct {
		name string
		tags []byte
		want uint32
	}{
		{"no tag", nil, redirected},
		{"VLAN 7", tag(q, 7), nextProgram},
		{"VLAN 4094, priority 7", tag(q, 7<<13|4094), nextProgram},
		{"a provider's tag", tag(ad, 7), nextProgram},
		{"two tags", append(tag(ad, 7), tag(q, 8)...), nextProgram},
		{"two tags, both of 802.1Q", append(tag(q, 7), tag(q, 8)...), nextProgram},
	} {
		for _, s := range []segment{
			{src: "10.9.0.2:5", dst: "10.9.0.1:80", tcp: layers.TCP{SYN: true}},
			{src: "10.9.0.2:2000", dst: "10.9.0.1:1000", tcp: layers.TCP{ACK: true}, payload: "octets"},
		} {
			s.ether = func(e *layers.Ethernet) { e.DstMAC = hardware(t, a, "va") }
			f := s.frame(t)
			f = bytes.Join([][]byte{f[:12], row.tags, f[12:]}, nil)
			before := counters(t, p)
			if got := runDemux(t, m, a, "va", f); got != row.want {
				t.Errorf("%s, to %s: verdict %d, want %d", row.name, s.dst, int32(got), int32(row.want))
			}
			if in := counters(t, p).In - before.In; (in == 1) != (row.want == redirected) {
				t.Errorf("%s, to %s: the pool counts %d frames", row.name, s.dst, in)
			}
		}
	}
}

// Another device, as a VLAN device is, is one of its own: its frames
// reach the pool by it, with its own Ethernet address.
func TestFramesOfAnUpperDeviceThroughTheProgram(t *testing.T) {
	t.Parallel()
	m, a, b := pair(t, Config{})
	testnet.Join(testnet.Wire{
		A: testnet.End{In: a, Name: "upper", Addrs: []string{"10.7.0.1/24"}},
		B: testnet.End{In: b, Name: "above", Addrs: []string{"10.7.0.2/24"}},
	})
	p := newPool(t, m, 1)
	if !soon(func() bool { return p.Listen(endpoint("10.7.0.1:80")) == nil }) {
		t.Fatal("its address is not the host's")
	}
	for device, want := range map[string]uint32{"upper": redirected, "va": nextProgram} {
		s := segment{src: "10.7.0.2:5", dst: "10.7.0.1:80", tcp: layers.TCP{SYN: true}}
		s.ether = func(e *layers.Ethernet) { e.DstMAC = hardware(t, a, "upper") }
		if got := runDemux(t, m, a, device, s.frame(t)); got != want {
			t.Errorf("by %s: verdict %d, want %d", device, int32(got), int32(want))
		}
	}
}
