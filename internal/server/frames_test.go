package server

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// twoHosts returns servers at 10.1.0.1 and 10.1.0.2 with an application each.
func twoHosts(t *testing.T) (s1, s2 *Server, a, b *app) {
	t.Helper()
	dir := t.TempDir()
	s1, s2 = start(t, dir, addr1), start(t, dir, addr2)
	return s1, s2, spawn(t, s1), spawn(t, s2)
}

func TestAConnectionIsSetUpBetweenTwoHosts(t *testing.T) {
	_, s2, a, b := twoHosts(t)
	other := spawn(t, s2)
	other.listen(5, "10.1.0.2:8080")
	b.listen(7, "0.0.0.0:80")
	local, errno := a.open(3, "0.0.0.0:0", "10.1.0.2:80")
	if errno != 0 || local.Addr.Netip() != addr1 {
		t.Fatalf("forward: %v, %v", local, errno)
	}
	a.sendSegment(local, ep("10.1.0.2:80"), wire.SYN)
	m := b.wantSyn(7, a.vci)
	if m.Local != ep("10.1.0.2:80") || m.Remote != local || !bytes.Equal(m.PDU, packet(local, ep("10.1.0.2:80"), wire.SYN, "")) {
		t.Errorf("Syn %+v", m)
	}
	b.send(message.Message{Type: message.Divert, ID: m.ID})

	// The circuit, both halves, and then segments by way of the servers.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.frame(ring.Frame{Type: ring.FrameAttach, Src: b.vci, Dst: a.vci, N: 1, Files: []int{int(w.Fd())}})
	f := a.wantFrame(ring.FrameAttach, b.vci)
	if len(f.Files) != 1 || f.N != 1 {
		t.Fatalf("attach %+v", f)
	}
	w.Close()
	unix.Write(f.Files[0], []byte("!"))
	message.CloseFiles(f.Files)
	buf := make([]byte, 10)
	if n, err := r.Read(buf); string(buf[:n]) != "!" {
		t.Errorf("through the descriptor came %q, %v", buf[:n], err)
	}
	b.frame(ring.NewPDU(b.vci, a.vci, packet(ep("10.1.0.2:80"), local, wire.SYN|wire.ACK, "")))
	a.wantFrame(ring.FramePDU, b.vci)
	b.nothing()
	other.nothing()
	if n := s2.Snapshot().Children[0].Circuits + s2.Snapshot().Children[1].Circuits; n != 1 {
		t.Errorf("%d circuits known", n)
	}
}

func TestSegmentsFindTheirOwner(t *testing.T) {
	s1, s2, a, b := twoHosts(t)
	c := spawn(t, s2)
	b.listen(1, "10.1.0.2:80")
	if _, errno := c.open(2, "10.1.0.2:4000", "10.1.0.1:5000"); errno != 0 {
		t.Fatal(errno)
	}
	from := func(port int) wire.Endpoint { return ep(fmt.Sprintf("10.1.0.1:%d", port)) }

	a.sendSegment(from(5000), ep("10.1.0.2:4000"), wire.ACK) // of c's connection
	c.wantFrame(ring.FramePDU, a.vci)
	a.sendSegment(from(5000), ep("10.1.0.2:4000"), wire.SYN) // both at once
	c.wantFrame(ring.FramePDU, a.vci)
	a.sendSegment(from(5001), ep("10.1.0.2:80"), wire.ACK) // of a connection of the listener's
	b.wantFrame(ring.FramePDU, a.vci)
	a.sendSegment(from(5001), ep("10.1.0.2:80"), wire.RST|wire.ACK)
	b.wantFrame(ring.FramePDU, a.vci)

	a.sendSegment(from(5001), ep("10.1.0.2:4000"), wire.SYN) // nobody listens there
	h := a.wantReset(s2.vci(), ep("10.1.0.2:4000"), from(5001))
	if h.Flags != wire.RST|wire.ACK || h.Ack != 1001 || h.Seq != 0 {
		t.Errorf("RST to a SYN: %v", &h)
	}
	a.sendSegment(from(5001), ep("10.1.0.2:9"), wire.ACK) // nobody's
	h = a.wantReset(s2.vci(), ep("10.1.0.2:9"), from(5001))
	if h.Flags != wire.RST {
		t.Errorf("RST to an ACK: %v", &h)
	}
	a.sendSegment(from(5001), ep("10.1.0.2:9"), wire.RST) // not answered
	a.nothing()
	b.nothing()
	c.nothing()
	if n := s2.Snapshot().Counters; n.Resets != 2 || n.Syns != 0 {
		t.Errorf("counters %+v", n)
	}
	if n := s1.Snapshot().Counters; n.Forged+n.Unreachable != 0 {
		t.Errorf("counters %+v", n)
	}
}

