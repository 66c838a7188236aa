package message

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns both ends of a channel, closed when the test ends.
func pair(t testing.TB) (a, b *Channel) {
	t.Helper()
	a, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = FileChannel(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func memfd(t testing.TB, content string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f
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

func TestPacketsStayWholeAndInOrder(t *testing.T) {
	a, b := pair(t)
	for _, s := range []string{"first", "x", strings.Repeat("long", 16000)} {
		if err := a.Send([]byte(s)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<16)
		n, files, err := b.Recv(buf)
		if err != nil || string(buf[:n]) != s || files != nil {
			t.Fatalf("received %d octets, files %v, %v; want %d octets", n, files, err, len(s))
		}
	}
}

func TestDescriptorsPassAndAreClosedOnExec(t *testing.T) {
	a, b := pair(t)
	var fds []int
	for i := range MaxFiles {
		fds = append(fds, int(memfd(t, string(rune('a'+i))).Fd()))
	}
	if err := a.Send([]byte("!"), fds...); err != nil {
		t.Fatal(err)
	}
	_, files, err := b.Recv(make([]byte, 10))
	if err != nil || len(files) != MaxFiles {
		t.Fatalf("files %v, %v", files, err)
	}
	defer CloseFiles(files)
	for i, fd := range files {
		var content [2]byte
		n, err := unix.Pread(fd, content[:], 0)
		if err != nil || string(content[:n]) != string(rune('a'+i)) {
			t.Errorf("descriptor %d holds %q, %v", i, content[:n], err)
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is open on exec (flags %#x, %v)", i, flags, err)
		}
	}
}

func TestTooMuchIsAnErrorAndLeaksNothing(t *testing.T) {
	a, b := pair(t)
	raw, err := a.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	many := make([]int, MaxFiles+1)
	for i := range many {
		many[i] = int(memfd(t, "x").Fd())
	}
	before := openFiles(t)
	for _, c := range []struct {
		name  string
		b     []byte
		files []int
		want  error
	}{
		{"a packet longer than the buffer", make([]byte, 11), many[:2], ErrTruncated},
		{"a descriptor too many", make([]byte, 10), many, ErrTruncated},
	} {
		raw.Write(func(fd uintptr) bool { // past Send's own checks
			err = unix.Sendmsg(int(fd), c.b, unix.UnixRights(c.files...), nil, 0)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		n, files, err := b.Recv(make([]byte, 10))
		if !errors.Is(err, c.want) || n != 0 || files != nil {
			t.Errorf("%s: n %d, files %v, %v; want %v", c.name, n, files, err, c.want)
		}
		if after := openFiles(t); after > before {
			t.Errorf("%s: %d descriptors open, %d before", c.name, after, before)
		}
	}
}

func TestDeathOfThePeerIsEndOfFile(t *testing.T) {
	a, b := pair(t)
	if err := a.Send([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	a.Close()
	buf := make([]byte, 100)
	if n, _, err := b.Recv(buf); err != nil || string(buf[:n]) != "last words" {
		t.Errorf("what was sent before: %q, %v", buf[:n], err)
	}
	if _, _, err := b.Recv(buf); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want end of file", err)
	}
	if err := b.Send([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("sending to the dead: %v, want EPIPE", err)
	}
}

func TestUnreadPacketsOfADeadPeerAreEndOfFileToo(t *testing.T) {
	a, b := pair(t)
	b.Send([]byte("never read"))
	a.Close()
	if _, _, err := b.Recv(make([]byte, 10)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want end of file", err)
	}
}

func TestCloseWakesTheReceiver(t *testing.T) {
	a, _ := pair(t)
	got := make(chan error)
	go func() { _, _, err := a.Recv(make([]byte, 10)); got <- err }()
	time.Sleep(10 * time.Millisecond)
	a.Close()
	if err := <-got; !errors.Is(err, io.EOF) {
		t.Errorf("%v, want end of file", err)
	}
}

func TestSendToAPeerThatDoesNotReadEnds(t *testing.T) {
	a, _ := pair(t)
	a.SetSendTimeout(20 * time.Millisecond)
	var err error
	for range 10000 {
		if err = a.Send(make([]byte, 60000)); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want an expired deadline", err)
	}
}

func TestRecvHasADeadline(t *testing.T) {
	a, b := pair(t)
	b.SetDeadline(time.Now().Add(10 * time.Millisecond))
	if _, _, err := b.Recv(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want an expired deadline", err)
	}
	b.SetDeadline(time.Time{})
	a.Send([]byte("later"))
	if n, _, err := b.Recv(make([]byte, 10)); err != nil || n != 5 {
		t.Errorf("after the deadline: %d, %v", n, err)
	}
}

func TestManyMaySend(t *testing.T) {
	a, b := pair(t)
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for range each {
				m := Message{Type: Listen, Op: OpClose, ID: uint32(i), Socket: uint32(i)}
				if err := a.SendMessage(&m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var count [senders]int
	for range senders * each {
		var m Message
		if err := b.RecvMessage(&m, Child, Server); err != nil || m.ID != m.Socket {
			t.Fatalf("%+v, %v", m, err)
		}
		count[m.ID]++
	}
	wg.Wait()
	for i, n := range count {
		if n != each {
			t.Errorf("sender %d: %d messages of %d", i, n, each)
		}
	}
}

func TestMessagesCarryTheLongestPDUAndFiles(t *testing.T) {
	a, b := pair(t)
	pdu := bytes.Repeat([]byte{0x45}, MaxPDU)
	if err := a.SendMessage(&Message{Type: Syn, PDU: pdu}); err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := b.RecvMessage(&m, Server, Child); err != nil || !bytes.Equal(m.PDU, pdu) {
		t.Fatalf("%d octets, %v", len(m.PDU), err)
	}
	f := memfd(t, "segment")
	if err := b.SendMessage(&Message{Type: InitReply, Files: []int{int(f.Fd())}}); err != nil {
		t.Fatal(err)
	}
	if err := a.RecvMessage(&m, Child, User); err != nil || len(m.Files) != 1 {
		t.Fatalf("files %v, %v", m.Files, err)
	}
	CloseFiles(m.Files)
}

func TestABadMessageLeaksNoFiles(t *testing.T) {
	a, b := pair(t)
	f := memfd(t, "x")
	before := openFiles(t)
	if err := a.SendMessage(&Message{Type: Bind, Files: []int{int(f.Fd())}}); err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := b.RecvMessage(&m, User, Child); !errors.Is(err, ErrFiles) {
		t.Errorf("%v, want %v", err, ErrFiles)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func TestDialAndPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := Dial(path); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	s := NewChannel(conn)
	defer s.Close()
	for _, end := range []*Channel{c, s} {
		pid, uid, gid, err := end.Peer()
		if err != nil || pid != os.Getpid() || uid != os.Getuid() || gid != os.Getgid() {
			t.Errorf("peer is %d %d %d, %v", pid, uid, gid, err)
		}
	}
	c.Close()
	if _, _, _, err := c.Peer(); err == nil {
		t.Error("a closed channel has a peer")
	}
}

func TestFileChannelTakesSeqpacketSocketsOnly(t *testing.T) {
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stream[1])
	file, err := unix.Dup(int(memfd(t, "").Fd()))
	if err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{"a stream": stream[0], "a file": file, "none": -1} {
		if c, err := FileChannel(fd); err == nil {
			c.Close()
			t.Errorf("%s was taken for a channel", name)
		}
		if fd < 0 {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s is still open", name)
		}
	}
}
