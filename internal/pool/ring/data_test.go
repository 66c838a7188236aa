package ring

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

func TestPacketsArriveUnaltered(t *testing.T) {
	for _, crc := range []bool{false, true} {
		a, b := newPair(t, crc)
		self := newSide(t, wire.NewVCI(3, 7), crc)
		joinPools(t, self, self)
		for _, dir := range [][2]*side{{a, b}, {b, a}, {self, self}} {
			from, to := dir[0], dir[1]
			for n, c := range []struct {
				header  int
				inline  int
				payload []int
			}{
				{40, 0, nil}, {40, 1, nil}, {1, 0, nil}, {maxHeader, 0, nil}, {60, 108, nil}, {0, 168, nil},
				{40, 0, []int{1}}, {40, 0, []int{BufferSize}}, {40, 0, []int{5, 6, 7, 8, 9, 10, 11, 12}},
				{40, 0, []int{BufferSize, BufferSize, BufferSize, pool.MaxPDU - 40 - 3*BufferSize}}, // 65,535 octets
			} {
				header := octets(uint64(n), c.header)
				var p *pool.Packet
				var want []byte
				if len(c.payload) == 0 {
					b := octets(uint64(n)+100, c.inline)
					p, want = from.inline(header, b), join2(header, b)
				} else {
					var bs [][]byte
					for k, l := range c.payload {
						bs = append(bs, octets(uint64(n*10+k), l))
					}
					p, want = from.pieces(t, header, bs...), join2(header, bytes.Join(bs, nil))
				}
				from.send(p)
				got := to.want(t, want)
				if got.Partial != p.Partial || int(got.Header) != c.header || int(got.NPieces) != len(c.payload) {
					t.Errorf("received %+v of %+v", got, p)
				}
				to.free(got)
				to.flush()
				to.wantNothing(t)
			}
			mustRoom(t, from, Slots)
			from.reclaim(from.at(0))
			if n := from.at(0).bufs.Used(); n != 0 || from.at(0).st.IDs.Free != PDUs {
				t.Errorf("%d buffers in use, %d identifiers free when all is released", n, from.at(0).st.IDs.Free)
			}
			wantCounters(t, from, Counters{})
			wantCounters(t, to, Counters{})
		}
	}
}

// Nothing shows before Flush; then all of it does, in order.
func TestFlushShows(t *testing.T) {
	a, b := newPair(t, false)
	for i := range 3 {
		a.Send(a.inline([]byte{byte(i)}, nil))
	}
	if b.Pending() {
		t.Error("pending before Flush")
	}
	b.wantNothing(t)
	a.flush()
	if !b.Pending() {
		t.Error("nothing pending after Flush")
	}
	for i := range 3 {
		b.want(t, []byte{byte(i)})
	}
	if a.Backlog(0) != 3 {
		t.Errorf("backlog %d before the peer has shown what it saw, want 3", a.Backlog(0))
	}
	b.flush()
	if a.Backlog(0) != 0 || b.Pending() {
		t.Errorf("backlog %d, pending %v; want 0, false", a.Backlog(0), b.Pending())
	}
}

// A peer that sleeps is rung for a packet, and when what it has asked for has been seen; not
// again for what it was shown before.
func TestRingsForWhatIsNew(t *testing.T) {
	a, b := newPair(t, false)
	wantRings := func(what string, want uint64) {
		t.Helper()
		if n := b.Counters().Rings; n != want {
			t.Errorf("%s: %d rings, want %d", what, n, want)
		}
	}
	a.bell.Sleep(1)
	b.send(b.inline([]byte{1}, nil))
	wantRings("a packet", 1)
	a.bell.Sleep(1)
	b.touch(b.at(0))
	b.flush()
	wantRings("nothing new", 1)
	a.send(a.inline([]byte{1}, nil))
	a.send(a.inline([]byte{2}, nil))
	a.Notify(0, true, false)
	a.send(a.inline([]byte{3}, nil))
	b.want(t, []byte{1})
	b.flush()
	wantRings("one of two packets seen", 1)
	b.want(t, []byte{2})
	b.flush()
	wantRings("both seen", 2)
	a.bell.Sleep(1)
	b.want(t, []byte{3})
	b.flush()
	wantRings("one more seen, which nobody asked for", 2)
}