func TestTwoApplicationsOfOneHostConnect(t *testing.T) {
	s := start(t, t.TempDir(), addr1, addr6)
	a, b := spawn(t, s), spawn(t, s)
	b.listen(1, "[::]:80")
	for _, dst := range []string{"10.1.0.1:80", "[fd00::1]:80"} {
		local, errno := a.call(message.Message{Type: message.Forward, Op: message.OpOpen, Remote: ep(dst)})
		if errno != 0 {
			t.Fatal(errno)
		}
		a.sendSegment(local, ep(dst), wire.SYN)
		b.wantSyn(1, a.vci)
		a.sendSegment(local, wire.Endpoint{Addr: ep(dst).Addr, Port: 81}, wire.SYN)
		a.wantReset(s.vci(), wire.Endpoint{Addr: ep(dst).Addr, Port: 81}, local)
	}
}

func TestARefusedSynIsReset(t *testing.T) {
	_, s2, a, b := twoHosts(t)
	b.listen(1, "10.1.0.2:80")
	src, dst := ep("10.1.0.1:5000"), ep("10.1.0.2:80")
	syn := func(answer unix.Errno) {
		a.sendSegment(src, dst, wire.SYN)
		m := b.wantSyn(1, a.vci)
		for range 2 { // the second has nothing to answer any more
			b.send(message.Message{Type: message.Divert, ID: m.ID, Errno: uint32(answer)})
		}
	}
	syn(unix.ECONNREFUSED)
	a.wantReset(s2.vci(), dst, src)
	syn(unix.ENOBUFS) // no room: the connector tries again
	syn(0)
	a.nothing()
}

func TestAChildThatDoesNotAnswerGetsNoMoreSyns(t *testing.T) {
	_, s2, a, b := twoHosts(t)
	b.listen(1, "10.1.0.2:80")
	for i := range maxSyns + 10 {
		a.sendSegment(ep(fmt.Sprintf("10.1.0.1:%d", 1+i)), ep("10.1.0.2:80"), wire.SYN)
	}
	eventually(t, "the SYNs", func() bool { n := s2.Snapshot().Counters; return n.Syns+n.SynsQueue == maxSyns+10 })
	if n := s2.Snapshot().Counters; n.Syns != maxSyns {
		t.Errorf("counters %+v", n)
	}
	b.send(message.Message{Type: message.Divert, ID: b.wantSyn(1, a.vci).ID})
	eventually(t, "the answer to arrive", func() bool {
		p := &s2.child(b.vci).syns
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.syns) == maxSyns-1
	})
	a.sendSegment(ep("10.1.0.1:999"), ep("10.1.0.2:80"), wire.SYN)
	eventually(t, "another SYN", func() bool { return s2.Snapshot().Counters.Syns == maxSyns+1 })
}

func TestOldSynsAreForgotten(t *testing.T) {
	var p pendingSyns
	now := time.Now()
	for range maxSyns {
		if _, ok := p.add(&segment{}, now); !ok {
			t.Fatal("no room")
		}
	}
	if _, ok := p.add(&segment{}, now.Add(synTimeout-1)); ok {
		t.Error("room for one too many")
	}
	p.lastID = ^uint32(0)
	id, ok := p.add(&segment{len: 5}, now.Add(synTimeout))
	if !ok || id != 1 || len(p.syns) != 1 {
		t.Errorf("ID %d, %v, %d wait; want 1 alone", id, ok, len(p.syns))
	}
	if s, ok := p.remove(1); !ok || s.len != 5 {
		t.Errorf("%+v, %v", s, ok)
	}
	if _, ok := p.remove(1); ok {
		t.Error("twice the same")
	}
}

