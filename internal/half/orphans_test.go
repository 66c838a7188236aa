package half

import (
	"errors"
	"testing"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

func TestSocketsAreToldOf(t *testing.T) {
	b := newBench(t, 16)
	x, y, l := b.pair()
	b.top.Open() // is nothing yet
	b.top.Write(x, []byte("abc"))
	b.run()
	b.now += 7 * tcp.Second
	list, more, orphans, _ := b.bottom.Sockets(10)
	if len(list) != 3 || more != 0 || orphans != 0 {
		t.Fatalf("%d, %d more, %d orphans: %+v", len(list), more, orphans, list)
	}
	want := map[wire.Flow]SocketInfo{
		b.top.Conn(l).Flow: {State: tcp.Listen, Unsent: 4},
		b.top.Conn(x).Flow: {State: tcp.Established},
		b.top.Conn(y).Flow: {State: tcp.Established, Unread: 3},
	}
	for _, got := range list {
		w := want[got.Flow]
		if w.Flow, w.Age = got.Flow, 7; got != w {
			t.Errorf("%+v, want %+v", got, w)
		}
	}
	if list, more, _, _ := b.bottom.Sockets(1); len(list) != 1 || more != 2 {
		t.Errorf("%d and %d more, want 1 and 2", len(list), more)
	}
}

// The first socket of a program is as old as it is, and not as the host.
func TestAgeOfTheFirstSocket(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	h.listen(testPort)
	if list, _, _, _ := h.bottom.Sockets(1); len(list) != 1 || list[0].Age > 60 {
		t.Errorf("%+v", list)
	}
}

func TestOrphansAreEndedByName(t *testing.T) {
	b := newBench(t, 16)
	x, y, _ := b.pair()
	flow := b.top.Conn(x).Flow
	if n, err := b.bottom.EndOrphans(&flow); n != 0 || !errors.Is(err, ErrNoOrphan) {
		t.Errorf("of a living program: %d, %v", n, err)
	}
	if n, err := b.bottom.EndOrphans(nil); n != 0 || err != nil {
		t.Errorf("all, without one: %d, %v", n, err)
	}
	b.top.Close(x) // FIN-WAIT-2, until the peer closes
	b.run()
	if _, _, orphans, _ := b.bottom.Sockets(10); orphans != 1 {
		t.Errorf("%d orphans, want 1", orphans)
	}
	other := flow
	other.Local.Port++
	if n, err := b.bottom.EndOrphans(&other); n != 0 || err != nil {
		t.Errorf("another: %d, %v", n, err)
	}
	if n, err := b.bottom.EndOrphans(&flow); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	b.run()
	if c := b.top.Conn(y); c.State != tcp.Closed || c.Error != tcp.ErrReset {
		t.Errorf("the peer is %v, %v; want CLOSED by RST", c.State, c.Error)
	}
	if _, _, orphans, killed := b.bottom.Sockets(10); orphans != 0 || killed != 1 {
		t.Errorf("%d orphans, %d killed; want none, 1", orphans, killed)
	}
	check(t, b.audit.Check(b.now))
}

// A connection in TIME-WAIT is nobody's orphan.
func TestTimeWaitIsNotEndedByName(t *testing.T) {
	b := newBench(t, 16)
	x, y, _ := b.pair()
	b.top.Close(x)
	b.run()
	b.top.Close(y)
	b.run()
	if s := b.top.Conn(x).State; s != tcp.TimeWait {
		t.Fatal(s)
	}
	if n, _ := b.bottom.EndOrphans(nil); n != 0 {
		t.Errorf("%d ended", n)
	}
}
