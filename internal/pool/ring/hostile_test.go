package ring

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// What a peer writes into its own memory is up to it: these tests play a peer
// that does not keep to the rules.

// raw returns the slot of b's packet number n, which b may scribble over.
func (s *side) raw(n uint32) *slot { return &s.at(0).ownSlots[n%Slots] }

func (s *side) trailer(p *slot) []byte {
	n := int(p.header) + int(p.inline)
	return p.data[n : n+wire.AAL5Len]
}

func TestDamagedSlotsAreCountedAndPassedOver(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *side, s *slot)
		want   Counters
	}{
		{"headers that are too long", func(b *side, s *slot) { s.header = maxHeader + 1 }, Counters{BadSlot: 1}},
		{"inline payload beyond the slot", func(b *side, s *slot) { s.inline, s.pieces = 200, 0 }, Counters{BadSlot: 1}},
		{"inline payload and pieces", func(b *side, s *slot) { s.inline = 1 }, Counters{BadSlot: 1}},
		{"too many pieces", func(b *side, s *slot) { s.pieces = pool.MaxPieces + 1 }, Counters{BadSlot: 1}},
		{"more than a PDU", func(b *side, s *slot) { s.total = pool.MaxPDU + 1 }, Counters{BadSlot: 1}},
		{"a length that is not the pieces'", func(b *side, s *slot) { s.total++ }, Counters{BadSlot: 1}},
		{"a length that is not the trailer's", func(b *side, s *slot) { b.trailer(s)[3]++ }, Counters{BadSlot: 1}},
		{"a PDU that is aborted", func(b *side, s *slot) { clear(b.trailer(s)[2:4]) }, Counters{BadSlot: 1}},
		{"another VCI", func(b *side, s *slot) { b.trailer(s)[1]++ }, Counters{BadVCI: 1}},
		{"an invalid VCI", func(b *side, s *slot) { b.trailer(s)[0] |= 0x80 }, Counters{BadSlot: 1}},
		{"a piece beyond the buffers", func(b *side, s *slot) { s.piece[1].Off = Buffers*BufferSize - 9 }, Counters{BadPiece: 1}},
		{"a piece that wraps", func(b *side, s *slot) { s.piece[1].Off = ^uint32(0) }, Counters{BadPiece: 1}},
		{"a piece that is empty", func(b *side, s *slot) { s.piece[0].Len, s.piece[1].Len = 0, 20 }, Counters{BadPiece: 1}},
		{"a piece of a length that wraps", func(b *side, s *slot) { s.piece[0].Len = ^uint32(0) - 5 }, Counters{BadPiece: 1}},
		{"an identifier that is none", func(b *side, s *slot) { s.id = PDUs }, Counters{BadSlot: 1}},
		{"no identifier", func(b *side, s *slot) { s.id = pool.None }, Counters{BadSlot: 1}},
	} {
		a, b := newPair(t, false)
		good := octets(1, 10)
		b.Send(b.pieces(t, []byte("head"), good, good))
		b.send(b.inline([]byte("next"), nil))
		c.change(b, b.raw(0))
		p := &pool.Packet{}
		if !a.Receive(p) || string(a.content(p)) != "next" {
			t.Errorf("%s: the good packet behind it was not received", c.name)
		}
		if got := *a.Counters(); got != c.want {
			t.Errorf("%s: counters %+v, want %+v", c.name, got, c.want)
		}
		if a.at(0).st.Held != 0 || !a.Usable(0) {
			t.Errorf("%s: %d pieces held, usable %v", c.name, a.at(0).st.Held, a.Usable(0))
		}
	}
}

func TestIdentifierThatIsHeldAlready(t *testing.T) {
	a, b := newPair(t, false)
	b.send(b.pieces(t, []byte("1"), []byte("x")), b.pieces(t, []byte("2"), []byte("y")))
	b.raw(1).id = b.raw(0).id
	p := a.want(t, []byte("1x"))
	a.wantNothing(t)
	wantCounters(t, a, Counters{BadSlot: 1})
	a.free(p)
	if a.at(0).st.Held != 0 {
		t.Errorf("%d pieces held", a.at(0).st.Held)
	}
}