func TestFullSlotsAreNoRoom(t *testing.T) {
	a, b := newPair(t, false)
	startAt(^uint32(100), a, b)
	for i := range Slots {
		mustRoom(t, a, Slots-i)
		a.Send(a.inline([]byte{byte(i)}, nil))
	}
	mustRoom(t, a, 0)
	a.flush()
	for i := range 10 {
		b.want(t, []byte{byte(i)})
	}
	mustRoom(t, a, 0)
	b.flush()
	mustRoom(t, a, 10)
	wantCounters(t, a, Counters{})
}

// A peer that holds packets holds their identifiers too.
func TestExhaustedIdentifiersAreNoRoom(t *testing.T) {
	a, b := newPair(t, false)
	buf, off := a.Alloc(0)
	var got []*pool.Packet
	for range PDUs {
		p := &pool.Packet{Header: 1, NPieces: 1, Region: pool.TxRegion(0), Payload: 10}
		p.Bufs[0], p.Pieces[0] = buf, pool.Piece{Off: off, Len: 10}
		a.Send(p)
		a.flush()
		q := &pool.Packet{}
		if !b.Receive(q) {
			t.Fatal("nothing received")
		}
		got = append(got, q)
		b.flush()
		if crowded := len(got) >= holdLimit; b.Crowded(0) != crowded {
			t.Fatalf("%d held: crowded %v", len(got), b.Crowded(0))
		}
	}
	mustRoom(t, a, 0)
	if a.Backlog(0) != 0 {
		t.Errorf("backlog %d", a.Backlog(0))
	}
	b.free(got[PDUs/2])
	mustRoom(t, a, 0)
	b.flush()
	mustRoom(t, a, 1)
	for i, p := range got {
		if i != PDUs/2 {
			b.free(p)
		}
	}
	b.flush()
	mustRoom(t, a, Slots)
	if refs := a.at(0).bufs.Refs(buf); refs != 1 {
		t.Errorf("%d references to the buffer, want 1", refs)
	}
}

func TestTxLimit(t *testing.T) {
	a, b := newPair(t, false)
	var bufs []uint32
	for {
		i, _ := a.Alloc(0)
		if i == pool.None {
			break
		}
		bufs = append(bufs, i)
	}
	if len(bufs) != Buffers {
		t.Errorf("%d buffers, want %d", len(bufs), Buffers)
	}
	a.SetTxLimit(1)
	for _, i := range bufs {
		a.Unref(pool.TxRegion(0), i)
	}
	// What the peer has not released counts, until it is released.
	p := a.pieces(t, []byte{1}, []byte("hello"))
	a.send(p)
	if i, _ := a.Alloc(0); i != pool.None {
		t.Errorf("buffer %d beyond the limit of 1", i)
	}
	if n := a.Memory(); n != BufferSize || a.Spare(0) || !a.Spare(pool.NoCircuit) {
		t.Errorf("%d octets in use, want %d; spare %v with no connection", n, BufferSize, a.Spare(0))
	}
	if a.Use(0, 1); !a.Spare(0) {
		t.Error("one buffer of one connection is too many")
	}
	b.free(b.want(t, []byte("\x01hello")))
	b.flush()
	if i, _ := a.Alloc(0); i == pool.None {
		t.Error("no buffer, though the only one was released")
	}
}

