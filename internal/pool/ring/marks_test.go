package ring

import (
	"testing"

	"usertcp/internal/pool"
)

// Each row is a moment of a step, as its writes leave it: the marked word, and how
// far the counter is. The packet must come out as ours or not ours, whole.
func TestMarks(t *testing.T) {
	for _, count := range []uint32{0, 7, 1<<26 - 1, 1 << 26, 1<<31 - 1, ^uint32(0)} {
		c := &circuit{st: &circuitState{Sent: count, Reclaimed: count, Seen: count, Released: count}}
		after := &circuit{st: &circuitState{Sent: count + 1, Reclaimed: count + 1, Seen: count + 1, Released: count + 1}}
		for _, row := range []struct {
			what string
			at   *circuit
			word uint32
			want uint32
		}{
			{"about to send", c, mark(markPin, count, 3), 0},
			{"sent", after, mark(markPin, count, 3), 3},
			{"on its way", after, 3, 3},
			{"about to take back", c, mark(markUnpin, count, 8), 8},
			{"taken back", after, mark(markUnpin, count, 8), 0},
			{"free", after, 0, 0},
		} {
			if got := row.at.settlePDU(row.word); got != row.want {
				t.Errorf("counter %d, %s: %d pieces on their way, want %d", count, row.what, got, row.want)
			}
		}
		for _, row := range []struct {
			what string
			at   *circuit
			word uint32
			want bool
		}{
			{"about to take", c, mark(markTake, count, 2), false},
			{"taken", after, mark(markTake, count, 2), true},
			{"held", after, 2, true},
			{"to be released by the other half", after, releaseLater, true},
			{"about to release", c, mark(markTell, count, 0), true},
			{"released", after, mark(markTell, count, 0), false},
			{"not held", after, 0, false},
		} {
			if got := row.at.settleHold(row.word); got != row.want {
				t.Errorf("counter %d, %s: ours %v, want %v", count, row.what, got, row.want)
			}
		}
	}
}

// A process that had released packets, or sent some, and died before it showed
// that left the peer's buffers in use: the next Flush shows it, and rings.
func TestRebuildShowsWhatWasNotShown(t *testing.T) {
	a, b := newPair(t, false)
	a.bell.Sleep(1)
	before := b.Counters().Rings
	buf, off := b.Alloc(0)
	p := &pool.Packet{Circuit: 0, Region: pool.TxRegion(0), NPieces: 1, Header: 40, Payload: 10, ID: pool.None}
	p.Pieces[0], p.Bufs[0] = pool.Piece{Off: off, Len: 10}, buf
	b.Send(p)
	b.Unref(pool.TxRegion(0), buf)
	b.dirty, b.at(0).dirty = nil, false // the process has died, and another goes on
	none := func(uint16, uint32) uint32 { return 0 }
	b.Rebuild(none, none)
	b.flush()
	if b.Counters().Rings == before {
		t.Error("the peer sleeps, and was not rung")
	}
	if !a.Receive(new(pool.Packet)) {
		t.Error("the packet was not shown")
	}
}

// A process that died after it had shown what it had sent, and before it had noted that: the
// next one shows it once more, and it is received once.
func TestRebuildShowsWhatWasShownAgain(t *testing.T) {
	a, b := newPair(t, false)
	b.send(b.inline([]byte("head"), []byte("once")))
	a.want(t, []byte("headonce"))
	a.flush()
	b.at(0).st.Shown = 0
	none := func(uint16, uint32) uint32 { return 0 }
	b.Rebuild(none, none)
	b.flush()
	a.wantNothing(t)
	b.send(b.inline([]byte("head"), []byte("more")))
	a.want(t, []byte("headmore"))
}

// A process that dies while it releases one packet, with others of lower numbers that
// nothing refers to any more: each is released once, whichever comes first.
func TestRebuildReleasesWhatWasAboutToBeReleased(t *testing.T) {
	a, b := newPair(t, false)
	var got [3]pool.Packet
	for i := range got {
		b.send(b.pieces(t, []byte("head"), []byte("some octets")))
		if !a.Receive(&got[i]) {
			t.Fatal("nothing arrived")
		}
	}
	c := a.at(0)
	last := got[len(got)-1].ID
	c.holds[last] = mark(markTell, c.st.Released, 0)
	none := func(uint16, uint32) uint32 { return 0 }
	a.Rebuild(none, none)
	a.flush()
	if tx, _ := b.InUse(); tx != 0 || b.Counters().BadRelease != 0 {
		t.Errorf("%d buffers of the peer were not released, %d releases were wrong", tx, b.Counters().BadRelease)
	}
}
