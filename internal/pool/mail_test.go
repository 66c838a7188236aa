package pool

import (
	"bytes"
	"testing"
)

// postman is a device that frames a packet by an octet before it.
type postman struct {
	fake
	posted int
}

func (d *postman) Frame(p *Packet, b *[FrameMax]byte) int {
	if p.NPieces > 0 {
		return 0
	}
	b[0] = 7
	return 1 + copy(b[1:], p.Data[:p.Header+p.Inline])
}

func (d *postman) Post(m *Mail) { d.posted += m.Len() }

func TestMailKeepsWhatItIsGiven(t *testing.T) {
	d := &postman{}
	var m Mail
	var p Packet
	for round := range 2 {
		for i := range MailMax {
			if m.Full() || m.Len() != i {
				t.Fatalf("round %d: with %d packets full: %v, length %d", round, i, m.Full(), m.Len())
			}
			if p.NPieces = 1; m.Add(d, &p) {
				t.Error("a packet with pieces goes by mail")
			}
			p.NPieces, p.Header, p.Inline = 0, 40, uint16(i)
			for k := range p.Data[:40+i] {
				p.Data[k] = byte(round + i)
			}
			if !m.Add(d, &p) {
				t.Error("not taken")
			}
		}
		if !m.Full() {
			t.Error("there is room still")
		}
		for i := range MailMax {
			want := append([]byte{7}, bytes.Repeat([]byte{byte(round + i)}, 40+i)...)
			if !bytes.Equal(m.Frame(i), want) {
				t.Errorf("round %d, packet %d: %x", round, i, m.Frame(i))
			}
		}
		m.Reset()
	}
	p.Header, p.Inline = MaxData, 0
	if !m.Add(d, &p) || len(m.Frame(0)) != 1+MaxData {
		t.Errorf("the longest packet has %d octets", len(m.Frame(0)))
	}
}

func TestAJointPostsByItsDevices(t *testing.T) {
	ring, nic := &fake{name: "ring"}, &postman{fake: fake{name: "nics"}}
	j := Join(ring, nic)
	var m Mail
	if m.Add(j, &Packet{Circuit: 3}) {
		t.Error("a packet of the ring's goes by mail")
	}
	if !m.Add(j, &Packet{Circuit: NIC}) {
		t.Error("a packet of the devices' does not go by mail")
	}
	j.Post(&m)
	if nic.posted != 1 {
		t.Errorf("%d posted", nic.posted)
	}
	if m.Add(Join(ring, &fake{name: "nics"}), &Packet{Circuit: NIC}) {
		t.Error("a driver that posts nothing has taken a packet")
	}
}