func TestUnreachableHosts(t *testing.T) {
	_, s2, a, _ := twoHosts(t)
	for remote, want := range map[string]unix.Errno{
		"10.1.0.3:80": unix.EHOSTUNREACH, "[fd00::9]:80": unix.ENETUNREACH, "10.1.0.2:80": 0,
	} {
		_, errno := a.call(message.Message{Type: message.Forward, Op: message.OpOpen, Remote: ep(remote)})
		if errno != want {
			t.Errorf("forward to %s: %v, want %v", remote, errno, want)
		}
	}
	a.sendSegment(ep("10.1.0.1:5000"), ep("10.1.0.3:80"), wire.SYN)
	f := a.wantFrame(ring.FrameUnreachable, 0)
	var s segment
	if err := wire.ParseIP(f.PDU, &s.ip); err != nil || unix.Errno(f.Errno) != unix.EHOSTUNREACH || s.ip.Dst != ep("10.1.0.3:80").Addr {
		t.Errorf("%+v, %v", f, err)
	}
	s2.Close()
	if _, errno := a.open(1, "0.0.0.0:0", "10.1.0.2:80"); errno != unix.EHOSTUNREACH {
		t.Errorf("forward to a host that has gone: %v", errno)
	}
	dead := wire.NewVCI(1, 1)
	a.frame(ring.NewPDU(a.vci, dead, packet(ep("10.1.0.1:5000"), ep("10.1.0.2:80"), wire.ACK, "x")))
	a.wantFrame(ring.FrameUnreachable, dead)
	a.frame(ring.Frame{Type: ring.FrameAttach, Src: a.vci, Dst: dead, Files: []int{0}})
	a.wantFrame(ring.FrameDetach, dead)
}

func TestAChildSpeaksForItselfOnly(t *testing.T) {
	s1, _, a, b := twoHosts(t)
	src, dst := ep("10.1.0.1:5000"), ep("10.1.0.2:80")
	for _, f := range []ring.Frame{
		ring.NewPDU(a.vci+1, 0, packet(src, dst, wire.SYN, "")),                                               // another's VCI
		ring.NewPDU(a.vci, 0, packet(ep("10.1.0.2:5000"), dst, wire.SYN, "")),                                 // another host's address
		ring.NewPDU(a.vci, b.vci, packet(ep("10.1.0.9:5000"), dst, wire.SYN, "")),                             // the same
		ring.NewPDU(a.vci, 0, bytes.Repeat([]byte{0x99}, 40)),                                                 // no IP packet
		{Type: ring.FrameDetach, Src: b.vci, Dst: a.vci},                                                      //
		{Type: ring.FrameMovedKnown, Src: a.vci + 1, Dst: b.vci, N: uint32(b.vci) + 1, PDU: make([]byte, 36)}, //
		{Type: ring.FrameUnreachable, Src: a.vci, Dst: b.vci, Errno: 113},                                     // the server's to say
		{Type: ring.FrameHello, Src: wire.WellKnownVCI(0), Dst: wire.WellKnownVCI(1), N: 1},                   //
		{Type: ring.FrameAttach, Src: a.vci + 1, Dst: b.vci, Files: []int{int(os.Stdin.Fd())}},                //
	} {
		a.frame(f)
	}
	eventually(t, "the frames to be dropped", func() bool { return s1.Snapshot().Counters.Forged == 9 })
	a.nothing()
	b.nothing()
}

func TestPacketsThatAreNotTCPForTheHostAreDropped(t *testing.T) {
	_, s2, a, b := twoHosts(t)
	b.listen(1, "10.1.0.2:80")
	good := packet(ep("10.1.0.1:5000"), ep("10.1.0.2:80"), wire.SYN, "")
	ip := func(change func(*wire.IP)) []byte {
		var h wire.IP
		if err := wire.ParseIP(good, &h); err != nil {
			t.Fatal(err)
		}
		p := bytes.Clone(good)
		change(&h)
		h.Emit(p, len(p)-h.HeaderLen)
		return p
	}
	to := wire.WellKnownVCI(1)
	bad := [][]byte{
		ip(func(h *wire.IP) { h.Proto = 17 }),
		ip(func(h *wire.IP) { h.MoreFragments = true }),
		ip(func(h *wire.IP) { h.Dst = ep("10.1.0.7:1").Addr }),
		append(bytes.Clone(good), 0),
		ip(func(h *wire.IP) {})[:len(good)-1],
		bytes.Repeat([]byte{0x45}, 40),
	}
	short := bytes.Clone(good)
	short[20+12] = 0x10 // a data offset of 4 octets
	for i, p := range append(bad, short) {
		f := ring.NewPDU(a.vci, to, p)
		s2.fromStation(f)
		if n := s2.Snapshot().Counters.BadPackets; n != uint64(i+1) {
			t.Errorf("packet %d was not dropped", i)
		}
	}
	b.nothing()
	s2.fromStation(ring.NewPDU(a.vci, to, good))
	b.wantSyn(1, a.vci)
}

