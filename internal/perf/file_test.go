package perf

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// receiver starts ReceiveFile and returns its address and its outcome.
func receiver(t *testing.T, ctx context.Context) (string, <-chan error) {
	t.Helper()
	l, err := newKernelStack().Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := ReceiveFile(ctx, l); ended <- err }()
	return l.Addr().String(), ended
}

func TestFileArrivesWhole(t *testing.T) {
	for _, content := range []string{"", "x", strings.Repeat("0123456789", 100_000)} {
		addr, ended := receiver(t, t.Context())
		conn, err := newKernelStack().Dial(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		report, err := SendFile(t.Context(), conn, strings.NewReader(content))
		if err != nil || report.Octets != int64(len(content)) {
			t.Errorf("%d octets: %+v, %v", len(content), report, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("%d octets: the receiver: %v", len(content), err)
		}
	}
}

func TestSendFileNoticesDamage(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		io.CopyN(io.Discard, b, 5)
		io.WriteString(b, `{"octets":5,"sha256":"00"}`)
	}()
	_, err := SendFile(t.Context(), keepOpen{a}, strings.NewReader("hello"))
	if err == nil || !strings.Contains(err.Error(), "arrived damaged: 5 octets with SHA-256 2cf24dba") {
		t.Errorf("error %v", err)
	}
}

// keepOpen is a pipe whose end of sending is not its end.
type keepOpen struct{ net.Conn }

func (keepOpen) CloseWrite() error { return nil }

func TestSendFileThatCannotBeRead(t *testing.T) {
	addr, ended := receiver(t, t.Context())
	conn, err := newKernelStack().Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk on fire")
	if _, err := SendFile(t.Context(), conn, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v, want the file's", err)
	}
	<-ended
}

func TestReceiveFileEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr, ended := receiver(t, ctx)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
