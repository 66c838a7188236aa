package nic

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
)

// read returns the next frame that the device was given.
func read(t *testing.T, device int) []byte {
	t.Helper()
	b := make([]byte, headLen+SlotSize)
	n, err := unix.Read(device, b)
	check(t, err)
	return b[:n]
}

func TestMailIsWhatIsSent(t *testing.T) {
	d, device := newDriver(t)
	var m pool.Mail
	for range 2 { // it is used again
		for _, to := range []struct{ src, dst string }{{"10.0.0.1", "10.0.0.2"}, {"fd00::1", "fd00::2"}} {
			src, err := parseAddr(to.src)
			check(t, err)
			dst, err := parseAddr(to.dst)
			check(t, err)
			before := *d.Counters()
			p := sendable(t, d, src, dst)
			same := *p
			d.Send(p)
			sent := *d.Counters()
			want := read(t, device)
			if !m.Add(d, &same) {
				t.Fatal("not taken")
			}
			d.Post(&m)
			if got := read(t, device); !bytes.Equal(got, want) {
				t.Errorf("sent %x\nposted %x", want, got)
			}
			c := d.Counters()
			if c.FramesOut-sent.FramesOut != sent.FramesOut-before.FramesOut || c.OctetsOut-sent.OctetsOut != sent.OctetsOut-before.OctetsOut ||
				c.Writes-sent.Writes != sent.Writes-before.Writes {
				t.Errorf("before %+v\nsent %+v\nposted %+v", before, sent, *c)
			}
			m.Reset()
		}
	}
}

// What a device refuses is counted, and packets are asked about one by one for a while.
func TestMailThatIsRefused(t *testing.T) {
	d, device := newDriver(t)
	var m pool.Mail
	for d.post.refused.Load() == 0 {
		for m.Reset(); !m.Full(); {
			if !m.Add(d, sendable(t, d, from4, to4)) {
				t.Fatal("not taken")
			}
		}
		d.Post(&m)
	}
	refused := d.post.refused.Load()
	m.Reset()
	for i := range postTrouble {
		if m.Add(d, sendable(t, d, from4, to4)) {
			t.Fatalf("taken by mail, %d packets after some were refused", i)
		}
	}
	if c := d.Counters(); c.TxFull != refused {
		t.Errorf("%d were refused, %d counted", refused, c.TxFull)
	}
	if !m.Add(d, sendable(t, d, from4, to4)) {
		t.Error("never by mail again")
	}
	check(t, unix.Close(device))
	d.Post(&m)
	m.Reset()
	m.Add(d, sendable(t, d, from4, to4))
	if c := d.Counters(); c.TxErrors != 1 {
		t.Errorf("%d counted as lost, where the device is no more", c.TxErrors)
	}
}

func TestMailDoesNotAllocate(t *testing.T) {
	d, device := newDriver(t)
	m, p, b := new(pool.Mail), sendable(t, d, from4, to4), make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() {
		m.Reset()
		m.Add(d, p)
		d.Post(m)
		unix.Read(device, b)
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
