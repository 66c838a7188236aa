package usertcp

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func writeUrgent(t testing.TB, c *Conn, data string) {
	t.Helper()
	if n, err := c.WriteUrgent([]byte(data)); err != nil || n != len(data) {
		t.Fatalf("wrote %d, %v", n, err)
	}
}

func TestUrgentDataTravelsApart(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		got := make(chan byte, 1)
		go func() {
			u, err := b.ReadUrgent()
			if err != nil {
				t.Error(err)
			}
			got <- u
		}()
		time.Sleep(time.Millisecond)
		long := strings.Repeat("x", 100_000)
		write(t, a, long)
		writeUrgent(t, a, "abc!")
		write(t, a, "def")
		if u := <-got; u != '!' {
			t.Errorf("urgent octet %q", u)
		}
		want(t, b, long+"abcdef")
		a.CloseWrite()
		wantEOF(t, b)
	})
}

func TestReadStopsBeforeTheUrgentOctet(t *testing.T) {
	a, b := twoHosts(t).pair(t)
	writeUrgent(t, a, "12!")
	write(t, a, "34")
	var p [10]byte
	if n, err := io.ReadAtLeast(b, p[:2], 2); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if u, err := b.ReadUrgent(); u != '!' || err != nil {
		t.Errorf("urgent octet %q, %v", u, err)
	}
	want(t, b, "34")
}

func TestUrgentInline(t *testing.T) {
	a, b := twoHosts(t).pair(t)
	b.SetUrgentInline(true)
	writeUrgent(t, a, "12!")
	write(t, a, "34")
	time.Sleep(10 * time.Millisecond)
	var p [10]byte
	if n, err := b.Read(p[:]); string(p[:n]) != "12" || err != nil {
		t.Errorf("read %q, %v before the mark", p[:n], err)
	}
	if !b.AtMark() {
		t.Error("not at the mark")
	}
	want(t, b, "!34")
	if b.AtMark() {
		t.Error("still at the mark")
	}
	if _, err := b.ReadUrgent(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("ReadUrgent: %v", err)
	}
}

func TestReadUrgentEnds(t *testing.T) {
	for _, x := range []struct {
		name string
		end  func(a, b *Conn)
		want error
	}{
		{"with the stream", func(a, _ *Conn) { a.CloseWrite() }, io.EOF},
		{"with a reset", func(a, _ *Conn) { a.SetLinger(0); a.Close() }, syscall.ECONNRESET},
		{"with a deadline", func(_, b *Conn) { b.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
		{"with Close", func(_, b *Conn) { b.Close() }, net.ErrClosed},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, b := twoHosts(t).pair(t)
			done := make(chan error, 1)
			go func() {
				_, err := b.ReadUrgent()
				done <- err
			}()
			time.Sleep(5 * time.Millisecond)
			x.end(a, b)
			select {
			case err := <-done:
				if !errors.Is(err, x.want) {
					t.Errorf("%v, want %v", err, x.want)
				}
			case <-time.After(patience):
				t.Error("still waits")
			}
		})
	}
}

func TestNothingCannotBeUrgent(t *testing.T) {
	a, _ := twoHosts(t).pair(t)
	if _, err := a.WriteUrgent(nil); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
}