func TestPeersLearnOfAChildsDeath(t *testing.T) {
	s1, s2, a, b := twoHosts(t)
	c := spawn(t, s2)
	attach := func(from, to *app) {
		from.frame(ring.Frame{Type: ring.FrameAttach, Src: from.vci, Dst: to.vci, Files: []int{0}})
		message.CloseFiles(to.wantFrame(ring.FrameAttach, from.vci).Files)
	}
	attach(a, b)
	attach(b, a)
	attach(c, a) // only one half
	c.frame(ring.Frame{Type: ring.FrameDetach, Src: c.vci, Dst: a.vci})
	a.wantFrame(ring.FrameDetach, c.vci)
	attach(c, a)
	a.kill(s1)
	b.wantFrame(ring.FrameDetach, a.vci)
	c.wantFrame(ring.FrameDetach, a.vci)

	// What is still sent to the dead is answered so that the peer drops its half.
	b.frame(ring.NewPDU(b.vci, a.vci, packet(ep("10.1.0.2:80"), ep("10.1.0.1:1"), wire.ACK, "")))
	b.wantFrame(ring.FrameDetach, a.vci)
	b.frame(ring.Frame{Type: ring.FrameAttach, Src: b.vci, Dst: a.vci, Files: []int{0}})
	b.wantFrame(ring.FrameDetach, a.vci)
	b.frame(ring.NewMoved(b.vci, a.vci, b.vci+1, wire.Flow{Local: ep("10.1.0.2:80"), Remote: ep("10.1.0.1:1")}))
	b.wantFrame(ring.FrameDetach, a.vci)
	b.frame(ring.Frame{Type: ring.FrameDetach, Src: b.vci, Dst: a.vci})
	b.nothing()
}

func TestAPoolDetachesFromAllAtOnce(t *testing.T) {
	s1, s2, a, b := twoHosts(t)
	c := spawn(t, s2)
	for _, to := range []*app{b, c} {
		a.frame(ring.Frame{Type: ring.FrameAttach, Src: a.vci, Dst: to.vci, Files: []int{0}})
		message.CloseFiles(to.wantFrame(ring.FrameAttach, a.vci).Files)
	}
	a.frame(ring.Frame{Type: ring.FrameDetach, Src: a.vci, Dst: s1.vci()})
	b.wantFrame(ring.FrameDetach, a.vci)
	c.wantFrame(ring.FrameDetach, a.vci)
	a.kill(s1)
	b.nothing() // it knows
}

func TestAStoppedChildCostsOthersLittle(t *testing.T) {
	_, s2, a, b := twoHosts(t)
	c := spawn(t, s2)
	b.listen(1, "10.1.0.2:80")
	c.listen(1, "10.1.0.2:81")
	stop(t, s2.child(b.vci).pid())
	full := make([]byte, 60000)
	p := packet(ep("10.1.0.1:1"), ep("10.1.0.2:80"), wire.ACK, string(full))
	for range 50 {
		a.frame(ring.NewPDU(a.vci, 0, p))
	}
	a.sendSegment(ep("10.1.0.1:2"), ep("10.1.0.2:81"), wire.SYN)
	begin := time.Now()
	c.wantSyn(1, a.vci)
	if took := time.Since(begin); took > 45*relayTimeout { // each of the 50 packets would have waited
		t.Errorf("a SYN for another child took %v", took)
	}
	if n := s2.Snapshot().Counters; n.Stuck == 0 || n.Stuck+n.ToChild != 50 {
		t.Errorf("counters %+v", n)
	}
	if err := unix.Kill(s2.child(b.vci).pid(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.wantFrame(ring.FramePDU, a.vci)
}

func TestAChildWithoutControlChannelIsEnded(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a := spawn(t, s)
	c := s.child(a.vci)
	a.raw('k', nil)
	begin := time.Now()
	next(t, c.gone, "the child's end")
	if took := time.Since(begin); took < exitTimeout/2 {
		t.Errorf("it was given %v only", took)
	}
}

func FuzzPacket(f *testing.F) {
	for _, flags := range []wire.Flags{wire.SYN, wire.ACK, wire.RST, wire.SYN | wire.ACK} {
		f.Add(packet(ep("10.1.0.1:5000"), ep("10.1.0.2:80"), flags, "x"))
		f.Add(packet(ep("[fd00::1]:5000"), ep("[fd00::2]:80"), flags, ""))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > message.MaxPDU {
			return
		}
		fr := ring.NewPDU(wire.NewVCI(1, 1), wire.WellKnownVCI(0), b)
		var s segment
		if s.parse(&fr) && (s.len < 0 || s.len > len(b)) {
			t.Fatalf("%d octets of payload in a packet of %d", s.len, len(b))
		}
	})
}