// A peer asks to be woken only for what it waits for.
func TestNotify(t *testing.T) {
	a, b := newPair(t, false)
	p := a.pieces(t, []byte{1}, []byte("x"))
	a.Send(p)
	a.drop(p)
	a.Notify(0, true, true)
	a.flush()
	a.bell.Sleep(1)
	wantRings := func(what string, want uint64) {
		t.Helper()
		if n := b.Counters().Rings; n != want {
			t.Errorf("%s: %d rings, want %d", what, n, want)
		}
	}
	b.flush()
	wantRings("nothing to show", 0)
	if a.Pending() {
		t.Error("pending, though nothing has come about")
	}
	q := b.want(t, []byte("\x01x"))
	b.flush()
	wantRings("packet seen", 1)
	if !a.Pending() {
		t.Error("not pending: the packet has been seen")
	}
	a.Notice()
	if a.Pending() {
		t.Error("pending after Notice")
	}
	a.bell.Sleep(1)
	b.free(q)
	b.flush()
	wantRings("packet released", 2)
	if !a.Pending() {
		t.Error("not pending: the packet has been released")
	}
	a.Notice()
	if a.Pending() || a.at(0).bufs.Used() != 0 {
		t.Errorf("after Notice: pending %v, %d buffers in use", a.Pending(), a.at(0).bufs.Used())
	}
	a.bell.Sleep(1)
	p = a.pieces(t, []byte{1}, []byte("y"))
	a.send(p)
	b.free(b.want(t, []byte("\x01y")))
	b.flush()
	wantRings("nobody waits", 2)
	a.Notify(9, true, true) // no such circuit
}

func TestPacketWithoutACircuit(t *testing.T) {
	a, _ := newPair(t, false)
	p := a.inline([]byte{1}, nil)
	for _, i := range []uint16{1, MaxCircuits, pool.NoCircuit} {
		p.Circuit = i
		a.Send(p)
		if buf, _ := a.Alloc(i); buf != pool.None || a.Room(i) != 0 || a.Backlog(i) != 0 || a.Usable(i) || a.Mapped(i) || a.Crowded(i) {
			t.Errorf("circuit %d is of use", i)
		}
		a.Use(i, 0)
	}
	wantCounters(t, a, Counters{Dropped: 3})
	if a.Octets(pool.RxRegion(1)) != nil {
		t.Error("memory of no circuit")
	}
}

// Circuits have their turn: one with much to say does not keep the other waiting.
func TestCircuitsTakeTurns(t *testing.T) {
	hub, a, b := newSide(t, leftVCI, false), newSide(t, rightVCI, false), newSide(t, wire.NewVCI(2, 7), false)
	joinPools(t, hub, a)
	joinPools(t, hub, b)
	for range Slots {
		a.Send(a.inline([]byte("a"), nil))
	}
	a.flush()
	b.send(b.inline([]byte("b"), nil))
	var p pool.Packet
	for n := 1; ; n++ {
		if !hub.Receive(&p) {
			t.Fatal("b was not heard")
		}
		if p.Data[0] == 'b' {
			if n > burst+1 || p.Circuit != 1 || p.Region != pool.RxRegion(1) {
				t.Errorf("b's packet comes by circuit %d as number %d", p.Circuit, n)
			}
			break
		}
	}
	n := 0
	for hub.Receive(&p) {
		n++
	}
	if n == 0 || hub.at(0).st.PacketsIn != Slots || hub.at(1).st.PacketsIn != 1 {
		t.Errorf("%d and %d packets", hub.at(0).st.PacketsIn, hub.at(1).st.PacketsIn)
	}
}

// traffic is two pools that send each other packets, beside what is on its way.
type traffic struct {
	sides [2]*side
	way   [2][]*sent // to sides[i], not received
	held  [2][]*sent // by sides[i]
	seed  uint64
}

type sent struct {
	octets []byte
	packet *pool.Packet
}

func (m *traffic) side(t *rapid.T) int { return rapid.IntRange(0, 1).Draw(t, "side") }

func (m *traffic) send(t *rapid.T) {
	i := m.side(t)
	s := m.sides[i]
	if s.Room(0) == 0 || s.at(0).bufs.Available() < pool.MaxPieces {
		return // no room
	}
	m.seed++
	header := octets(m.seed, rapid.IntRange(1, maxHeader).Draw(t, "header"))
	var p *pool.Packet
	want := header
	if n := rapid.IntRange(0, pool.MaxPieces).Draw(t, "pieces"); n == 0 {
		b := octets(m.seed+1, rapid.IntRange(0, pool.MaxData-wire.AAL5Len-len(header)).Draw(t, "inline"))
		p, want = s.inline(header, b), join2(header, b)
	} else {
		var bs [][]byte
		for range n {
			m.seed++
			bs = append(bs, octets(m.seed, rapid.IntRange(1, 2000).Draw(t, "length")))
		}
		p, want = s.pieces(t, header, bs...), join2(header, bytes.Join(bs, nil))
	}
	s.send(p)
	m.way[1-i] = append(m.way[1-i], &sent{octets: want})
}

