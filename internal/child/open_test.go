package child

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// testEnd is an end with a port.
func testEnd(addr string, port uint16) wire.Endpoint {
	return wire.Endpoint{Addr: wire.AddrFrom(netip.MustParseAddr(addr)), Port: port}
}

// served is a child without a segment whose server is the test: what it asks for answer
// answers, and all that it asks for is in asked.
func served(t *testing.T, answer func(server *message.Channel, m *message.Message)) (c *child, asked chan message.Message) {
	t.Helper()
	mine, file, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := message.FileChannel(fd)
	if err != nil {
		t.Fatal(err)
	}
	c, asked = &child{ticker: newTestTicker(t), kick: make(chan struct{}, 1)}, make(chan message.Message, 8)
	server := message.NewCaller(theirs, message.Server, message.Child, func(m *message.Message) {
		asked <- *m
		answer(theirs, m)
	})
	frames, end, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	c.link.Store(newLink(mine, frames, c.fromServer))
	t.Cleanup(func() {
		frames.Close()
		end.Close()
		c.link.Load().control.Close()
		server.Close()
	})
	return c, asked
}

// A connection that has to follow another one is taken with what is left of that, or not at
// all: then the server hears that it has not begun.
func TestAConnectionFollowsWhatCameAlong(t *testing.T) {
	flow := wire.Flow{Local: testEnd("10.9.0.1", 40001), Remote: testEnd("10.9.0.2", 80)}
	other := flow
	other.Local.Port++
	left := func(f wire.Flow) []byte {
		return (&tcp.Remnant{Flow: f, End: clock()() + tcp.TimeWaitLength}).Append(nil)
	}
	ruined := left(flow)
	ruined[63] = 0x7f // a window of two gigabytes
	follows := message.ForwardGrant{MTU: 1500, Follows: true}.N()
	for _, row := range []struct {
		name  string
		along [][]byte
		n     uint32
		errno unix.Errno
		was   bool
	}{
		{"it came along", [][]byte{left(flow)}, follows, 0, true},
		{"others, too", [][]byte{left(other), left(flow), left(other)}, follows, 0, true},
		{"nothing came along", nil, follows, unix.EADDRNOTAVAIL, false},
		{"another one came along", [][]byte{left(other)}, follows, unix.EADDRNOTAVAIL, false},
		{"something that can't be one", [][]byte{ruined}, follows, unix.EADDRNOTAVAIL, false},
		{"half of one", [][]byte{left(flow)[:40]}, follows, unix.EADDRNOTAVAIL, false},
		{"an answer that can't be one", [][]byte{left(flow)}, follows | 1<<20, unix.EADDRNOTAVAIL, false},
		{"it follows nothing", nil, 1500, 0, false},
		{"of an answer that did not come", [][]byte{left(flow)}, 1500, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, asked := served(t, func(server *message.Channel, m *message.Message) {
				r := message.Message{Type: message.GeneralReply, ID: m.ID, Local: m.Local}
				if m.Op == message.OpOpen {
					for _, b := range row.along {
						server.SendMessage(&message.Message{Type: message.TimeWait, PDU: b})
					}
					r.Local, r.N = flow.Local, row.n
				}
				server.SendMessage(&r)
			})
			o, errno := c.askOpen(&message.Message{Type: message.Connect, Socket: 7, Remote: flow.Remote})
			if errno != row.errno || (o.was != nil) != row.was || row.was && o.was.Flow != flow || errno == 0 && o.mtu != 1500 {
				t.Errorf("%+v, %v", o, errno)
			}
			if m := <-asked; m.Op != message.OpOpen || m.N != message.ForwardFollows || m.Socket != 7 {
				t.Errorf("asked for %+v", m)
			}
			if _, has := c.record.opened(7); has != (errno == 0) {
				t.Errorf("on record: %v", has)
			}
			if errno == 0 {
				return
			}
			if m := <-asked; m.Op != message.OpClose || m.N != message.ForwardUnused || m.Local != flow.Local || m.Remote != flow.Remote {
				t.Errorf("then the server hears %+v", m)
			}
		})
	}
}

