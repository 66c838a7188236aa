package usertcp

import (
	"testing"
	"time"
)

// One connection of several goes, with what lies in its buffers both ways, and the
// others do not notice.
func TestHandOverOneConnection(t *testing.T) {
	l, _ := peers(t)
	stays := accepted(t, l)
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := accept(t, l)
	write(t, a, "unread")
	write(t, c, "sent before")
	if err := c.(*Conn).HandOver(t.Context(), "one", time.Minute, []byte("state")); err != nil {
		t.Fatal(err)
	}
	write(t, a, "in between")
	hs, err := TakeOver(t.Context(), "one")
	if err != nil || len(hs) != 1 || string(hs[0].State) != "state" {
		t.Fatalf("took %d: %v", len(hs), err)
	}
	n := hs[0].Conn
	n.SetDeadline(time.Now().Add(5 * time.Second))
	want(t, a, "sent before")
	want(t, n, "unreadin between")
	write(t, n, "there")
	want(t, a, "there")
	write(t, a, "back")
	want(t, n, "back")
	write(t, stays, "x")
	n.Close()
	wantEOF(t, a)
}
