package ring

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

var (
	vciA = wire.NewVCI(1, 17)
	vciB = wire.NewVCI(15, 1023)
)

// packet returns n octets that stand for an IP packet.
func packet(n int) []byte { return bytes.Repeat([]byte{0x45}, n) }

// sampleFrames returns one good frame of each type, without descriptors' values.
func sampleFrames() []Frame {
	return []Frame{
		NewPDU(vciA, vciB, packet(40)),
		NewPDU(vciA, wire.WellKnownVCI(2), packet(message.MaxPDU)),
		{Type: FrameAttach, Src: vciA, Dst: vciB, N: 1, Files: []int{3, 4, 5, 6}},
		{Type: FrameDetach, Src: vciA, Dst: vciB},
		{Type: FrameUnreachable, Src: wire.WellKnownVCI(2), Dst: vciA, Errno: uint32(unix.EHOSTUNREACH), PDU: packet(128)},
		hello(wire.WellKnownVCI(1), wire.WellKnownVCI(2), []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd00::1")}),
		NewLease(vciA, vciB, [2]wire.Addr{wire.AddrFrom(netip.MustParseAddr("10.1.0.1"))}, []uint16{40960, 41216}),
		{Type: FrameLeased, Src: vciB, Dst: vciA, N: 2},
		NewMoved(vciA, vciB, wire.NewVCI(1, 18), wire.Flow{
			Local:  wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr("10.1.0.1")), Port: 80},
			Remote: wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr("10.1.0.2")), Port: 40000},
		}),
		{Type: FrameCensus, Src: wire.WellKnownVCI(1), Dst: wire.WellKnownVCI(2), N: 1, PDU: make([]byte, CensusLen)},
		{Type: FrameMovedKnown, Src: vciB, Dst: vciA, N: uint32(wire.NewVCI(1, 18)), PDU: make([]byte, movedLen)},
	}
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	for _, want := range sampleFrames() {
		var got Frame
		if err := DecodeFrame(want.Append(nil), want.Files, &got); err != nil {
			t.Errorf("%v: %v", want.Type, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: -sent +received\n%s", want.Type, diff)
		}
	}
}

