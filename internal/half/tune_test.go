package half

import (
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Connections over devices have larger buffers than those on the ring, which may
// grow; what the program has set stays.
func TestBuffersOverDevices(t *testing.T) {
	h := new(Half)
	fresh := tcp.DefaultOptions()
	fresh.SndMax, fresh.RcvMax = 0, 0 // as on a ring
	o := fresh
	if h.tune(&o, 7); o != fresh {
		t.Errorf("a connection on the ring: %+v", o)
	}
	if h.tune(&o, pool.NIC); o.SndBuf != nicSndBuf || o.RcvBuf != nicRcvBuf || o.SndMax == 0 || o.RcvMax == 0 {
		t.Errorf("a connection over devices: %+v", o)
	}
	o = fresh
	o.SndLock, o.SndBuf, o.RcvLock, o.RcvBuf = 1, 4096, 1, 8192
	if h.tune(&o, pool.NIC); o.SndBuf != 4096 || o.RcvBuf != 8192 {
		t.Errorf("what the program has set: %+v", o)
	}
}

// Each circuit has its MTU, and what is not believable is not believed.
func TestMTUOfCircuits(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	half := &h.bottom.Half
	var i uint32
	h.bottom.Change(func() { i = half.open() })
	for _, row := range []struct {
		circuit   uint16
		set, want uint32
	}{{0, 9000, 65535}, {pool.NIC, 0, 1500}, {pool.NIC, 9000, 9000}, {pool.NIC, 65536, 65535}, {pool.NIC, 10, 576}} {
		h.bottom.SetMTU(i, row.set)
		if got := half.mtu(i, row.circuit); got != row.want {
			t.Errorf("circuit %d, %d said: %d, want %d", row.circuit, row.set, got, row.want)
		}
	}
}

// What the way back to a SYN's sender carries goes before what the listener knows.
func TestMTUOfTheWayBack(t *testing.T) {
	h := newHost(t, 1, SpinOff)
	half := &h.bottom.Half
	var l uint32
	h.bottom.Change(func() { l = half.open() })
	h.bottom.SetMTU(l, 1280)
	k := packet{flow: wire.Flow{Local: endpoint("10.1.0.1:80"), Remote: endpoint("10.1.0.2:2")}}
	for said, want := range map[uint16]uint16{0: 1240, 9000: 8960, 1000: 960, 1: 536, 65535: 65495} {
		k.pathMTU = said
		if got := half.options(l, &k, pool.NIC).MSS; got != want {
			t.Errorf("the way back carries %d: MSS %d, want %d", said, got, want)
		}
	}
}

// A connection that always probes begins with what is known of its route, and without that
// with the base.
func TestRouteOfAListenersPeerIsTrusted(t *testing.T) {
	for _, x := range []struct {
		carries uint16
		want    uint32
	}{{0, 1200}, {1500, 1200}, {640, 640}} {
		h := newHost(t, 1, SpinOff)
		half := &h.bottom.Half
		var l uint32
		h.bottom.Change(func() {
			l = half.open()
			half.conns[l].Opt.MTUProbe = tcp.MTUProbeOn
		})
		h.bottom.SetMTU(l, 1500)
		k := packet{flow: wire.Flow{Local: endpoint("10.1.0.1:80"), Remote: endpoint("10.1.0.2:2")}, pathMTU: x.carries}
		h.bottom.Change(func() {
			half.arr = tcp.Segment{Seq: 1, Flags: wire.SYN, Window: 1000, Options: wire.Options{Present: wire.HasMSS, MSS: 1460}}
			half.passiveOpen(l, &k, pool.NIC)
			i := half.lookup(&k.flow)
			if i == none {
				t.Fatal("no connection")
			}
			if info := half.conns[i].Info(half.now); info.PathMTU != x.want {
				t.Errorf("the route carries %d: begins with %d, want %d", x.carries, info.PathMTU, x.want)
			}
		})
	}
}
