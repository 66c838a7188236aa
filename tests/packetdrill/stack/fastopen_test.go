package stack

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/seq"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// someCookie is a server's.
var someCookie = wire.Options{
	Present: wire.HasMSS | wire.HasFastOpen, MSS: 1000,
	CookieLen: 8, Cookie: [16]byte{1, 2, 3, 4, 5, 6, 7, 8},
}

// first calls sendto with MSG_FASTOPEN.
func (t *tester) first(b []byte, flags int) (fd, n int, errno unix.Errno) {
	t.Helper()
	fd, errno = t.s.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	n, errno = t.s.WriteFirst(fd, b, true, flags|unix.MSG_FASTOPEN, theirs)
	return fd, n, errno
}

// answer lets the server answer a SYN of n octets of data.
func (t *tester) answer(syn wire.TCP, n int, o wire.Options) {
	t.Helper()
	h := wire.TCP{Seq: 500, Ack: syn.Seq.Add(seq.Size(1 + n)), Flags: wire.SYN | wire.ACK, Window: 65535, Options: o}
	h.SrcPort, h.DstPort = theirs.Port, syn.SrcPort
	t.injectTo(h)
}

// injectTo is inject to the port that the segment names.
func (t *tester) injectTo(h wire.TCP) {
	b := make([]byte, 200)
	ip := wire.IP{Src: theirs.Addr, Dst: ours.Addr, Proto: wire.ProtoTCP, TTL: 64}
	n := ip.Emit(b, h.Len())
	h.Checksum = wire.TCPChecksum(&ip.Src, &ip.Dst, emit(&h), nil)
	t.s.Inject(b[:n+h.Emit(b[n:])])
}

// learn gets a cookie.
func (t *tester) learn() {
	t.Helper()
	fd, n, errno := t.first(nil, unix.MSG_DONTWAIT)
	if n != -1 || errno != unix.EINPROGRESS {
		t.Fatal(n, errno)
	}
	syn := t.want(wire.SYN, "")
	if !syn.Options.Has(wire.HasFastOpen) || syn.Options.CookieLen != 0 {
		t.Errorf("the SYN does not ask for a cookie: %v", &syn)
	}
	t.answer(syn, 0, someCookie)
	t.want(wire.ACK, "")
	t.s.CloseDescriptor(fd)
	fin := t.want(wire.FIN|wire.ACK, "")
	// Or it would be sent again, amid what comes next.
	t.injectTo(wire.TCP{SrcPort: theirs.Port, DstPort: syn.SrcPort, Seq: 501, Ack: fin.Seq.Add(1), Flags: wire.ACK, Window: 65535})
}

func TestSendToWithACookieSendsDataInTheSYN(t *testing.T) {
	x := newTester(t)
	x.learn()
	data := bytes.Repeat([]byte{'x'}, 2000)
	fd, n, errno := x.first(data, unix.MSG_DONTWAIT)
	if n != 960 || errno != 0 { // the server's MSS less 40
		t.Fatal(n, errno)
	}
	syn := x.want(wire.SYN, string(data[:960]))
	if syn.Options.CookieLen != 8 {
		t.Errorf("the SYN has no cookie: %v", &syn)
	}
	if n, errno := x.s.WriteFirst(fd, data, true, unix.MSG_FASTOPEN|unix.MSG_DONTWAIT, theirs); errno != unix.EALREADY {
		t.Errorf("a second time: %d, %v", n, errno)
	}
	if n, errno := x.s.Write(fd, data, unix.MSG_DONTWAIT); errno != unix.EAGAIN {
		t.Errorf("a write while the SYN is on its way: %d, %v", n, errno)
	}
	x.answer(syn, 960, someCookie)
	x.want(wire.ACK, "")
	b := make([]byte, 300)
	if n, errno := x.s.Getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, b); n != infoLen || errno != 0 {
		t.Fatal(n, errno)
	}
	if delivered := binary.NativeEndian.Uint32(b[192:]); b[5]&optSynData == 0 || delivered != 1 || b[7] != 0 {
		t.Errorf("TCP_INFO: options %#x, delivered %d, octet 7 %#x", b[5], delivered, b[7])
	}
}

