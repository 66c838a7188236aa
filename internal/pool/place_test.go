package pool

import "testing"

// placer is a driver that places payloads, of which it has some.
type placer struct {
	fake
	header int
	into   []byte
}

func (p *placer) ReceiveInto(q *Packet, header int, into []byte) bool {
	p.header, p.into = header, into
	if !p.Receive(q) {
		return false
	}
	q.Placed = uint32(copy(into, "payload"))
	return true
}

func (p *placer) Execute(ops []Op) { Perform(p, ops) }

// placeWhere asks for a payload to be placed, and returns how much of it was.
func placeWhere(t *testing.T, d Driver) (into []byte, placed int) {
	t.Helper()
	var p Packet
	var s Script
	s.Receive(&p)
	into, p.Placed = make([]byte, 4), 99
	s.Ops()[0].Place(52, into)
	d.Execute(s.Ops())
	if !s.Ops()[0].Done || s.Ops()[0].Data != nil {
		t.Errorf("received: %v; the program's memory is kept: %v", s.Ops()[0].Done, s.Ops()[0].Data != nil)
	}
	return into, int(p.Placed)
}

func TestPlaceIsForTheDriverThatCan(t *testing.T) {
	ring, nic := &fake{name: "ring"}, &placer{fake: fake{name: "ring"}}
	j := Join(ring, nic)
	nic.arrived = 2
	if into, n := placeWhere(t, j); n != 4 || string(into) != "payl" || nic.header != 52 {
		t.Errorf("%q placed, behind %d octets of headers", into[:n], nic.header)
	}
	// The ring's packet comes first, and is not placed; nor is what comes behind it.
	ring.arrived, nic.into = 1, nil
	if into, n := placeWhere(t, j); n != 0 || nic.into != nil || string(into) != "\x00\x00\x00\x00" {
		t.Errorf("%d octets of a packet of the ring's placed", n)
	}
	var p Packet
	if !take(j, &p) || nic.into != nil {
		t.Error("the place for one packet was used for another")
	}
}
