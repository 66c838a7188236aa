package stack

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// trainOf returns an IP packet with n octets of payload.
func trainOf(t *testing.T, from, to string, flags wire.Flags, n int) (b []byte, header int) {
	t.Helper()
	ip := wire.IP{Src: wire.AddrFrom(netip.MustParseAddr(from)), Dst: wire.AddrFrom(netip.MustParseAddr(to)), Proto: 6, TTL: 64}
	h := wire.TCP{SrcPort: 80, DstPort: 8080, Seq: 0xffffff00, Ack: 7, Flags: flags, Window: 99}
	b = make([]byte, 60+h.Len()+n)
	at := ip.Emit(b, h.Len()+n)
	h.Emit(b[at:])
	header = at + h.Len()
	b = b[:header+n]
	for i := range b[header:] {
		b[header+i] = byte(i * 7)
	}
	return b, header
}

// A train that is cut is the stream that it was; each packet is whole, the first
// has CWR, the last FIN and PSH.
func TestCutTrain(t *testing.T) {
	const all = wire.ACK | wire.PSH | wire.FIN | wire.CWR
	for _, x := range []struct {
		n, size int
		flags   []wire.Flags
	}{
		{100, 0, []wire.Flags{all}},
		{1000, 1000, []wire.Flags{all}},
		{1001, 1000, []wire.Flags{wire.ACK | wire.CWR, wire.ACK | wire.PSH | wire.FIN}},
		{2500, 1000, []wire.Flags{wire.ACK | wire.CWR, wire.ACK, wire.ACK | wire.PSH | wire.FIN}},
	} {
		for _, addr := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}} {
			b, header := trainOf(t, addr[0], addr[1], all, x.n)
			want := append([]byte(nil), b[header:]...)
			packets := cut(b, header, x.size)
			if len(packets) != len(x.flags) {
				t.Fatalf("%d octets in %d packets, want %d", x.n, len(packets), len(x.flags))
			}
			var got []byte
			for i, p := range packets {
				got = append(got, checkCut(t, p, x.flags[i], uint32(len(got)))...)
			}
			if !bytes.Equal(got, want) {
				t.Error("the stream is another one")
			}
		}
	}
}

// checkCut checks one packet and returns its payload.
func checkCut(t *testing.T, p []byte, flags wire.Flags, at uint32) []byte {
	t.Helper()
	var ip wire.IP
	var h wire.TCP
	if err := wire.ParseIP(p, &ip); err != nil {
		t.Fatal(err)
	}
	seg := p[ip.HeaderLen:]
	n, err := wire.ParseTCP(seg, &h)
	if err != nil {
		t.Fatal(err)
	}
	if ip.TotalLen != len(p) || h.Flags != flags || uint32(h.Seq) != 0xffffff00+at {
		t.Errorf("length %d of %d, %v, seq %#x; want %v", ip.TotalLen, len(p), h.Flags, h.Seq, flags)
	}
	was := binary.BigEndian.Uint16(seg[offSum:])
	checksum(p, ip.HeaderLen+n)
	if now := binary.BigEndian.Uint16(seg[offSum:]); now != was {
		t.Errorf("checksum %#x, want %#x", was, now)
	}
	return seg[n:]
}

func TestShapeIsReadFromTheSettings(t *testing.T) {
	dir := t.TempDir()
	o := tcp.DefaultOptions()
	shape(&o, dir)
	if o != tcp.DefaultOptions() {
		t.Error("without settings the options are not what they were")
	}
	for name, value := range map[string]string{
		"tcp_min_tso_segs": "10\n", "tcp_tso_win_divisor": "300\n", "tcp_slow_start_after_idle": "0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shape(&o, dir)
	if o.LeastTrain != 10 || o.TrainParts != 255 || o.KeepWindow != 1 {
		t.Errorf("%+v", o)
	}
}
