package server

import (
	"os/exec"
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
	s.leave(foreign{stream: 1})
	s.leave(foreign{stream: wire.WellKnownStream})
	s.mu.Unlock()
	if b := s.liveStreams(); b[0] != 1<<1 {
		t.Errorf("streams %b", b[0])
	}
	if a := spawn(t, s); a.vci.Stream() == 1 {
		t.Error("its VCI was given to another")
	}
}

// One that has ended, as it may while the server looks for children, is nobody's; one that
// ends later is told of: its peers would write for ever to where nobody reads.
func TestForeignChildThatEnds(t *testing.T) {
	dir := t.TempDir()
	s1, s2 := start(t, dir, addr1), start(t, dir, addr2)
	a := spawn(t, s1)
	dead, lives := sleeping(t), sleeping(t)
	end := func(p *process) {
		p.Kill()
		p.cmd.Wait()
	}
	end(dead)
	s2.mu.Lock()
	s2.leave(foreign{900, dead})
	s2.leave(foreign{901, lives})
	s2.mu.Unlock()
	if b := s2.liveStreams(); b[900/8] != 1<<(901%8) {
		t.Errorf("streams %b", b[900/8])
	}
	of := wire.NewVCI(s2.RingID(), 901)
	s1.child(a.vci).addPeer(of)
	s2.takeCensus()
	a.nothing()
	end(lives)
	s2.watchForeign()
	a.wantFrame(ring.FrameDetach, of)
	s2.mu.Lock()
	defer s2.mu.Unlock()
	if s2.streams.taken[901] || s2.streams.taken[900] {
		t.Error("a stream is not free again")
	}
}

// sleeping is a process that does nothing, and is killed when the test ends.
func sleeping(t *testing.T) *process {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return ours(cmd)
}
