package server

import (
	"slices"
	"testing"

	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// What another host does not have any more is detached from; what it has, and what is
// another host's, is not.
func TestCensusDetachesWhatIsGone(t *testing.T) {
	dir := t.TempDir()
	s1, s2 := start(t, dir, addr1), start(t, dir, addr2)
	a, alive := spawn(t, s1), spawn(t, s2)
	other := s2.RingID()
	dead := wire.NewVCI(other, 900)
	third := wire.NewVCI(other^8, 900)
	c := s1.child(a.vci)
	for _, v := range []wire.VCI{alive.vci, dead, third} {
		c.addPeer(v)
	}
	s2.takeCensus()
	a.wantFrame(ring.FrameDetach, dead)
	a.nothing()
	c.mu.Lock()
	left := []wire.VCI{}
	for v := range c.peers {
		left = append(left, v)
	}
	c.mu.Unlock()
	slices.Sort(left)
	want := []wire.VCI{alive.vci, third}
	if slices.Sort(want); !slices.Equal(left, want) {
		t.Errorf("circuits to %v are left, want %v", left, want)
	}
}

// A host that starts asks for the others' in return: they may have told it when it had no
// server.
func TestCensusIsAnswered(t *testing.T) {
	dir := t.TempDir()
	s1, s2 := start(t, dir, addr1), start(t, dir, addr2)
	a := spawn(t, s1)
	dead := wire.NewVCI(s2.RingID(), 900)
	s1.child(a.vci).addPeer(dead)
	s1.takeCensus()
	a.wantFrame(ring.FrameDetach, dead)
}

// A child that no server could take over keeps its VCI and its circuits.
func TestForeignStreamIsNobodyElses(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	s.mu.Lock()
	s.leaveStream(1, true)
	s.leaveStream(2, false)
	s.mu.Unlock()
	if b := s.liveStreams(); b[0] != 1<<1 {
		t.Errorf("streams %b", b[0])
	}
	if a := spawn(t, s); a.vci.Stream() == 1 {
		t.Error("its VCI was given to another")
	}
}
