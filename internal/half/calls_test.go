package half

import (
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

func info(t *testing.T, s *Socket) (segments, unsent uint32) {
	t.Helper()
	i, err := s.Info()
	check(t, err)
	return i.DataSegsOut, i.NotSent
}

func TestPeekLeavesWhatItReads(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	want := octets(1, 5000) // longer than what is copied under the lock
	if _, err := ca.Write(want); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5000)
	for n := 0; n < len(p); {
		var err error
		n, err = cb.Peek(p)
		check(t, err)
	}
	if string(p) != string(want) {
		t.Error("other octets than those written")
	}
	wantRead(t, cb, want)
}

func TestWriteMoreWaitsForTheRest(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	check(t, ca.SetOption(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	// What comes from the peer lets go what waits: all it has to say now is said.
	if _, err := ca.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	wantRead(t, cb, []byte("x"))
	wantWithin(t, "its acknowledgement", func() bool {
		i, err := ca.Info()
		check(t, err)
		return i.Unacked == 0
	})
	for _, s := range []string{"ab", "cd"} {
		if n, err := ca.WriteMore([]byte(s)); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}
	if segments, unsent := info(t, ca); segments != 1 || unsent != 4 {
		t.Errorf("%d segments have left, %d octets wait", segments, unsent)
	}
	if n, err := ca.Write([]byte("ef")); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	wantRead(t, cb, []byte("abcdef"))
	if segments, _ := info(t, ca); segments != 2 {
		t.Errorf("%d segments have left", segments)
	}
}

func TestNoDelayPushesWhatIsCorked(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	check(t, ca.SetOption(unix.IPPROTO_TCP, unix.TCP_CORK, 1))
	if _, err := ca.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if _, unsent := info(t, ca); unsent != 2 {
		t.Errorf("%d octets wait", unsent)
	}
	check(t, ca.SetOption(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	if _, unsent := info(t, ca); unsent != 0 {
		t.Errorf("%d octets still wait", unsent)
	}
	wantRead(t, cb, []byte("ab"))
}

func TestReaderThatHasStoppedStillFindsWhatComes(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, cb := connect(t, a, b)
	cb.StopReading()
	if n, err := cb.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
	if _, err := ca.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	wantWithin(t, "the octets have come", func() bool { return cb.State().Stats.BytesIn == 2 })
	wantRead(t, cb, []byte("ab"))
}
