package ring

import (
	"testing"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// A host closes connections over which no Hello comes in time, and it may be ours that was
// late: another one is made, and the frame arrives.
func TestAHelloThatWasLateIsSaidAgain(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	l := listenAs(t, dir, 1)
	got := make(chan FrameType, 1)
	go func() {
		first, err := l.AcceptUnix()
		if err != nil {
			return
		}
		first.Close()
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		ch := message.NewChannel(conn)
		defer ch.Close()
		answer := hello(wire.WellKnownVCI(1), wire.WellKnownVCI(0), nil)
		ch.Send(answer.Append(nil))
		var f Frame
		for range 2 { // Hello, and what is sent
			if RecvFrame(ch, make([]byte, MaxFrame), &f) != nil {
				return
			}
		}
		got <- f.Type
	}()
	if err := a.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(1, 6)}); err != nil {
		t.Fatal(err)
	}
	select {
	case f := <-got:
		if f != FrameDetach {
			t.Errorf("%v has come", f)
		}
	case <-time.After(patience):
		t.Error("nothing has come")
	}
}
