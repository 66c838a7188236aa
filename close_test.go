package usertcp

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pause is long enough for what should not happen to happen.
const pause = 50 * time.Millisecond

func TestHalfCloseEachWay(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		write(t, a, "question")
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		want(t, b, "question")
		wantEOF(t, b)
		wantEOF(t, b) // and stays there
		_, err := a.Write([]byte("more"))
		wantError(t, err, "write", syscall.EPIPE)
		write(t, b, "answer")
		write(t, b, ", late")
		if err := b.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		want(t, a, "answer, late")
		wantEOF(t, a)
	})
}

func TestCloseReadDropsWhatComes(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		if err := b.CloseRead(); err != nil {
			t.Fatal(err)
		}
		wantEOF(t, b)
		for range 64 { // far more than fits into the window
			if _, err := a.Write(make([]byte, 256<<10)); err != nil {
				t.Fatal(err)
			}
		}
		write(t, b, "still here")
		want(t, a, "still here")
	})
}

func TestCloseWithUnreadDataResets(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		write(t, a, "never read")
		write(t, b, "sync")
		want(t, a, "sync") // b has what a wrote before
		b.Close()
		var buf [1]byte
		_, err := a.Read(buf[:])
		wantError(t, err, "read", syscall.ECONNRESET)
		_, err = a.Write(buf[:])
		wantBroken(t, err)
	})
}

// wantBroken checks for what a write to a connection that has been reset says.
func wantBroken(t *testing.T, err error) {
	t.Helper()
	wantError(t, err, "write", nil)
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("%v: neither EPIPE nor ECONNRESET", err)
	}
}

func TestLingerZeroResetsAndDiscards(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		if err := a.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		write(t, a, "hello")
		want(t, b, "hello")
		a.Close()
		var buf [1]byte
		_, err := b.Read(buf[:])
		wantError(t, err, "read", syscall.ECONNRESET)
	})
}

func TestResetUnblocksReaderAndWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		read, wrote := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := a.Read(make([]byte, 1))
			read <- err
		}()
		go func() {
			for {
				if _, err := a.Write(make([]byte, 1<<20)); err != nil {
					wrote <- err
					return
				}
			}
		}()
		time.Sleep(pause)
		b.SetLinger(0)
		b.Close()
		wantError(t, <-read, "read", syscall.ECONNRESET)
		wantBroken(t, <-wrote)
	})
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		data := make([]byte, 3<<20)
		fill(data, 1)
		go func() {
			a.Write(data)
			a.Close()
		}()
		time.Sleep(pause)
		got, err := io.ReadAll(b)
		if err != nil || !equal(got, data) {
			t.Fatalf("got %d octets of %d, %v", len(got), len(data), err)
		}
	})
}

func TestOwnCloseUnblocksEveryCall(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		l := listenVia(t, n.b, n.address)
		a, _ := n.pairAt(t, l)
		l.SetDeadline(time.Time{})
		calls := map[string]chan error{}
		start := func(op string, f func() error) {
			ch := make(chan error, 1)
			calls[op] = ch
			go func() {
				for {
					if err := f(); err != nil {
						ch <- err
						return
					}
				}
			}()
		}
		start("read", func() error { _, err := a.Read(make([]byte, 1)); return err })
		start("write", func() error { _, err := a.Write(make([]byte, 1<<20)); return err })
		start("accept", func() error { _, err := l.Accept(); return err })
		time.Sleep(pause)
		a.Close()
		l.Close()
		for op, ch := range calls {
			select {
			case err := <-ch:
				wantError(t, err, op, net.ErrClosed)
			case <-time.After(patience):
				t.Fatalf("%s still waits", op)
			}
		}
		for op, err := range map[string]error{
			"close": a.Close(), "set": a.SetDeadline(time.Now()),
		} {
			wantError(t, err, op, net.ErrClosed)
		}
		wantError(t, l.Close(), "close", net.ErrClosed)
		_, err := l.Accept()
		wantError(t, err, "accept", net.ErrClosed)
	})
}

func TestListenerCloseResetsWhatWaits(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		l := listenVia(t, n.b, n.address)
		accepted, b := n.pairAt(t, l)
		waiting, err := dialVia(n.a, l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer waiting.Close()
		waiting.SetDeadline(time.Now().Add(patience))
		write(t, waiting, "anybody there?")
		l.Close()
		_, err = waiting.Read(make([]byte, 1))
		wantError(t, err, "read", syscall.ECONNRESET)
		write(t, accepted, "we go on") // what was accepted lives
		want(t, b, "we go on")
		_, err = dialVia(n.a, l.Addr())
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialing a closed listener: %v", err)
		}
	})
}

func TestDeadlinesPassAndCanBeTakenBack(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		l := listenVia(t, n.b, n.address)
		a, b := n.pairAt(t, l)
		soon := func() time.Time { return time.Now().Add(pause) }

		l.SetDeadline(soon())
		_, err := l.Accept()
		wantTimeout(t, err, "accept")

		a.SetReadDeadline(soon())
		_, err = a.Read(make([]byte, 1))
		wantTimeout(t, err, "read")
		write(t, a, "writing goes on")
		want(t, b, "writing goes on")
		a.SetReadDeadline(time.Time{})
		write(t, b, "reading too")
		want(t, a, "reading too")

		a.SetWriteDeadline(soon())
		sent, err := fillUp(a)
		wantTimeout(t, err, "write")
		a.SetWriteDeadline(time.Now().Add(patience))
		go a.CloseWrite()
		if got, err := io.Copy(io.Discard, b); err != nil || got != sent {
			t.Errorf("got %d octets, %v; Write said %d", got, err, sent)
		}
	})
}

// fillUp writes until that fails, and returns how many octets were taken.
func fillUp(c net.Conn) (sent int64, err error) {
	b := make([]byte, 100_000)
	for err == nil {
		var n int
		n, err = c.Write(b)
		sent += int64(n)
	}
	return sent, err
}

func TestDeadlineInThePastFailsAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		write(t, b, "x")
		a.SetDeadline(time.Now().Add(-time.Second))
		_, err := a.Read(make([]byte, 1))
		wantTimeout(t, err, "read")
		_, err = a.Write(make([]byte, 1))
		wantTimeout(t, err, "write")
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}