func TestDamageIsSeenWithCRC(t *testing.T) {
	for name, change := range map[string]func(b *side, s *slot){
		"a header":  func(b *side, s *slot) { s.data[1] ^= 4 },
		"a piece":   func(b *side, s *slot) { b.Octets(pool.TxRegion(0))[s.piece[1].Off+3] ^= 1 },
		"the CRC":   func(b *side, s *slot) { b.trailer(s)[7] ^= 1 },
		"the order": func(b *side, s *slot) { s.piece[0], s.piece[1] = s.piece[1], s.piece[0] },
	} {
		a, b := newPair(t, true)
		first, second := octets(1, 1000), octets(2, 1000)
		b.Send(b.pieces(t, []byte("head"), first, second))
		change(b, b.raw(0))
		b.send(b.pieces(t, []byte("head"), first, second))
		a.free(a.want(t, join2([]byte("head"), first, second)))
		if got := *a.Counters(); got != (Counters{BadCRC: 1}) {
			t.Errorf("damage to %s: counters %+v", name, got)
		}
		a.flush()
		b.reclaim(b.at(0))
		if b.at(0).st.IDs.Free != PDUs {
			t.Errorf("damage to %s: %d identifiers free, want all: the damaged packet is released", name, b.at(0).st.IDs.Free)
		}
	}
}

// Without CRC nobody looks: memory has no line noise.
func TestDamageIsNotSeenWithoutCRC(t *testing.T) {
	a, b := newPair(t, false)
	b.Send(b.inline([]byte("head"), []byte("payload")))
	b.raw(0).data[5] ^= 1
	b.flush()
	a.want(t, []byte("hea"+"dp`yload"))
}

func TestIndicesThatRunAwayCloseTheCircuit(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(a, b *side)
	}{
		{"more sent than there are slots", func(a, b *side) {
			b.at(0).ownEnd.counts.set(Slots+1, 0)
			var p pool.Packet
			a.Receive(&p)
		}},
		{"sent goes back", func(a, b *side) {
			b.at(0).ownEnd.counts.set(^uint32(0), 0)
			var p pool.Packet
			a.Receive(&p)
		}},
		{"seen what was not sent", func(a, b *side) {
			b.at(0).ownEnd.counts.set(0, 1)
			a.Room(0)
		}},
		{"released more than there are identifiers", func(a, b *side) {
			b.at(0).ownEnd.released.Store(PDUs + 1)
			a.Notify(0, false, true)
			a.Notice()
		}},
		{"released, found by who wants a buffer", func(a, b *side) {
			b.at(0).ownEnd.released.Store(1 << 31)
			a.SetTxLimit(0)
			a.Alloc(0)
		}},
	} {
		a, b := newPair(t, false)
		c.do(a, b)
		if a.Usable(0) || a.Room(0) != 0 || a.Pending() {
			t.Errorf("%s: usable %v, room %d, pending %v", c.name, a.Usable(0), a.Room(0), a.Pending())
		}
		if got := *a.Counters(); got != (Counters{BadIndex: 1}) {
			t.Errorf("%s: counters %+v", c.name, got)
		}
		a.wantNothing(t)
		if b.Counters().BadIndex != 0 || !b.Usable(0) {
			t.Errorf("%s: the peer's circuit is closed too", c.name)
		}
	}
}

func TestReleasesOfWhatIsNotOnItsWay(t *testing.T) {
	a, b := newPair(t, false)
	p := a.pieces(t, []byte("1"), []byte("x"))
	a.send(p)
	c := b.at(0)
	copy(c.ownReleases, []uint32{PDUs, pool.None, 5, 0, 0})
	c.ownEnd.released.Store(5)
	a.reclaim(a.at(0))
	wantCounters(t, a, Counters{BadRelease: 4})
	if a.at(0).bufs.Used() != 0 || a.at(0).st.IDs.Free != PDUs || !a.Usable(0) {
		t.Errorf("%d buffers in use, %d identifiers free, usable %v", a.at(0).bufs.Used(), a.at(0).st.IDs.Free, a.Usable(0))
	}
}

func TestReleaseTwiceIsABug(t *testing.T) {
	a, b := newPair(t, false)
	b.send(b.pieces(t, []byte("1"), []byte("x")))
	p := a.want(t, []byte("1x"))
	a.free(p)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	a.free(p)
}

// hostile is a peer that scribbles: each of its moves takes a few octets of the
// fuzzer's.
type hostile struct {
	a, b *side
	in   []byte
	held []*pool.Packet
}

func (h *hostile) next() uint32 {
	var w [4]byte
	n := copy(w[:], h.in)
	h.in = h.in[n:]
	return binary.LittleEndian.Uint32(w[:])
}

func (h *hostile) octet() byte {
	if len(h.in) == 0 {
		return 0
	}
	b := h.in[0]
	h.in = h.in[1:]
	return b
}

