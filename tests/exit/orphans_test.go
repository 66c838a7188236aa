package exit

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/wire"
)

// left is a host with an orphan of a killed program, to whose peer it has more to say.
func left(t *testing.T) (h *testhost.Host, peer net.Conn, written int) {
	t.Helper()
	hosts := testhost.Ring(t, 2)
	t.Setenv("USERTCP_SERVER", hosts[0].Socket)
	s := stacks["usertcp"]
	w := world{stack: s, name: "usertcp", from: hosts[1].Socket, l: listen(t, s, "10.1.0.1:0"), what: "data unsent", end: "SIGKILL"}
	p := w.start(t, w.l.Addr().String())
	peer = w.accept(t)
	written = atoi(t, p.Want("wrote"))
	p.Want("ready")
	w.finish(t, p)
	return hosts[1], peer, written
}

// orphanOf waits until a host has one orphan, and returns it.
func orphanOf(t *testing.T, h *testhost.Host) (server.ChildInfo, message.SocketInfo) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		snap, err := server.Status(t.Context(), h.Socket)
		if err != nil {
			t.Fatal(err)
		}
		if len(snap.Children) == 1 && snap.Children[0].Sockets != nil {
			if k := snap.Children[0]; k.Sockets.Orphans == 1 && len(k.Sockets.Sockets) == 1 {
				return k, k.Sockets.Sockets[0]
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no orphan: %+v", snap.Children)
		}
	}
}

// wantKilled looks for what an orphan's end by name leaves.
func wantKilled(t *testing.T, h *testhost.Host, peer net.Conn, child, written int) {
	t.Helper()
	n, err := io.Copy(io.Discard, peer)
	if !errors.Is(err, syscall.ECONNRESET) || n >= int64(written) {
		t.Errorf("the peer has read %d of %d octets, and then %v; want ECONNRESET", n, written, err)
	}
	testhost.WantGone(t, child)
	if n := h.Server.Snapshot().Counters.Killed; n != 1 {
		t.Errorf("%d orphans were killed, the server says; want 1", n)
	}
}

func TestOrphanIsShownAndKilledByFlow(t *testing.T) {
	h, peer, written := left(t)
	child, o := orphanOf(t, h)
	if !o.Orphan || o.State != "FIN-WAIT-1" || o.Unsent == 0 || o.Local.String() != peer.RemoteAddr().String() || o.Remote.String() != peer.LocalAddr().String() {
		t.Errorf("%+v", o)
	}
	flow := wire.Flow{Local: wire.EndpointFrom(o.Local), Remote: wire.EndpointFrom(o.Remote)}
	wrong := flow
	wrong.Local.Port++
	if err := server.EndOrphan(t.Context(), h.Socket, wrong); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("another: %v", err)
	}
	if err := server.EndOrphan(t.Context(), h.Socket, flow); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, h, peer, child.PID, written)
}

func TestOrphansAreKilledByChild(t *testing.T) {
	h, peer, written := left(t)
	child, _ := orphanOf(t, h)
	if _, err := server.EndOrphansOf(t.Context(), h.Socket, child.AppPID); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("of what is no child: %v", err)
	}
	if n, err := server.EndOrphansOf(t.Context(), h.Socket, child.PID); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantKilled(t, h, peer, child.PID, written)
}

// What a living program has is not to be ended by name, and status says whose it is.
func TestConnectionOfTheLivingIsNotKilled(t *testing.T) {
	hosts := testhost.Ring(t, 1)
	p := testhost.Run(t, hosts[0].Socket, "sink", "10.1.0.1:0")
	child := atoi(t, p.Want("child"))
	address := p.Want("listening")
	t.Setenv("USERTCP_SERVER", hosts[0].Socket)
	snap, err := server.Status(t.Context(), hosts[0].Socket)
	if err != nil || len(snap.Children) != 1 {
		t.Fatal(snap, err)
	}
	k := snap.Children[0]
	if k.PID != child || k.AppPID != p.Pid() || k.Sockets == nil || len(k.Sockets.Sockets) != 1 {
		t.Fatalf("%+v", k)
	}
	if l := k.Sockets.Sockets[0]; l.State != "LISTEN" || l.Orphan || l.Local.String() != address || l.Remote.Port() != 0 {
		t.Errorf("%+v", l)
	}
	end := wire.EndpointFrom(k.Sockets.Sockets[0].Local)
	if err := server.EndOrphan(t.Context(), hosts[0].Socket, wire.Flow{Local: end}); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("%v, want EBUSY", err)
	}
	// A program that is stopped, with its child, does not answer, and keeps nobody waiting.
	testhost.Stop(t, child)
	began := time.Now()
	if snap, err = server.Status(t.Context(), hosts[0].Socket); err != nil || snap.Children[0].Sockets != nil {
		t.Errorf("%+v, %v; want no answer of the child", snap.Children, err)
	}
	if d := time.Since(began); d > patience {
		t.Errorf("it took %v", d)
	}
}
