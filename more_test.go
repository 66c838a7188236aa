package usertcp

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestWriteMoreAndPeek(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		for _, s := range []string{"ab", "cd"} {
			if n, err := a.WriteMore([]byte(s)); n != 2 || err != nil {
				t.Fatal(n, err)
			}
		}
		write(t, a, "ef")
		p := make([]byte, 6)
		for n := 0; n < 6; {
			var err error
			if n, err = b.Peek(p); err != nil {
				t.Fatal(err)
			}
		}
		if string(p) != "abcdef" {
			t.Errorf("peeked at %q", p)
		}
		want(t, b, "abcdef")
		b.SetReadDeadline(time.Now().Add(time.Millisecond))
		var op *net.OpError
		if _, err := b.Peek(p); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &op) || op.Op != "read" {
			t.Errorf("peek at nothing: %v", err)
		}
		a.Close()
		if n, err := a.WriteMore(p); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %d, %v", n, err)
		}
	})
}