func TestConnectWithACookieWaitsForData(t *testing.T) {
	x := newTester(t)
	x.learn()
	fd, _ := x.s.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	x.set(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	if errno := x.s.Connect(fd, theirs); errno != 0 {
		t.Fatal(errno)
	}
	if p := poll(x.s, fd, unix.POLLOUT); p != unix.POLLOUT {
		t.Errorf("poll says %#x", p)
	}
	data := bytes.Repeat([]byte{'y'}, 1000)
	written := make(chan int, 1)
	go func() {
		n, _ := x.s.Write(fd, data, 0)
		written <- n
	}()
	syn := x.want(wire.SYN, string(data[:960]))
	select {
	case n := <-written:
		t.Errorf("%d octets were written before the connection was open", n)
	case <-time.After(20 * time.Millisecond):
	}
	x.answer(syn, 960, someCookie)
	x.want(wire.ACK, "")
	x.want(wire.ACK|wire.PSH, string(data[960:]))
	if n := <-written; n != 1000 {
		t.Errorf("%d octets were written", n)
	}
}

func TestListenersDoFastOpenAsTheOptionSays(t *testing.T) {
	x := newTester(t)
	l, _ := x.s.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno := x.s.Setsockopt(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_KEY, make([]byte, 15)); errno != unix.EINVAL {
		t.Errorf("a key of 15 octets: %v", errno)
	}
	key := bytes.Repeat([]byte{7}, 16)
	if errno := x.s.Setsockopt(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_KEY, key); errno != 0 {
		t.Fatal(errno)
	}
	b := make([]byte, 40)
	if n, errno := x.s.Getsockopt(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_KEY, b); errno != 0 || !bytes.Equal(b[:n], key) {
		t.Error(n, errno)
	}
	x.s.Bind(l, ours)
	x.s.Listen(l, 5)
	x.set(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 5) // now, whatever the namespace says of listeners
	cookie := tcp.FastCookie((*[16]byte)(key), &wire.Flow{Local: ours, Remote: theirs})
	o := wire.Options{Present: wire.HasMSS | wire.HasFastOpen, MSS: 1000, CookieLen: 8}
	copy(o.Cookie[:], cookie[:])
	x.inject(wire.TCP{Seq: 100, Flags: wire.SYN, Window: 65535, Options: o}, "question")
	x.want(wire.SYN|wire.ACK, "")
	fd, _, errno := x.s.Accept(l)
	if errno != 0 {
		t.Fatal(errno)
	}
	x.wantRead(fd, 20, 0, "question", 0)
}

func TestNamespaceSaysWhatListenersDo(t *testing.T) {
	for _, w := range []struct {
		bits         uint32
		asked, queue uint16
		bare         uint8
	}{
		{fastServer, 5, 5, 0},
		{fastServer, 0, 0, 0},
		{fastClient, 5, 0, 0},
		{fastServer | fastAllListeners, 0, 9, 0},
		{fastServer | fastAllListeners, 5, 5, 0},
		{fastServer | fastServerBare, 5, 5, 1},
	} {
		o := tcp.ConnOptions{FastOpenQueue: w.asked}
		listenerOptions(&o, w.bits, 9)
		if o.FastOpenQueue != w.queue || o.FastOpenNoCookie != w.bare {
			t.Errorf("%#x, %d: %d, %d", w.bits, w.asked, o.FastOpenQueue, o.FastOpenNoCookie)
		}
	}
}

func TestTCPInfoOfAccurateECNIsLaidOutAsLinuxDoes(t *testing.T) {
	i := tcp.Info{State: tcp.Established, FastOpenFail: tcp.FastFailNotAcked, RcvWnd: 9,
		ECNReceived:  tcp.ECNCounts{CE: 1, CEBytes: 2, ECT0Bytes: 3, ECT1Bytes: 4},
		ECNDelivered: tcp.ECNCounts{CE: 5, CEBytes: 6, ECT0Bytes: 7, ECT1Bytes: 8}}
	var l unix.TCPInfo
	if _, err := binary.Decode(slices.Delete(encodeInfo(&i), 6, 8), binary.NativeEndian, &l); err != nil {
		t.Fatal(err)
	}
	got := []uint32{l.Received_ce, l.Received_ce_bytes, l.Received_e0_bytes, l.Received_e1_bytes,
		l.Delivered_ce, l.Delivered_ce_bytes, l.Delivered_e0_bytes, l.Delivered_e1_bytes, l.Rcv_wnd}
	if want := []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
	if b := encodeInfo(&i); b[7] != 2<<1 {
		t.Errorf("tcpi_fastopen_client_fail is in %#x", b[7])
	}
}

func TestFastOpenKeysOfASysctl(t *testing.T) {
	const one = "a0bf63f7-ed803d81-cd641d30-cebc4a90"
	b := parseFastKeys(one)
	if want := "\xf7\x63\xbf\xa0\x81\x3d\x80\xed\x30\x1d\x64\xcd\x90\x4a\xbc\xce"; string(b) != want {
		t.Errorf("%x", b)
	}
	if b := parseFastKeys(one + "," + one); len(b) != 32 {
		t.Errorf("two keys: %x", b)
	}
	for _, s := range []string{"", "0-0-0-0", "1-2-3", "x-1-1-1", one + "," + one + "," + one} {
		if b := parseFastKeys(s); b != nil {
			t.Errorf("%q: %x", s, b)
		}
	}
}
