package half

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// refusesData is a device that takes no data while on.
func refusesData(on *bool) func(*pool.Packet) bool {
	return func(p *pool.Packet) bool { return *on && p.Payload > 0 }
}

// What a device refuses has not been sent: it waits, nothing of it counts as lost,
// and it leaves when the device takes packets again.
func TestWhatADeviceRefusesWaits(t *testing.T) {
	for _, size := range []int{10, 1000, 6000} {
		b := newBench(t, 16)
		x, y, _ := b.pair()
		full := true
		b.drv.refuses = refusesData(&full)
		if n := b.top.Write(x, make([]byte, size)); n != size {
			t.Fatalf("wrote %d of %d", n, size)
		}
		b.run()
		if i := b.top.Conn(x).Info(b.now); int(i.NotSent) != size || i.Unacked != 0 || i.BytesSent != 0 {
			t.Errorf("%d not sent, %d unacknowledged, %d sent", i.NotSent, i.Unacked, i.BytesSent)
		}
		if b.top.Counters().Refused == 0 {
			t.Error("not counted")
		}
		b.now += tcp.Second
		b.run()
		full = false
		b.now += tcp.Second
		b.run()
		if n, _ := b.top.Read(y, make([]byte, 2*size)); n != size {
			t.Errorf("read %d of %d", n, size)
		}
		if i := b.top.Conn(x).Info(b.now); i.Resent != 0 || i.Lost != 0 {
			t.Errorf("%d segments sent again, %d lost", i.Resent, i.Lost)
		}
	}
}

// The auditor looks at the segment after every step.
func TestADeviceThatRefusesAtRandomLosesNothing(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		b := newBench(t, 64)
		x, y, _ := b.pair()
		b.drv.offload = uint32(r.IntN(2) * 9000)
		b.drv.refuses = func(*pool.Packet) bool { return r.IntN(3) == 0 }
		b.drv.loses = func(*pool.Packet) bool { return r.IntN(50) == 0 }
		b.drv.see = func(*pool.Packet) {}
		b.stream(x, y, bytes.Repeat([]byte("refused "), 10000))
		if b.top.Counters().Refused == 0 {
			t.Errorf("seed %d: nothing was refused", seed)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