func TestDecodeFrameRefusesWhatIsWrong(t *testing.T) {
	s := sampleFrames()
	pdu, attach, detach, unreach, hi, lease, leased, moved, census, known := s[0], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10]
	set := func(off int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[off:], v); return b }
	}
	for _, c := range []struct {
		name   string
		frame  Frame
		damage func([]byte) []byte
		files  int // more or fewer than the frame's
		want   error
	}{
		{"half a header", detach, func(b []byte) []byte { return b[:frameHeader-1] }, 0, ErrFrameShort},
		{"another magic", detach, set(0, 'x'), 0, ErrFrameMagic},
		{"reserved octet", detach, set(7, 1), 0, ErrFrameReserved},
		{"type 0", detach, set(5, 0), 0, ErrFrameType},
		{"type 11", detach, set(5, 11), 0, ErrFrameType},
		{"a VCI of 16 bits", detach, set(9, 0x80), 0, ErrFrameVCI},
		{"a multicast VCI", detach, set(11, 0x40), 0, ErrFrameVCI},
		{"a PDU that is not announced", detach, func(b []byte) []byte { return append(b, 0) }, 0, ErrFramePDU},
		{"a PDU that is not there", detach, set(20, 1), 0, ErrFramePDU},
		{"a PDU for a type without", detach, func(b []byte) []byte { return append(set(20, 1)(b), 0) }, 0, ErrFramePDU},
		{"an errno for a type without", detach, set(16, 1), 0, ErrFrameErrno},
		{"a descriptor that is not announced", detach, set(0), 1, ErrFrameFiles},
		{"a descriptor that is not there", attach, set(0), -1, ErrFrameFiles},
		{"a descriptor for a type without", detach, set(6, 1), 1, ErrFrameFiles},
		{"no descriptors for a type with", attach, set(6, 0), -4, ErrFrameFiles},
		{"six descriptors", attach, set(6, 6), 2, ErrFrameFiles},
		{"a circuit with a server", attach, set(8, 0, 4), 0, ErrFrameVCI},
		{"no errno for a type with", unreach, set(16, 0, 0, 0, 0), 0, ErrFrameErrno},
		{"too much returned", unreach, func(b []byte) []byte { return append(set(20, 129)(b), 0) }, 0, ErrFramePDU},
		{"a trailer of another sender", pdu, set(8, 18), 0, ErrFrameTrailer},
		{"a trailer of another length", pdu, set(frameHeader+43, 41), 0, ErrFrameTrailer},
		{"no packet before the trailer", pdu, func(b []byte) []byte { return set(20, 8)(b)[:frameHeader+8] }, 0, ErrFramePDU},
		{"hello of an application", hi, set(8, 1), 0, ErrFrameVCI},
		{"half a port", lease, func(b []byte) []byte { return set(20, 35)(b)[:len(b)-1] }, 0, ErrFramePDU},
		{"a lease without addresses", lease, func(b []byte) []byte { return set(20, 30)(b)[:len(b)-6] }, 0, ErrFramePDU},
		{"a server's lease", lease, set(8, 0, 4), 0, ErrFramePDU},
		{"more leases than there can be", leased, set(12, MaxLeases+1), 0, ErrFramePDU},
		{"a census of an application", census, set(8, 1), 0, ErrFrameVCI},
		{"a census without a bit for each stream", census, func(b []byte) []byte { return set(20, CensusLen-1)(b)[:len(b)-1] }, 0, ErrFramePDU},
		{"a connection that goes to a server", moved, set(12, 0, 4), 0, ErrFrameVCI},
		{"a connection that goes to another host", moved, set(12, 18, 0x08), 0, ErrFrameVCI},
		{"a connection that stays", moved, set(12, 17), 0, ErrFrameVCI},
		{"half a connection", moved, func(b []byte) []byte { return set(20, 35)(b)[:len(b)-1] }, 0, ErrFramePDU},
		{"an answer about another host's", known, set(12, 18, 0x08), 0, ErrFrameVCI},
		{"an answer to who has it now", known, set(12, 17), 0, ErrFrameVCI},
		{"an answer to a server", known, set(10, 0, 4), 0, ErrFrameVCI},
		{"an answer about half a connection", known, func(b []byte) []byte { return set(20, 35)(b)[:len(b)-1] }, 0, ErrFramePDU},
		{"half an address", hi, func(b []byte) []byte { return set(20, 31)(b)[:len(b)-1] }, 0, ErrFramePDU},
	} {
		b := c.damage(c.frame.Append(nil))
		files := make([]int, len(c.frame.Files)+c.files)
		var f Frame
		if err := DecodeFrame(b, files, &f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestAFrameOfAnotherVersionSaysSo(t *testing.T) {
	b := sampleFrames()[0].Append(nil)
	b[4] = 9
	var f Frame
	err := DecodeFrame(b, nil, &f)
	var ve *VersionError
	if !errors.As(err, &ve) || ve.Theirs != 9 {
		t.Errorf("%v, want a VersionError", err)
	}
}

func TestUnreachableQuotesThePDU(t *testing.T) {
	f := NewPDU(vciA, wire.WellKnownVCI(3), packet(500))
	u := f.Unreachable(unix.EHOSTUNREACH)
	if u.Dst != vciA || len(u.PDU) != MaxUnreach || u.Errno != uint32(unix.EHOSTUNREACH) {
		t.Errorf("%+v", u)
	}
	if err := u.check(); err != nil {
		t.Error(err)
	}
	if got := f.Packet(); !bytes.Equal(got, packet(500)) {
		t.Errorf("packet of %d octets, want 500", len(got))
	}
}

func TestFramesPassWithDescriptors(t *testing.T) {
	a, file, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	fd, err := unix.Dup(int(file.Fd()))
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	b, err := message.FileChannel(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f := Frame{Type: FrameAttach, Src: vciA, Dst: vciB, N: 1, Files: []int{int(r.Fd())}}
	if err := SendFrame(a, &f); err != nil {
		t.Fatal(err)
	}
	r.Close()
	buf := make([]byte, MaxFrame)
	var got Frame
	if err := RecvFrame(b, buf, &got); err != nil || len(got.Files) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	w.WriteString("through")
	n, err := unix.Read(got.Files[0], buf)
	if string(buf[:n]) != "through" {
		t.Errorf("read %q, %v through the descriptor", buf[:n], err)
	}
	message.CloseFiles(got.Files)

	f.Type = FrameDetach // which must have none
	f.Files = []int{int(w.Fd())}
	before := openFiles(t)
	if err := SendFrame(a, &f); err != nil {
		t.Fatal(err)
	}
	err = RecvFrame(b, buf, &got)
	if !errors.Is(err, ErrFrameFiles) || !IsBadFrame(err) {
		t.Errorf("%v, want %v", err, ErrFrameFiles)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
	a.Close()
	if err := RecvFrame(b, buf, &got); err == nil || IsBadFrame(err) {
		t.Errorf("the end of the channel is taken for a bad frame: %v", err)
	}
}

// openFiles counts this process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func FuzzDecodeFrame(f *testing.F) {
	for _, s := range sampleFrames() {
		f.Add(s.Append(nil), uint8(len(s.Files)))
	}
	f.Fuzz(func(t *testing.T, b []byte, files uint8) {
		var fr, again Frame
		fds := make([]int, files%(message.MaxFiles+1))
		if DecodeFrame(b, fds, &fr) != nil {
			return
		}
		b2 := fr.Append(nil)
		if !bytes.Equal(b, b2) {
			t.Fatalf("decoded and encoded again it differs:\n%x\n%x", b, b2)
		}
		if err := DecodeFrame(b2, fds, &again); err != nil {
			t.Fatal(err)
		}
		if fr.Type == FramePDU && len(fr.Packet()) < 20 {
			t.Fatalf("a packet of %d octets", len(fr.Packet()))
		}
	})
}

// Who hears that a connection has moved sees it from the other end.
func TestMovedIsTurnedRound(t *testing.T) {
	f := sampleFrames()[8]
	flow, to := f.Moved()
	if flow.Remote.Port != 80 || flow.Local.Port != 40000 || flow.Local.Addr.Netip() != netip.MustParseAddr("10.1.0.2") || to != wire.NewVCI(1, 18) {
		t.Errorf("%v to %v", flow, to)
	}
	// The answer says the same of the same connection, and goes back.
	k := f.MovedKnown()
	again, at := k.Moved()
	if k.Src != f.Dst || k.Dst != f.Src || again != flow || at != to || !k.Valid() {
		t.Errorf("the answer is %+v", k)
	}
}
