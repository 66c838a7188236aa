package ring

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// hub is a pool with a circuit to each of many others.
type hub struct {
	*side
	peers []*side
}

func newHub(t tb, n int) *hub {
	h := &hub{side: newSide(t, leftVCI, false)}
	for i := range n {
		p := newSide(t, wire.NewVCI(2, i+1), false)
		joinPools(t, h.side, p)
		h.peers = append(h.peers, p)
	}
	h.Changed()
	return h
}

// rest lets so many turns go by that a circuit by which nothing comes is cold.
func (h *hub) rest() {
	for range warmTurns + 1 {
		h.Notice()
	}
}

// drain takes what there is.
func (h *hub) drain(t tb) {
	for turns := 0; h.Arm(); turns++ {
		if turns > len(h.peers) {
			t.Fatalf("something is left after %d turns", turns)
		}
		h.turn()
	}
}

// chill takes what there is, and makes all circuits cold.
func (h *hub) chill(t tb) {
	h.drain(t)
	h.rest()
	if n := h.warmth.n.Load(); n != 0 && len(h.peers) > fewCircuits {
		t.Fatalf("%d circuits are warm", n)
	}
}

// says has a peer send a packet.
func (h *hub) says(peer int) {
	p := h.peers[peer]
	p.send(p.inline([]byte(fmt.Sprint(peer)), nil))
}

// turn takes what a turn finds, and returns whose it is.
func (h *hub) turn() (from []int) {
	h.Notice()
	for {
		var p pool.Packet
		if !h.Receive(&p) {
			h.flush()
			return from
		}
		var peer int
		fmt.Sscan(string(p.Data[:p.Header]), &peer)
		from = append(from, peer)
	}
}

// looksFor returns in how many looks all cold circuits have been looked at.
func looksFor(n int) int { return 2 + n/(coldAtOnce+n/coldShare) }

// Whatever circuit something comes by: who looks again and again sees it, and the turn after
// that takes it.
func TestGlanceSeesEveryCircuit(t *testing.T) {
	for _, n := range []int{1, fewCircuits, fewCircuits + 1, 100} {
		h := newHub(t, n)
		for peer := range n {
			h.chill(t)
			h.says(peer)
			for looks := 1; !h.Glance(); looks++ {
				if looks > looksFor(n) {
					t.Fatalf("%d circuits: %d looks, and what came by circuit %d is not seen", n, looks, peer)
				}
			}
			if from := h.turn(); len(from) != 1 || from[0] != peer {
				t.Fatalf("%d circuits: the turn has packets of %v, want one of %d", n, from, peer)
			}
			if h.Glance() || h.Pending() {
				t.Fatalf("%d circuits: something is left", n)
			}
		}
	}
}

// Who is about to sleep sees it at once, and so does then whoever looks, and the next turn.
func TestArmSeesEveryCircuit(t *testing.T) {
	h := newHub(t, 100)
	for peer := range h.peers {
		h.chill(t)
		h.says(peer)
		if !h.Arm() || !h.Glance() {
			t.Fatalf("what came by circuit %d is not seen", peer)
		}
		if from := h.turn(); len(from) != 1 || from[0] != peer {
			t.Fatalf("the turn has packets of %v, want one of %d", from, peer)
		}
	}
}

// A circuit by which something comes all the time keeps none from being heard, though
// nobody looks before turns that have something to do anyway.
func TestABusyCircuitStarvesNone(t *testing.T) {
	h := newHub(t, 100)
	for _, quiet := range []int{1, 50, 99} {
		h.chill(t)
		h.says(quiet)
		heard := false
		for turns := 0; !heard; turns++ {
			if turns > looksFor(100) {
				t.Fatalf("in %d turns circuit %d was not heard", turns, quiet)
			}
			h.says(0)
			for _, peer := range h.turn() {
				heard = heard || peer == quiet
			}
		}
	}
}

// A circuit by which something comes now and then stays warm.
func TestACircuitStaysWarm(t *testing.T) {
	h := newHub(t, 10)
	h.says(7)
	h.drain(t)
	for range 5 {
		for range warmTurns * 2 / 3 {
			h.Notice()
		}
		if h.says(7); !h.Glance() || !h.at(7).warm.Load() {
			t.Fatal("it has got cold")
		}
		h.drain(t)
	}
}

// What a look costs depends on the circuits that are busy, and hardly on how many there are.
func TestGlanceLooksAtFew(t *testing.T) {
	const n, busy = 200, 3
	h := newHub(t, n)
	h.chill(t)
	for peer := range busy {
		h.says(peer)
		h.drain(t)
	}
	looks := 0
	shm.SetYield(func() { looks++ })
	defer shm.SetYield(nil)
	h.Glance()
	if want := busy + coldAtOnce + n/coldShare; looks > want {
		t.Errorf("a glance looks at %d circuits, want %d", looks, want)
	}
	looks = 0
	h.Pending()
	if looks != n {
		t.Errorf("Pending looks at %d circuits, want %d", looks, n)
	}
}

