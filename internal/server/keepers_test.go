package server

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// keepable is a port space with an address that is the kernel's too, and a listener
// at it.
func keepable(t *testing.T) (p *portSpace, local wire.Endpoint) {
	t.Helper()
	p = newPortSpace(nil)
	p.devices = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	local = wire.EndpointFrom(l.Addr().(*net.TCPAddr).AddrPort())
	l.Close()
	p.listens(t, socketID{childA, 1}, local)
	return p, local
}

// listens makes a socket listen, with its bind points in the kernel.
func (p *portSpace) listens(t *testing.T, id socketID, local wire.Endpoint) {
	t.Helper()
	if _, errno := p.bind(id, local, true); errno != 0 {
		t.Fatal(errno)
	}
	fd, errno := bindKernel(local.Netip(), true)
	if errno != 0 {
		t.Fatal(errno)
	}
	p.holdBind(id, []int{fd})
	if errno := p.listen(id); errno != 0 {
		t.Fatal(errno)
	}
}

// wantKernel fails the test unless the kernel's TCP may, or may not, bind there.
func wantKernel(t *testing.T, local wire.Endpoint, free bool) {
	t.Helper()
	fd, errno := bindKernel(local.Netip(), false)
	if errno == 0 {
		unix.Close(fd)
	}
	if free && errno != 0 || !free && errno != unix.EADDRINUSE {
		t.Errorf("free %v: the kernel says %v", free, errno)
	}
}

func TestPortIsKeptForConnectionsThatOutliveTheirListener(t *testing.T) {
	p, local := keepable(t)
	flows := []wire.Flow{{Local: local, Remote: ep("127.0.0.9:1")}, {Local: local, Remote: ep("127.0.0.9:2")}}
	for _, f := range flows {
		if errno := p.accepted(socketID{childA, message.NoSocket}, f.Local, f.Remote, true); errno != 0 {
			t.Fatal(errno)
		}
	}
	wantKernel(t, local, false)
	if _, err := net.Listen("tcp4", local.String()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("beside our listener one of the kernel's: %v", err)
	}
	p.unbind(socketID{childA, 1})
	wantKernel(t, local, false)
	l, err := net.Listen("tcp4", local.String())
	if err != nil {
		t.Errorf("a server can't be started again, with SO_REUSEADDR: %v", err)
	} else {
		l.Close()
	}
	p.close(childA, flows[0])
	wantKernel(t, local, false)

	p.listens(t, socketID{childB, 1}, local) // another program may have it, as with a restart
	wantKernel(t, local, false)
	p.unbind(socketID{childB, 1})
	wantKernel(t, local, false)
	p.close(childA, flows[1])
	wantKernel(t, local, true)
	if len(p.keepers) != 0 {
		t.Errorf("kept: %v", p.keepers)
	}
}

func TestPortOfAListenerWithoutConnectionsIsFreeAtOnce(t *testing.T) {
	p, local := keepable(t)
	p.unbind(socketID{childA, 1})
	wantKernel(t, local, true)
}

func TestKeptPortsOfAChildThatEnds(t *testing.T) {
	p, local := keepable(t)
	p.accepted(socketID{childA, message.NoSocket}, local, ep("127.0.0.9:1"), true)
	p.unbind(socketID{childA, 1})
	p.release(childA)
	wantKernel(t, local, true)
}

// A server that takes over connections without their listener binds their port again.
func TestPortIsKeptByTheServersSuccessor(t *testing.T) {
	p, local := keepable(t)
	p.unbind(socketID{childA, 1})
	for i := range 2 {
		m := message.Message{N: message.KeepFlow, Socket: message.NoSocket, Local: local, Remote: ep("127.0.0.9:1")}
		m.Remote.Port += uint16(i)
		if errno := p.adopt(childA, 0, &m); errno != 0 {
			t.Fatal(errno)
		}
	}
	wantKernel(t, local, false)
	p.close(childA, wire.Flow{Local: local, Remote: ep("127.0.0.9:1")})
	wantKernel(t, local, false)
	p.close(childA, wire.Flow{Local: local, Remote: ep("127.0.0.9:2")})
	wantKernel(t, local, true)
}

// A listener for IPv6 alone leaves the port of IPv4 to the kernel.
func TestBindPointOfIPv6Alone(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.AddrPortFrom(netip.IPv6Unspecified(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	if _, errno := bindKernel(at, false); errno != unix.EADDRINUSE {
		t.Errorf("both families: %v", errno)
	}
	fd, errno := bindFamily(at, false, true)
	if errno != 0 {
		t.Fatalf("IPv6 alone: %v", errno)
	}
	unix.Close(fd)
}

// A connection that another program has taken over keeps the port of the listener
// that stayed behind.
func TestPortIsKeptForConnectionsThatHaveMoved(t *testing.T) {
	p, local := keepable(t)
	f := wire.Flow{Local: local, Remote: ep("127.0.0.9:1")}
	if _, errno := p.claimFlow(socketID{childA, 2}, socketID{childB, 1}, f, childA); errno != 0 {
		t.Fatal(errno)
	}
	p.unbind(socketID{childA, 1})
	wantKernel(t, local, false)
	p.close(childB, f)
	wantKernel(t, local, true)
}
