package stack

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// bring injects octets that follow h, and takes their acknowledgement.
func (t *tester) bring(h *wire.TCP, payload string) {
	t.Helper()
	h.Flags = wire.ACK | wire.PSH
	t.inject(*h, payload)
	h.Seq = h.Seq.Add(wireSize(payload))
	t.want(wire.ACK, "")
}

// wantRead reads and compares.
func (t *tester) wantRead(fd, room, flags int, want string, errno unix.Errno) {
	t.Helper()
	b := bytes.Repeat([]byte{'?'}, room)
	n, got := t.s.Read(fd, b, flags)
	if got != errno || errno == 0 && string(b[:n]) != want {
		t.Errorf("read %d with %#x: %d %q, %v; want %q, %v", room, flags, n, b[:max(n, 0)], got, want, errno)
	}
}

func TestWhatIsPeekedAtIsReadAgain(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	x.bring(&h, "abcdef")
	x.wantRead(fd, 3, unix.MSG_PEEK, "abc", 0)
	x.wantRead(fd, 4, unix.MSG_PEEK, "abcd", 0)
	x.wantRead(fd, 9, 0, "abcdef", 0)
	x.wantRead(fd, 9, unix.MSG_PEEK|unix.MSG_DONTWAIT, "", unix.EAGAIN)
}

func TestWhatIsTruncatedIsDropped(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	x.bring(&h, "abcdef")
	x.wantRead(fd, 2, unix.MSG_TRUNC, "??", 0)
	x.wantRead(fd, 9, 0, "cdef", 0)
}

func TestReadOfAllWaitsForAll(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	x.bring(&h, "abc")
	go func() {
		time.Sleep(20 * time.Millisecond)
		h.Flags = wire.ACK | wire.PSH
		x.inject(h, "def")
	}()
	x.wantRead(fd, 6, unix.MSG_WAITALL, "abcdef", 0)
}

func TestUrgentOctetIsReadOutOfBand(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	x.wantRead(fd, 1, unix.MSG_OOB, "", unix.EINVAL)
	h.Flags, h.Urgent = wire.ACK|wire.URG, 4
	x.inject(h, "abcU")
	x.want(wire.ACK, "")
	if p := poll(x.s, fd, unix.POLLPRI); p != unix.POLLPRI {
		t.Errorf("poll says %#x", p)
	}
	x.wantRead(fd, 1, unix.MSG_OOB, "U", 0)
	x.wantRead(fd, 9, 0, "abc", 0)
	if n, errno := x.s.Write(fd, []byte("!"), unix.MSG_OOB); n != 1 || errno != 0 {
		t.Fatal(n, errno)
	}
	x.want(wire.ACK|wire.PSH|wire.URG, "!")
}

func TestMemoryThatIsNotTheProgramsIsAFault(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	if n, errno := x.s.WriteNowhere(fd); n != -1 || errno != unix.EFAULT {
		t.Errorf("write: %d, %v", n, errno)
	}
	x.bring(&h, "abc")
	if n, errno := x.s.ReadNowhere(fd, 0); n != -1 || errno != unix.EFAULT {
		t.Errorf("read: %d, %v", n, errno)
	}
	x.wantRead(fd, 9, 0, "abc", 0) // nothing is lost
	if n, errno := x.s.ReadNowhere(fd, unix.MSG_DONTWAIT); n != -1 || errno != unix.EAGAIN {
		t.Errorf("read of nothing: %d, %v", n, errno)
	}
}

func TestWriteThatSaysMoreWaitsForIt(t *testing.T) {
	x := newTester(t)
	fd, _ := x.establish()
	x.set(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	for _, w := range []struct {
		data  string
		flags int
	}{{"ab", unix.MSG_MORE}, {"cd", unix.MSG_MORE}, {"ef", 0}} {
		if n, errno := x.s.Write(fd, []byte(w.data), w.flags); n != 2 || errno != 0 {
			t.Fatal(n, errno)
		}
	}
	x.want(wire.ACK|wire.PSH, "abcdef")
}

func TestSplicedOctetsGoThroughAPipe(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	x.bring(&h, "abcdef")
	if n, errno := x.s.Splice(fd, p[1], 4, 0); n != 4 || errno != 0 {
		t.Fatal(n, errno)
	}
	if n, errno := x.s.Splice(p[0], fd, 100, 0); n != 4 || errno != 0 {
		t.Fatal(n, errno)
	}
	x.want(wire.ACK|wire.PSH, "abcd")
	for _, d := range p {
		if errno := x.s.CloseDescriptor(d); errno != 0 {
			t.Error(errno)
		}
	}
}

func TestFilesAreSent(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(7)
	if n, errno := x.s.SendFile(fd, int(f.Fd()), &at, 100); n != 3 || errno != 0 || at != 10 {
		t.Fatal(n, errno, at)
	}
	h.Ack = x.want(wire.ACK|wire.PSH, "789").Seq.Add(3)
	h.Flags = wire.ACK
	x.inject(h, "")
	if n, errno := x.s.SendFile(fd, int(f.Fd()), nil, 2); n != 2 || errno != 0 {
		t.Fatal(n, errno)
	}
	x.want(wire.ACK|wire.PSH, "01")
	if n, errno := x.s.SendFile(fd, int(f.Fd()), &at, 1); n != 0 || errno != 0 {
		t.Error("at the end:", n, errno)
	}
}

func TestUrgentOctetStopsASplice(t *testing.T) {
	x := newTester(t)
	fd, h := x.establish()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	h.Flags, h.Urgent = wire.ACK|wire.URG, 3
	x.inject(h, "abU")
	x.want(wire.ACK, "")
	for i, want := range []int{2, 0} {
		if n, errno := x.s.Splice(fd, p[1], 10, 0); n != want || errno != 0 {
			t.Errorf("%d: %d, %v; want %d", i, n, errno, want)
		}
	}
}
