package wire

import (
	"net/netip"
	"testing"
)

// The expected lines of captured segments are what tcpdump's option names and
// flag letters make of them, in its older order: flags, sequence numbers, ack,
// win, options.
func TestSegmentString(t *testing.T) {
	tests := map[string]string{
		"syn4":    "10.1.0.1.4242 > 10.2.0.2.80: S 2270208255:2270208255(0) win 64240 <mss 1460,sackOK,TS val 2550565934 ecr 0,nop,wscale 10>",
		"synack4": "10.2.0.2.80 > 10.1.0.1.4242: S. 3712524040:3712524040(0) ack 2270208256 win 65160 <mss 1460,sackOK,TS val 530522328 ecr 2550565934,nop,wscale 10>",
		"hello4":  "10.1.0.1.4242 > 10.2.0.2.80: P. 2270208256:2270208261(5) ack 3712524041 win 63 <nop,nop,TS val 2550565934 ecr 530522328>",
		"rst4":    "10.2.0.2.81 > 10.1.0.1.4243: R. 0:0(0) ack 2059713064 win 0",
		"fin6":    "fd01::1.4242 > fd02::2.80: F. 4246156085:4246156085(0) ack 390366382 win 64 <nop,nop,TS val 3819924491 ecr 2826235130>",
	}
	for name, want := range tests {
		ip, rest := mustParseIP(t, packets[name])
		h, payload := mustParseTCP(t, rest)
		if got := SegmentString(&ip, &h, len(payload)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

// The line of the package's contract.
func TestSegmentStringOfASYNACK(t *testing.T) {
	ip := IP{Src: AddrFrom(netip.MustParseAddr("10.1.0.1")), Dst: AddrFrom(netip.MustParseAddr("10.1.0.2"))}
	h := TCP{
		SrcPort: 80, DstPort: 4242, Seq: 1, Ack: 2, Flags: SYN | ACK, Window: 65535,
		Options: Options{Present: allSYN, MSS: 1460, TSVal: 1, WindowScale: 7},
	}
	const want = "10.1.0.1.80 > 10.1.0.2.4242: S. 1:1(0) ack 2 win 65535 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>"
	if got := SegmentString(&ip, &h, 0); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got := string(AppendSegment([]byte("17 "), &ip, &h, 0)); got != "17 "+want {
		t.Errorf("\n got %s\nwant 17 %s", got, want)
	}
}

func TestSequenceNumbersWrapInPrint(t *testing.T) {
	h := TCP{Seq: 0xffffffff}
	if got := SegmentString(&IP{}, &h, 3); got != "::.0 > ::.0: none 4294967295:2(3) win 0" {
		t.Error(got)
	}
}

func TestTCPString(t *testing.T) {
	tests := []struct {
		h    TCP
		want string
	}{
		{TCP{SrcPort: 80, DstPort: 4242, Seq: 1, Ack: 9, Flags: SYN, Window: 5}, "80 > 4242: S 1 win 5"},
		{TCP{Flags: ACK | URG | PSH, Ack: 9, Urgent: 3}, "0 > 0: P.U 0 ack 9 win 0 urg 3"},
		{TCP{Flags: FIN | RST | ECE | CWR | AE}, "0 > 0: FREWe 0 win 0"},
		{TCP{Flags: ACK, Options: Options{SACKBlocks: 1}}, "0 > 0: . 0 ack 0 win 0 <nop,nop,sack 1 {0:0}>"},
	}
	for _, test := range tests {
		if got := test.h.String(); got != test.want {
			t.Errorf("\n got %s\nwant %s", got, test.want)
		}
	}
}

func TestOptionsString(t *testing.T) {
	cookie := Options{Present: HasFastOpen, CookieLen: 4, Cookie: [16]byte{0xde, 0xad, 0, 9}}
	tests := []struct {
		o    Options
		want string
	}{
		{Options{}, ""},
		{options(HasMSS|HasSACKPermitted|HasWindowScale, 0), "mss 1460,nop,nop,sackOK,nop,wscale 7"},
		{options(HasTimestamps, 2), "nop,nop,TS val 16909060 ecr 168496141,nop,nop,sack 2 {1:2}{3:4}"},
		{options(HasUserTimeout, 0), "uto 60m"},
		{Options{Present: HasUserTimeout, UserTimeout: 90}, "uto 90s"},
		{Options{Present: HasAccECN, AccECNCount: 2, AccECN: [3]uint32{1, 2}}, "accecn e0b 1 ceb 2"},
		{Options{Present: HasAccECN, AccECNCount: 3, AccECNOrder: 1, AccECN: [3]uint32{1, 2, 3}}, "accecn e1b 1 ceb 2 e0b 3"},
		{Options{Present: HasFastOpen}, "tfo cookiereq"},
		{cookie, "tfo cookie dead0009"},
	}
	for _, test := range tests {
		if got := test.o.String(); got != test.want {
			t.Errorf("\n got %s\nwant %s", got, test.want)
		}
	}
}

func TestIPString(t *testing.T) {
	tests := map[string][]byte{
		"10.1.0.1 > 10.2.0.2: tcp, length 52, ttl 64, DF":                              packets["ack4"],
		"10.1.0.254 > 10.1.0.1: icmp, length 88, ttl 64, tos 0xc0":                     packets["noroute4"],
		"fd01::1 > fd02::2: tcp, length 80, ttl 64, fragment at 8+":                    extended(extFragment, fragment(ProtoTCP, 9)),
		"fd01::1 > fd02::2: proto 51, length 72, ttl 64":                               edited("ack6", false, 6, 51),
		"10.1.0.1 > 10.2.0.2: proto 17, length 52, ttl 64, tos 0x2, fragment at 65528": edited("ack4", true, 0, 0x45, 2, 0, 52, 0, 0, 0x1f, 0xff, 64, 17),
	}
	for want, b := range tests {
		if ip, _ := mustParseIP(t, b); ip.String() != want {
			t.Errorf("\n got %s\nwant %s", ip.String(), want)
		}
	}
}

func TestICMPString(t *testing.T) {
	tests := map[string]string{
		"toobig4":   "icmp packet too big mtu 1300 for 10.1.0.1.4242 > 10.2.0.2.80 seq 2270208261",
		"noroute6":  "icmp unreachable code 0 for fd01::1.4244 > fd03::1.80 seq ",
		"exceeded6": "icmp time exceeded code 0 for fd01::1.4245 > fd02::2.80 seq ",
	}
	for name, want := range tests {
		_, b := mustParseIP(t, packets[name])
		var m ICMP
		if err := ParseICMP(b, &m); err != nil {
			t.Fatal(err)
		}
		if want[len(want)-1] == ' ' {
			want += m.Seq.String()
		}
		if got := m.String(); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	m := ICMP{Type: ICMPParameter, Pointer: 20}
	if got, want := m.String(), "icmp parameter problem at octet 20 for ::.0 > ::.0 seq 0"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
