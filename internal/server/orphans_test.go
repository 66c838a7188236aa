package server

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// Who may end what, and what the children are told; they are the test itself.
func TestOrphansAreEndedForTheirOwner(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a := spawn(t, s)
	m := message.Message{Local: ep("10.1.0.1:80"), Remote: ep("10.1.0.2:1024")}
	other := application{uid: 54321}
	if n, errno := s.endOrphans(other, &m); n != 0 || errno != unix.ESRCH {
		t.Errorf("another user: %d, %v", n, errno)
	}
	a.nothing()
	for _, answer := range []struct{ n, errno uint32 }{{2, 0}, {0, uint32(unix.EBUSY)}, {0, 0}} {
		done := make(chan struct{})
		var n int
		var errno unix.Errno
		go func() {
			defer close(done)
			n, errno = s.endOrphans(application{uid: os.Getuid()}, &m)
		}()
		q := next(t, a.replies, "an End")
		if q.Type != message.End || q.Local != m.Local || q.Remote != m.Remote {
			t.Errorf("the child was asked %+v", q)
		}
		a.send(message.Message{Type: message.GeneralReply, ID: q.ID, N: answer.n, Errno: answer.errno})
		<-done
		if n != int(answer.n) || answer.errno != 0 && uint32(errno) != answer.errno {
			t.Errorf("%d, %v; want %+v", n, errno, answer)
		}
	}
}

func TestEndNamesOneThing(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	for _, m := range []message.Message{{}, {Socket: 5, Local: ep("10.1.0.1:80")}} {
		if _, err := end(t.Context(), s.cfg.Socket, &m); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%+v: %v, want EINVAL", m, err)
		}
	}
	if err := EndOrphan(t.Context(), s.cfg.Socket, wire.Flow{Local: ep("10.1.0.1:80")}); !errors.Is(err, unix.ESRCH) {
		t.Errorf("of nobody: %v", err)
	}
	if _, err := EndOrphansOf(t.Context(), s.cfg.Socket+"-not", 1); err == nil {
		t.Error("by no server")
	}
}

func TestMayManage(t *testing.T) {
	for _, c := range []struct {
		who, whose int
		want       bool
	}{{0, 1000, true}, {1000, 1000, true}, {1000, 1001, false}, {1000, 0, false}} {
		a := application{uid: c.who}
		if got := a.mayManage(c.whose); got != (c.want || c.who == os.Geteuid()) {
			t.Errorf("user %d, what is %d's: %v", c.who, c.whose, got)
		}
	}
}
