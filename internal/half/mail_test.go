package half

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// postman is a ring as a device that takes short packets without the lock would be.
type postman struct {
	*ring.Driver
	top    *Top
	framed []pool.Packet
	posted atomic.Int32
	held   atomic.Int32 // posted by who had the lock
}

func (d *postman) MayRefuse(uint16) bool { return true }

// Execute is the ring's, that counts as sent by the lock's holder what goes this way.
func (d *postman) Execute(ops []pool.Op) { d.Driver.Execute(ops) }

func (d *postman) Frame(p *pool.Packet, b *[pool.FrameMax]byte) int {
	if p.Payload > 3 {
		return 0
	}
	d.framed = append(d.framed, *p)
	return 1
}

// Post has the ring send what was framed, for which it takes the lock: who has it can't.
func (d *postman) Post(m *pool.Mail) {
	began := time.Now()
	for !d.top.mu.TryLock() {
		if time.Since(began) > 20*time.Second {
			d.held.Add(1)
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
	d.top.lock.Lock(-1)
	for range m.Len() {
		d.Driver.Send(&d.framed[0])
		d.framed = d.framed[1:]
		d.posted.Add(1)
	}
	d.top.flush()
	r := d.top.takeRings()
	d.top.lock.Unlock()
	d.top.mu.Unlock()
	r.Ring()
}

// posting makes a's top half one over a device.
func posting(a *host) *postman {
	d := &postman{Driver: a.topDrv, top: a.top}
	a.top.Change(func() { a.top.drv, a.top.mails.poster = d, d })
	return d
}

func TestShortPacketsLeaveWithoutTheLock(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	d := posting(a)
	exchanges(t, a, b, 5, 50)
	if d.held.Load() > 0 {
		t.Error("sent by who has the lock")
	}
	if n := d.posted.Load(); n < 250 {
		t.Errorf("%d packets left without the lock, of 250 requests and what goes with them", n)
	}
}

// outbox is a device that notes what it is given, in which order, and how.
type outbox struct {
	pool.Driver
	sent []int // octets of payload; negative: by mail
	mail []int
}

func (d *outbox) MayRefuse(uint16) bool { return true }
func (d *outbox) Execute(ops []pool.Op) { pool.Perform(outboxOps{d}, ops) }

type outboxOps struct{ *outbox }

func (d outboxOps) Alloc(uint16) (buf, off uint32) { return pool.None, 0 }
func (d outboxOps) Unref(uint16, uint32)           {}
func (d outboxOps) Receive(*pool.Packet) bool      { return false }
func (d outboxOps) Release(uint16, uint32, int)    {}
func (d outboxOps) Send(p *pool.Packet) bool       { d.sent = append(d.sent, int(p.Payload)); return true }
func (d *outbox) Frame(p *pool.Packet, _ *[pool.FrameMax]byte) int {
	d.mail = append(d.mail, -int(p.Payload))
	return 1
}

func (d *outbox) Post(m *pool.Mail) {
	d.sent = append(d.sent, d.mail[:m.Len()]...)
	d.mail = d.mail[m.Len():]
}

// What does not go by mail does not overtake it, and a bag that is full is sent.
func TestMailKeepsItsOrder(t *testing.T) {
	a := newHost(t, 1, SpinOff)
	d := &outbox{Driver: a.topDrv}
	h := &a.top.Half
	var bag *pool.Mail
	a.top.Change(func() {
		was := h.drv
		h.drv, h.mails.poster = d, d
		post := func(octets uint32, pieces uint8) {
			p := h.packet()
			*p = pool.Packet{Payload: octets, NPieces: pieces}
			if !h.post(p) {
				t.Error("refused")
			}
		}
		post(1, 0)
		post(2, 0)
		if len(d.sent) != 0 {
			t.Errorf("sent with the lock: %v", d.sent)
		}
		post(3000, 1)
		for i := range uint32(pool.MailMax + 1) {
			post(10+i, 0)
		}
		bag = h.mails.take()
		if h.mails.take() != nil {
			t.Error("taken twice")
		}
		h.drv = was
	})
	want := []int{-1, -2, 3000}
	for i := range pool.MailMax {
		want = append(want, -10-i)
	}
	if !slices.Equal(d.sent, want) {
		t.Errorf("sent %v\nwant %v", d.sent, want)
	}
	a.top.mails.send(bag)
	if want = append(want, -10-pool.MailMax); !slices.Equal(d.sent, want) {
		t.Errorf("sent %v\nwant %v", d.sent, want)
	}
	if again := a.top.mails.fresh(); again != bag || again.Len() != 0 {
		t.Error("the bag is not used again")
	}
	a.top.Change(func() { h.mails.poster = nil })
}

// A reset went by mail, and the child, which had the lock by then, had the server take
// the connection's way over the devices from the program: the peer never heard of it.
func TestAResetDoesNotGoByMail(t *testing.T) {
	a := newHost(t, 1, SpinOff)
	m := &a.top.mails
	a.top.Change(func() {
		m.poster = &outbox{Driver: a.topDrv}
		defer func() { m.poster = nil }()
		for _, x := range []struct {
			version byte
			flags   int // where they are
			value   byte
			goes    bool
		}{
			{4, 33, byte(wire.ACK), true},
			{4, 33, byte(wire.RST), false},
			{4, 33, byte(wire.RST | wire.ACK), false},
			{6, 53, byte(wire.FIN | wire.ACK), true},
			{6, 53, byte(wire.RST | wire.ACK), false},
		} {
			var p pool.Packet
			p.Data[0], p.Data[x.flags] = x.version<<4, x.value
			if got := m.add(&p); got != x.goes {
				t.Errorf("IPv%d, flags %#x: by mail %v", x.version, x.value, got)
			}
		}
		m.take()
	})
}

// Who gives the segment away waits for mail that a timer's goroutine, say, has taken and
// not sent yet: it found no poster, or another file in the place of the device.
func TestTheSegmentStaysWhileMailIsOnItsWay(t *testing.T) {
	a := newHost(t, 1, SpinOff)
	m := &a.top.mails
	d := &outbox{Driver: a.topDrv}
	var bag *pool.Mail
	a.top.Change(func() {
		m.poster = d
		p := pool.Packet{Payload: 1}
		m.add(&p)
		bag = m.take()
	})
	stopped := make(chan struct{})
	go func() {
		a.top.Change(m.stop)
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("nobody has waited")
	case <-time.After(20 * time.Millisecond):
	}
	m.send(bag)
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("the mail has been sent, and somebody waits")
	}
	if m.poster != nil || !slices.Equal(d.sent, []int{-1}) {
		t.Errorf("sent %v, poster %v", d.sent, m.poster)
	}
}

// Who leaves the segment has sent everything.
func TestNothingIsLeftInTheMail(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	d := posting(a)
	l := b.listen(testPort)
	x := a.dial(b, testPort)
	y, err := l.Accept()
	check(t, err)
	check(t, x.Connected())
	_, err = x.Write([]byte("end"))
	check(t, err)
	check(t, x.Close())
	p := make([]byte, 10)
	if n, err := y.Read(p); err != nil || !bytes.Equal(p[:n], []byte("end")) {
		t.Errorf("%q, %v", p[:n], err)
	}
	a.top.Change(func() {
		if a.top.mails.bag != nil && a.top.mails.bag.Len() > 0 || len(d.framed) > 0 {
			t.Errorf("%d packets are left", len(d.framed))
		}
	})
}
