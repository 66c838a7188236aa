package nic

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
)

// verified is a good frame that the device says is right.
func verified(f *frame) *frame {
	f.head[atFlags] = flagDataValid
	return f
}

// received returns the payload of a packet, of which into has the first octets.
func received(d *Driver, p *pool.Packet, into []byte) []byte {
	b := octets(d, p)
	copy(b, into[:p.Placed])
	return b
}

// give gives a packet's slot back.
func give(d *Driver, p *pool.Packet) {
	if p.NPieces > 0 {
		d.Release(p.Circuit, p.ID, int(p.NPieces))
	}
}

func TestPayloadsArePlaced(t *testing.T) {
	d, device := newDriver(t)
	for _, row := range []struct {
		six                     bool
		header, room, n, placed int
	}{
		{false, 52, 65536, 20000, 20000},
		{false, 52, 10000, 20000, 10000},
		{false, 52, 1 << 20, 65535 - 52, 65535 - 52},
		{false, 52, 65536, 400, 400},
		{true, 72, 65536, 20000, 20000},
		{false, 52, 65536, pool.MaxData - 52, 0}, // short payloads come in the packet
		{false, 52, 65536, 0, 0},
		{false, 64, 65536, 20000, 0}, // other headers
		{false, 40, 65536, 20000, 0},
		{false, 72, 65536, 20000, 0},
		{true, 52, 65536, 20000, 0},
		{false, 0, 65536, 20000, 0},
		{false, pool.MaxData + 1, 65536, 20000, 0},
	} {
		t.Run(fmt.Sprintf("%+v", row), func(t *testing.T) {
			f := verified(good(from4, to4, row.n))
			if row.six {
				f = verified(good(from6, to6, row.n))
			}
			inject(t, device, f)
			into := make([]byte, row.room)
			var p pool.Packet
			if !d.ReceiveInto(&p, row.header, into) {
				t.Fatal("nothing received")
			}
			if int(p.Placed) != row.placed || int(p.Payload) != row.n {
				t.Errorf("%d octets placed, of %d", p.Placed, p.Payload)
			}
			if h := len(f.packet) - row.n; !bytes.Equal(received(d, &p, into), f.packet[h:]) || !bytes.Equal(p.Data[:h], f.packet[:h]) {
				t.Error("others arrived")
			}
			give(d, &p)
		})
	}
	if _, held := d.InUse(); held != 0 || d.ctl.rx.Free != Slots {
		t.Errorf("%d slots held, %d free", held, d.ctl.rx.Free)
	}
}

// What has to be looked at before it can be believed, or is no segment, lies where it
// always does.
func TestWhatIsNotForeseenIsPutBack(t *testing.T) {
	for name, change := range map[string]func(f *frame){
		"the checksum has to be verified": func(f *frame) { f.head[atFlags] = 0 },
		"not TCP":                         func(f *frame) { f.packet[9] = 47 },
		"options of IP": func(f *frame) {
			f.packet = append(f.packet[:20:20], append([]byte{1, 1, 1, 1}, f.packet[20:]...)...)
			f.packet[0] = 0x46
			f.packet[2], f.packet[3] = byte(len(f.packet)>>8), byte(len(f.packet))
		},
		"headers that reach beyond the packet": func(f *frame) { f.packet[32] = 0xf0; f.packet = f.packet[:60]; f.packet[2], f.packet[3] = 0, 60 },
	} {
		t.Run(name, func(t *testing.T) {
			d, device := newDriver(t)
			f := verified(good(from4, to4, 3000))
			change(f)
			inject(t, device, f)
			inject(t, device, verified(good(from4, to4, 2000)))
			into := make([]byte, 4096)
			var p pool.Packet
			if !d.ReceiveInto(&p, 52, into) {
				t.Fatal("nothing received")
			}
			if p.Payload == 2000 { // the first was passed over
				if p.Placed != 2000 || d.Counters().BadHeader != 1 {
					t.Errorf("%d octets placed; counters %+v", p.Placed, d.Counters())
				}
				return
			}
			if b := append(p.Data[:p.Header:p.Header], octets(d, &p)...); p.Placed != 0 || !bytes.Equal(b, f.packet) {
				t.Errorf("%d octets placed", p.Placed)
			}
		})
	}
}

