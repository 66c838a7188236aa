package ring

import (
	"bytes"
	"math/rand/v2"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(f func())
}

// side is one pool: the driver of its bottom half, and what peers need of it.
type side struct {
	*Driver
	seg   *shm.Segment
	page  *shm.Segment
	bell  *shm.Bell
	doors [2]shm.Doorbell
}

func newSide(t tb, vci wire.VCI, crc bool) *side {
	t.Helper()
	s := &side{}
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var err error
	s.seg, err = shm.Create("test-pool", 1, Specs()...)
	must(err)
	must(Initialise(s.seg, crc))
	s.Driver, err = NewDriver(s.seg, vci)
	must(err)
	s.page, err = NewBellPage()
	must(err)
	s.bell, err = shm.One[shm.Bell](s.page, SectionBell)
	must(err)
	for i := range s.doors {
		s.doors[i], err = shm.NewDoorbell()
		must(err)
	}
	t.Cleanup(s.close)
	return s
}

func (s *side) close() {
	for _, c := range *s.circuits.Load() {
		if c != nil {
			c.unmap()
		}
	}
	s.seg.Close()
	s.page.Close()
	s.doors[0].Close()
	s.doors[1].Close()
}

// offers returns what a peer maps of s, and of the memory of its end.
func (s *side) offers(t tb, mem *shm.Segment) Peer {
	t.Helper()
	var p Peer
	var err error
	if p.Memory, err = mem.ReadOnly(); err != nil {
		t.Fatal(err)
	}
	if p.Bell, err = s.page.ReadOnly(); err != nil {
		t.Fatal(err)
	}
	p.Top, p.Bottom = dupFd(t, s.doors[0].Fd()), dupFd(t, s.doors[1].Fd())
	return p
}

func dupFd(t tb, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// offer offers a circuit to remote, and returns it and its memory.
func (s *side) offer(t tb, remote wire.VCI) (uint16, *shm.Segment) {
	t.Helper()
	mem, err := s.NewMemory(remote)
	if err != nil {
		t.Fatal(err)
	}
	i, err := s.Offer(remote, mem)
	if err != nil {
		t.Fatal(err)
	}
	return i, mem
}

// joinPools joins two pools by a circuit, and returns its index at each of them.
func joinPools(t tb, a, b *side) (ia, ib uint16) {
	t.Helper()
	ia, memA := a.offer(t, b.vci)
	if a == b {
		if err := a.Complete(ia, a.offers(t, memA)); err != nil {
			t.Fatal(err)
		}
		return ia, ia
	}
	ib, memB := b.offer(t, a.vci)
	if err := a.Complete(ia, b.offers(t, memB)); err != nil {
		t.Fatal(err)
	}
	if err := b.Complete(ib, a.offers(t, memA)); err != nil {
		t.Fatal(err)
	}
	return ia, ib
}

var leftVCI, rightVCI = wire.NewVCI(1, 5), wire.NewVCI(2, 6)

// newPair returns two pools with a circuit between them, number 0 at both.
func newPair(t tb, crc bool) (a, b *side) {
	t.Helper()
	a, b = newSide(t, leftVCI, crc), newSide(t, rightVCI, crc)
	joinPools(t, a, b)
	a.Changed()
	b.Changed()
	return a, b
}

// set writes both counts, whatever the circuit has.
func (c *counts) set(sent, seen uint32) { c.word.Store(bothCounts(sent, seen)) }

// at returns circuit i as the driver has it.
func (s *side) at(i uint16) *circuit { return s.circuit(i) }

// startAt makes the counters of both ends of circuit 0 begin at n.
func startAt(n uint32, sides ...*side) {
	for _, s := range sides {
		c := s.at(0)
		c.st.Sent, c.st.Seen, c.st.Released, c.st.Reclaimed = n, n, n, n
		c.st.Shown = bothCounts(n, n)
		c.ownEnd.counts.set(n, n)
		c.ownEnd.released.Store(n)
	}
}

// inline makes a packet of a header and a payload in the packet itself.
func (s *side) inline(header, payload []byte) *pool.Packet {
	p := &pool.Packet{Header: uint16(len(header)), Inline: uint16(len(payload)), Payload: uint32(len(payload)), Partial: true}
	copy(p.Data[copy(p.Data[:], header):], payload)
	return p
}

// pieces makes a packet of a header and pieces, each in a buffer of its own. The
// packet has the buffers' only references: drop gives them up after Send.
func (s *side) pieces(t tb, header []byte, payload ...[]byte) *pool.Packet {
	t.Helper()
	p := &pool.Packet{Header: uint16(len(header)), NPieces: uint8(len(payload)), Region: pool.TxRegion(0)}
	copy(p.Data[:], header)
	for i, b := range payload {
		buf, off := s.Alloc(0)
		if buf == pool.None {
			t.Fatal("no buffer left")
		}
		copy(s.Octets(p.Region)[off:], b)
		p.Bufs[i], p.Pieces[i] = buf, pool.Piece{Off: off, Len: uint32(len(b))}
		p.Payload += uint32(len(b))
	}
	return p
}

func (s *side) drop(p *pool.Packet) {
	for _, b := range p.Bufs[:p.NPieces] {
		s.Unref(pool.TxRegion(p.Circuit), b)
	}
}

// send sends packets and shows them to the peer.
func (s *side) send(ps ...*pool.Packet) {
	for _, p := range ps {
		s.Send(p)
		s.drop(p)
	}
	s.flush()
}

func (s *side) flush() shm.Rings {
	var r shm.Rings
	s.Flush(&r)
	return r
}

// content returns header and payload of a received packet.
func (s *side) content(p *pool.Packet) []byte {
	b := append([]byte(nil), p.Data[:p.Header+p.Inline]...)
	for _, q := range p.Pieces[:p.NPieces] {
		b = append(b, s.Octets(p.Region)[q.Off:q.Off+q.Len]...)
	}
	return b
}

func (s *side) free(p *pool.Packet) {
	if p.NPieces > 0 {
		s.Release(p.Circuit, p.ID, int(p.NPieces))
	}
}

// want receives a packet and compares it.
func (s *side) want(t tb, want []byte) *pool.Packet {
	t.Helper()
	p := &pool.Packet{}
	if !s.Receive(p) {
		t.Fatalf("nothing received, want %d octets; %+v", len(want), *s.Counters())
	}
	if got := s.content(p); !bytes.Equal(got, want) {
		t.Fatalf("received %d octets, want %d, or others", len(got), len(want))
	}
	if int(p.Payload)+int(p.Header) != len(want) {
		t.Fatalf("payload of %d octets behind %d of headers, want %d in all", p.Payload, p.Header, len(want))
	}
	return p
}

func (s *side) wantNothing(t tb) {
	t.Helper()
	var p pool.Packet
	if s.Receive(&p) {
		t.Fatalf("received a packet of %d octets", int(p.Header)+int(p.Payload))
	}
}

// octets returns n octets that depend on seed.
func octets(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func join2(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

func wantCounters(t tb, s *side, want Counters) {
	t.Helper()
	got := *s.Counters()
	got.Rings = want.Rings
	if got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

func mustRoom(t tb, s *side, want int) {
	t.Helper()
	if got := s.Room(0); got != want {
		t.Errorf("room for %d packets, want %d", got, want)
	}
}