func (m *traffic) receive(t *rapid.T) {
	i := m.side(t)
	if len(m.way[i]) == 0 {
		m.sides[i].wantNothing(t)
		return
	}
	w := m.way[i][0]
	m.way[i] = m.way[i][1:]
	w.packet = m.sides[i].want(t, w.octets)
	if w.packet.NPieces > 0 {
		m.held[i] = append(m.held[i], w)
	}
}

// release gives back part of a packet that is held, whichever: until then its
// octets stay.
func (m *traffic) release(t *rapid.T) {
	i := m.side(t)
	if len(m.held[i]) == 0 {
		return
	}
	k := rapid.IntRange(0, len(m.held[i])-1).Draw(t, "packet")
	w := m.held[i][k]
	if got := m.sides[i].content(w.packet); !bytes.Equal(got, w.octets) {
		t.Fatalf("a packet of %d octets changed while it was held", len(w.octets))
	}
	for left := int(w.packet.NPieces); left > 0; {
		n := rapid.IntRange(1, left).Draw(t, "pieces")
		m.sides[i].Release(0, w.packet.ID, n)
		left -= n
	}
	m.held[i] = append(m.held[i][:k], m.held[i][k+1:]...)
	m.sides[i].flush()
}

// rebuild makes anew what the death of a lock's holder may have left wrong.
func (m *traffic) rebuild(t *rapid.T) {
	i := m.side(t)
	s := m.sides[i]
	holds := map[uint32]uint32{}
	for _, w := range m.held[i] {
		holds[w.packet.ID] = uint32(w.packet.NPieces)
	}
	s.at(0).st.IDs.Head, s.at(0).st.Held = 3, 77
	clear(s.refs[:Buffers])
	s.Rebuild(
		func(uint16, uint32) uint32 { return 0 },
		func(region uint16, id uint32) uint32 { return holds[id] },
	)
	s.flush()
}

func (m *traffic) check(t *rapid.T) {
	for i, s := range m.sides {
		want := 0
		for _, w := range m.held[i] {
			want += int(w.packet.NPieces)
		}
		if got := int(s.at(0).st.Held); got != want {
			t.Fatalf("side %d: %d pieces held, want %d", i, got, want)
		}
		if *s.Counters() != (Counters{}) {
			t.Fatalf("side %d counts %+v", i, *s.Counters())
		}
		if s.Backlog(0) < len(m.way[1-i]) {
			t.Fatalf("side %d: backlog %d, %d on their way", i, s.Backlog(0), len(m.way[1-i]))
		}
	}
}

// drain receives and releases all, and finds nothing in use any more.
func (m *traffic) drain(t *rapid.T) {
	for i, s := range m.sides {
		for _, w := range m.way[i] {
			s.free(s.want(t, w.octets))
		}
		for _, w := range m.held[i] {
			s.free(w.packet)
		}
		s.wantNothing(t)
		s.flush()
	}
	for i, s := range m.sides {
		s.reclaim(s.at(0))
		if s.at(0).bufs.Used() != 0 || s.at(0).st.IDs.Free != PDUs || s.at(0).st.Held != 0 || s.Room(0) != Slots {
			t.Fatalf("side %d, at rest: %d buffers, %d identifiers free, %d pieces held, room %d", i, s.at(0).bufs.Used(), s.at(0).st.IDs.Free, s.at(0).st.Held, s.Room(0))
		}
	}
}

// Whatever two pools send each other arrives in order and unaltered, stays as it
// is while it is held, and leaves nothing behind; also where counters wrap.
func TestTraffic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		crc := rapid.Bool().Draw(t, "crc")
		a, b := newPair(t, crc)
		startAt(rapid.SampledFrom([]uint32{0, ^uint32(0), ^uint32(20), 1<<31 - 5}).Draw(t, "start"), a, b)
		m := &traffic{sides: [2]*side{a, b}, seed: 1}
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "send": m.send, "send more": m.send, "receive": m.receive, "release": m.release, "rebuild": m.rebuild,
		})
		m.drain(t)
	})
}