// withSegment gives a child a segment, and returns a socket that its program has made there.
func withSegment(t *testing.T, c *child) (socket uint32) {
	t.Helper()
	c.cfg = config{vci: wire.NewVCI(1, 1), mtu: pool.MaxPDU}
	if err := errors.Join(c.makeSegment(), c.useSegment()); err != nil {
		t.Fatal(err)
	}
	bell, err := shm.One[shm.Bell](c.bell, ring.SectionBell)
	if err != nil {
		t.Fatal(err)
	}
	drv, err := ring.NewDriver(c.seg, c.cfg.vci)
	if err != nil {
		t.Fatal(err)
	}
	program, err := half.NewDirect(half.Config{Segment: c.seg, Driver: drv, Bell: bell, Doorbells: c.doors})
	if err != nil {
		t.Fatal(err)
	}
	socket, ok := program.Open()
	if !ok {
		t.Fatal("no socket")
	}
	return socket
}

// A child that has been given a connection may have died before it has begun, and with it may
// be lost what that had to follow. So its successor, who is asked once more, gives it back as
// one that has not begun, and asks for another one; not so one that has begun.
func TestWhatHasNotBegunIsAskedForAgain(t *testing.T) {
	first := wire.Flow{Local: testEnd("10.9.0.1", 40001), Remote: testEnd("10.9.0.2", 80)}
	second := first
	second.Local.Port++
	c, asked := served(t, func(server *message.Channel, m *message.Message) {
		server.SendMessage(&message.Message{Type: message.GeneralReply, ID: m.ID, Local: second.Local})
	})
	socket := withSegment(t, c)
	c.record.forward(socket, first, nil)
	for n := range 2 {
		local, errno := c.connect(&message.Message{Type: message.Connect, Socket: socket, Remote: first.Remote})
		if errno != 0 || local != second.Local || !c.bottom.Begun(socket, second) {
			t.Fatalf("call %d: %v, %v", n, local.Netip(), errno)
		}
	}
	if len(asked) != 2 {
		t.Fatalf("the server hears %d requests, want 2", len(asked))
	}
	if m := <-asked; m.Op != message.OpClose || m.N != message.ForwardUnused || m.Local != first.Local || m.Remote != first.Remote {
		t.Errorf("first the server hears %+v", m)
	}
	if m := <-asked; m.Op != message.OpOpen || m.N != message.ForwardFollows || m.Local.Port != 0 {
		t.Errorf("then the server hears %+v", m)
	}
	if flow, _ := c.record.opened(socket); flow != second {
		t.Errorf("on record is %v", flow)
	}
}

// What is in TIME-WAIT at ports that are to come is taken once, by who wants it, and
// forgotten when it is over.
func TestWhatComesAlongIsTakenOnce(t *testing.T) {
	var l deviceLeases
	var b []byte
	for port := range uint16(4) {
		f := wire.Flow{Local: testEnd("10.9.0.1", port), Remote: testEnd("10.9.0.2", 80)}
		b = (&tcp.Remnant{Flow: f, End: tcp.Second * tcp.Time(1+port)}).Append(b)
	}
	l.comeAlong(b, 0)
	l.comeAlong(nil, 2*tcp.Second) // 0 and 1 are over
	for _, want := range []int{1, 0} {
		if rs := l.cameAlong(func(r *tcp.Remnant) bool { return r.Flow.Local.Port%2 == 1 }); len(rs) != want || want > 0 && rs[0].Flow.Local.Port != 3 {
			t.Errorf("%d are taken: %+v", len(rs), rs)
		}
	}
	if rs := l.cameAlong(func(*tcp.Remnant) bool { return true }); len(rs) != 1 || rs[0].Flow.Local.Port != 2 {
		t.Errorf("what is left: %+v", rs)
	}
}