// A frame that is longer than its packet, as Ethernet pads short ones, and one whose
// packet is too short to be placed.
func TestPaddingIsNotPlaced(t *testing.T) {
	for _, n := range []int{50, 1000} {
		d, device := newDriver(t)
		f := verified(good(from4, to4, n))
		want := bytes.Clone(f.packet[52:])
		f.packet = append(f.packet, make([]byte, 300)...)
		inject(t, device, f)
		into := make([]byte, 4096)
		var p pool.Packet
		if !d.ReceiveInto(&p, 52, into) || int(p.Payload) != n || int(p.Placed) > n || !bytes.Equal(received(d, &p, into), want) {
			t.Errorf("%d octets, %d of them placed", p.Payload, p.Placed)
		}
	}
}

// Memory that can't be written costs the packet, once, and not the device.
func TestMemoryThatCannotBeWritten(t *testing.T) {
	d, device := newDriver(t)
	into, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	check(t, err)
	defer unix.Munmap(into)
	for range 3 {
		inject(t, device, verified(good(from4, to4, 30000)))
	}
	got := 0
	for range 4 {
		var p pool.Packet
		if d.ReceiveInto(&p, 52, into) {
			got++
			if p.Placed != 0 {
				t.Error("placed where nothing can be written")
			}
			give(d, &p)
		}
	}
	if got != 2 || d.gone.Load() {
		t.Errorf("%d packets of 3 received; device gone: %v", got, d.gone.Load())
	}
	if d.ctl.rx.Free != Slots {
		t.Errorf("%d slots free of %d", d.ctl.rx.Free, Slots)
	}
}

// TestPlacedFramesAtRandom compares what arrives with a guess, however wrong, with what
// arrives without: the same packets, to the octet.
func TestPlacedFramesAtRandom(t *testing.T) {
	seed := uint64(unix.Getpid())
	r := rand.New(rand.NewPCG(seed, 9))
	a, toA := newDriver(t)
	b, toB := newDriver(t)
	placed := 0
	for n := range 3000 {
		f := good(from4, to4, r.IntN(1+r.IntN(65000)))
		if r.IntN(4) == 0 {
			f = good(from6, to6, r.IntN(3000))
		}
		f.head[atFlags] = byte(r.IntN(3))
		for range r.IntN(4) {
			f.packet[r.IntN(min(len(f.packet), 90))] ^= byte(1 << r.IntN(8))
		}
		if r.IntN(8) == 0 {
			f.packet = f.packet[:r.IntN(len(f.packet))]
		}
		inject(t, toA, f)
		inject(t, toB, f)
		into := make([]byte, 1+r.IntN(70000))
		var p, q pool.Packet
		ok := a.ReceiveInto(&p, [...]int{0, 20, 40, 52, 60, 72, 52, 52}[r.IntN(8)], into)
		b.Notice()
		if ok != b.Receive(&q) {
			t.Fatalf("seed %d, frame %d: received %v", seed, n, ok)
		}
		if ok && (p.Header != q.Header || p.Payload != q.Payload || p.Partial != q.Partial || p.PathMTU != q.PathMTU ||
			!bytes.Equal(p.Data[:p.Header], q.Data[:q.Header]) || !bytes.Equal(received(a, &p, into), octets(b, &q))) {
			t.Fatalf("seed %d, frame %d: other packets, %d octets placed", seed, n, p.Placed)
		}
		if ok {
			placed += int(min(p.Placed, 1))
			give(a, &p)
			give(b, &q)
		}
		a.Notice()
	}
	ca, cb := *a.Counters(), *b.Counters()
	if ca != cb || placed < 50 {
		t.Errorf("seed %d: counters %+v and %+v, %d placed", seed, ca, cb, placed)
	}
}