// scribble writes into the memory of the peer's end, anywhere.
func (h *hostile) scribble() {
	c := h.b.at(0)
	slots := unsafe.Slice((*byte)(unsafe.Pointer(&c.ownSlots[0])), Slots*int(unsafe.Sizeof(slot{})))
	switch h.octet() % 9 {
	case 0:
		c.ownEnd.counts.set(h.next(), c.ownEnd.counts.seen())
	case 1:
		c.ownEnd.counts.set(c.ownEnd.counts.sent()+uint32(h.octet()), c.ownEnd.counts.seen())
	case 2:
		c.ownEnd.counts.set(c.ownEnd.counts.sent(), c.ownEnd.counts.seen()+uint32(h.octet()))
	case 3:
		c.ownEnd.released.Add(uint32(h.octet()))
	case 4:
		c.ownEnd.notifySeen.Store(uint64(h.next())<<32 | uint64(h.next()))
	case 5:
		c.ownEnd.notifyReleased.Store(h.next())
	case 6:
		c.ownReleases[h.octet()%8] = uint32(h.octet())
	case 7: // a slot's fields
		binary.LittleEndian.PutUint32(slots[256*int(h.octet()%8)+4*int(h.octet()%64):], h.next())
	case 8: // its start, which says what it is
		binary.LittleEndian.PutUint32(slots[256*int(h.octet()%8)+8:], h.next())
	}
}

// victim does what a pool does, as if nothing were wrong.
func (h *hostile) victim(t *testing.T) {
	a := h.a
	switch h.octet() % 6 {
	case 0:
		if a.Room(0) > 0 && a.at(0).bufs.Available() > 0 {
			p := a.pieces(t, []byte("head"), octets(1, 1+int(h.octet())))
			a.send(p)
		}
	case 1:
		if a.Room(0) > 0 {
			a.send(a.inline([]byte("head"), nil))
		}
	case 2:
		p := &pool.Packet{}
		if a.Receive(p) {
			h.inspect(t, p)
			if p.NPieces > 0 {
				h.held = append(h.held, p)
			}
		}
	case 3:
		if n := len(h.held); n > 0 {
			a.free(h.held[n-1])
			h.held = h.held[:n-1]
		}
		a.flush()
	case 4:
		a.Notify(0, true, true)
		a.Pending()
	case 5:
		a.Notice()
	}
}

// inspect holds that what a received packet says is so: it can be read.
func (h *hostile) inspect(t *testing.T, p *pool.Packet) {
	n := int(p.Header) + int(p.Inline)
	for _, q := range p.Pieces[:p.NPieces] {
		n += int(q.Len)
	}
	if n != int(p.Header)+int(p.Payload) || n > pool.MaxPDU || len(h.a.content(p)) != n {
		t.Fatalf("received a packet of %d octets: %+v", n, p)
	}
}

// Whatever a peer scribbles over its memory: no panic, no fault, no endless loop,
// what is received makes sense, and no more is held or free than there is.
func FuzzHostilePeer(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(bytes.Repeat([]byte{0, 5, 2, 1, 3}, 20), false)
	f.Add(bytes.Repeat([]byte{2, 0, 0, 8, 1, 10, 20, 3, 1, 0, 4, 4}, 9), true)
	f.Add(bytes.Repeat([]byte{0, 0, 20, 0, 3, 1, 3, 6, 0, 0, 5, 3}, 9), false)
	f.Fuzz(func(t *testing.T, in []byte, crc bool) {
		a, b := newPair(t, crc)
		for range 4 {
			b.send(b.pieces(t, []byte("head"), octets(2, 100)), b.inline([]byte("head"), []byte("x")))
		}
		h := &hostile{a: a, b: b, in: in}
		for len(h.in) > 0 {
			if h.octet()%2 == 0 {
				h.victim(t)
			} else {
				h.scribble()
			}
		}
		c := a.at(0)
		held := uint32(0)
		for _, n := range c.holds {
			held += n
		}
		if held != c.st.Held || c.st.IDs.Free > PDUs || c.bufs.Used() < 0 || c.bufs.Used() > Buffers {
			t.Fatalf("%d pieces held, %d noted; %d identifiers free; %d buffers in use", held, c.st.Held, c.st.IDs.Free, c.bufs.Used())
		}
		if a.Usable(0) != (a.Counters().BadIndex == 0) {
			t.Fatalf("usable %v, counters %+v", a.Usable(0), *a.Counters())
		}
	})
}