// What Notify has asked for is seen and taken note of on cold circuits, too.
func TestNotifyOnAColdCircuit(t *testing.T) {
	for _, look := range []func(h *hub) bool{(*hub).looks, (*hub).arms} {
		h := newHub(t, 20)
		for peer, p := range h.peers {
			packet := &pool.Packet{Circuit: uint16(peer), Header: 1, Region: pool.TxRegion(uint16(peer)), NPieces: 1, Payload: 1}
			buf, off := h.Alloc(uint16(peer))
			packet.Bufs[0], packet.Pieces[0] = buf, pool.Piece{Off: off, Len: 1}
			h.send(packet)
			h.Notify(uint16(peer), true, true)
			h.chill(t)
			q := p.want(t, []byte("\x00\x00"))
			p.flush()
			if !look(h) {
				t.Fatalf("circuit %d: it is not seen that the packet has been seen", peer)
			}
			h.Notice()
			if h.Pending() {
				t.Fatalf("circuit %d: no note is taken of it", peer)
			}
			h.chill(t)
			p.free(q)
			p.flush()
			if !look(h) {
				t.Fatalf("circuit %d: it is not seen that the packet has been released", peer)
			}
			h.Notice()
			if h.Pending() || h.at(uint16(peer)).bufs.Used() != 0 {
				t.Fatalf("circuit %d: no note is taken of that", peer)
			}
		}
	}
}

func (h *hub) arms() bool { return h.Arm() }

func (h *hub) looks() bool {
	for range looksFor(len(h.peers)) {
		if h.Glance() {
			return true
		}
	}
	return false
}

// Circuits that go are forgotten, warm ones too, and what came by them with them.
func TestCircuitsThatGoAreForgotten(t *testing.T) {
	h := newHub(t, 20)
	for peer := range h.peers {
		h.says(peer)
	}
	h.drain(t)
	if n := h.warmth.n.Load(); n != 20 {
		t.Errorf("%d circuits are warm, want 20", n)
	}
	h.chill(t)
	h.says(7)
	if h.says(12); !h.Arm() { // and 7 is found
		t.Fatal("nothing is seen")
	}
	for _, peer := range []int{7, 3, 19} {
		h.Close(h.peers[peer].vci)
	}
	h.Collect()
	h.Changed()
	if c := h.warmth.found.Load(); c != nil {
		t.Errorf("circuit %d has gone and is found", c.index)
	}
	if !h.looks() {
		t.Error("what came by another one is not seen")
	}
	if from := h.turn(); len(from) != 1 || from[0] != 12 {
		t.Errorf("the turn has packets of %v, want one of 12", from)
	}
	joinPools(t, h.side, newSide(t, wire.NewVCI(2, 500), false))
	if h.at(3) == nil || h.at(3).warm.Load() {
		t.Error("a new circuit is not there, or warm")
	}
}

// Whatever comes, and whoever looks, at whatever circuits there are: all that was sent is
// received, in each circuit's order, and no circuit is in the list twice.
func TestManyCircuits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	h := newHub(t, 40)
	outstanding := make([]int, 40)
	took := func() {
		for _, peer := range h.turn() {
			outstanding[peer]--
		}
	}
	for range 20_000 {
		switch r.IntN(6) {
		case 0:
			if peer := min(r.IntN(40), r.IntN(40)); outstanding[peer] < Slots/2 {
				h.says(peer)
				outstanding[peer]++
			}
		case 1:
			if h.Glance() {
				took()
			}
		case 2:
			took()
		case 3:
			h.Arm()
		case 4:
			if r.IntN(1000) == 0 {
				h.rest()
				took()
			}
		case 5:
			c := h.at(uint16(r.IntN(40)))
			if r.IntN(2) == 0 {
				h.cool(c)
			} else {
				h.heat(c)
			}
		}
		warm := map[*circuit]bool{}
		for i := range h.warmth.n.Load() {
			warm[h.warmth.list[i].Load()] = true
		}
		for _, c := range *h.active.Load() {
			if c.warm.Load() != warm[c] {
				t.Fatalf("circuit %d is warm: %v", c.index, c.warm.Load())
			}
			delete(warm, c)
		}
		if len(warm) != 0 {
			t.Fatal("somebody else is warm")
		}
	}
	for turns := 0; h.Arm(); turns++ {
		if turns > 40 {
			t.Fatalf("something is left after %d turns", turns)
		}
		took()
	}
	for peer, n := range outstanding {
		if n != 0 {
			t.Errorf("%d packets by circuit %d are missing", n, peer)
		}
	}
}

// BenchmarkGlance is what a look costs when nothing has come, with one warm circuit of so many.
func BenchmarkGlance(b *testing.B) {
	for _, n := range []int{1, 4, 10, 100, 400} {
		h := newHub(b, n)
		h.chill(b)
		h.says(0)
		h.drain(b)
		b.Run(fmt.Sprintf("%d circuits", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if h.Glance() {
					b.Fatal("something has come")
				}
			}
		})
		b.Run(fmt.Sprintf("%d circuits, all of them", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if h.Pending() {
					b.Fatal("something has come")
				}
			}
		})
	}
}
