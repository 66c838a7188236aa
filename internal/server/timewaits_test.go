package server

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// remnant returns a connection in TIME-WAIT for another while, whose peer has sent
// up to 1000, its FIN included. (Its layout is that of tcp.Remnant.Append.)
func remnant(t *testing.T, local, remote string, left tcp.Time) []byte {
	t.Helper()
	le := binary.LittleEndian
	var b []byte
	for _, e := range []wire.Endpoint{ep(local), ep(remote)} {
		b = le.AppendUint16(append(b, e.Addr[:]...), e.Port)
	}
	b = le.AppendUint64(b, uint64(clock()+left))
	b = le.AppendUint64(b, 0)
	for _, n := range []uint32{5000, 1000, 2000, 0, 0} {
		b = le.AppendUint32(b, n)
	}
	b = append(b, 0, 0, 0, 0, 0, 0, 1, 0)
	if _, ok := tcp.ParseRemnant(b); !ok {
		t.Fatal("not a remnant")
	}
	return b
}

func (a *app) leave(b []byte) unix.Errno {
	a.t.Helper()
	_, errno := a.call(message.Message{Type: message.TimeWait, PDU: b})
	return errno
}

// finAgain sends the FIN that a connection in TIME-WAIT has had already.
func (a *app) finAgain(src, dst string) {
	b := packet(ep(src), ep(dst), wire.FIN|wire.ACK, "")
	binary.BigEndian.PutUint32(b[24:], 999)
	binary.BigEndian.PutUint32(b[28:], 5000)
	a.frame(ring.NewPDU(a.vci, 0, b))
}

func (a *app) wantAck(from wire.VCI) {
	a.t.Helper()
	f := a.wantFrame(ring.FramePDU, from)
	var s segment
	if !s.parse(&f) || s.tcp.Flags != wire.ACK || s.tcp.Seq != 5000 || s.tcp.Ack != 1000 {
		a.t.Fatalf("not the acknowledgement of the FIN: %v", wire.SegmentString(&s.ip, &s.tcp, s.len))
	}
}

func TestTimeWaitGoesOnWithoutItsChild(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, addr1)
	a, peer := spawn(t, s), spawn(t, s)
	if errno := a.leave(remnant(t, "10.1.0.1:80", "10.1.0.1:2000", 30*tcp.Second)); errno != 0 {
		t.Fatal(errno)
	}
	a.kill(s)
	for range 3 {
		peer.finAgain("10.1.0.1:2000", "10.1.0.1:80")
		peer.wantAck(s.vci())
	}
	// RFC 1337: no RST ends it.
	peer.sendSegment(ep("10.1.0.1:2000"), ep("10.1.0.1:80"), wire.RST|wire.ACK)
	peer.finAgain("10.1.0.1:2000", "10.1.0.1:80")
	peer.wantAck(s.vci())
	// Its four numbers are taken, its port is not.
	if _, errno := peer.open(1, "10.1.0.1:80", "10.1.0.1:2000"); errno != unix.EADDRNOTAVAIL {
		t.Errorf("the same connection: %v", errno)
	}
	if _, errno := peer.open(1, "10.1.0.1:80", "10.1.0.1:2001"); errno != 0 {
		t.Errorf("another connection: %v", errno)
	}
	if n := s.Snapshot().TimeWaits; n != 1 {
		t.Errorf("%d in TIME-WAIT", n)
	}
	// A FIN that comes again begins it again.
	if w := s.timeWaits; w.since(64, 64) > 20*tcp.Second || w.since(0, 64) != tcp.TimeWaitLength || w.since(128, 256) != tcp.TimeWaitLength {
		t.Errorf("the block of its port is in TIME-WAIT since %v, others since %v and %v", w.since(64, 64), w.since(0, 64), w.since(128, 256))
	}
}

// RFC 6191: a SYN that is younger than all that was opens the connection anew, if
// somebody listens.
func TestASynEndsTimeWait(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, peer := spawn(t, s), spawn(t, s)
	if errno := a.leave(remnant(t, "10.1.0.1:80", "10.1.0.1:2000", 30*tcp.Second)); errno != 0 {
		t.Fatal(errno)
	}
	syn := func(seq uint32) {
		b := packet(ep("10.1.0.1:2000"), ep("10.1.0.1:80"), wire.SYN, "")
		binary.BigEndian.PutUint32(b[24:], seq)
		peer.frame(ring.NewPDU(peer.vci, 0, b))
	}
	syn(1001)
	peer.wantAck(s.vci()) // nobody listens
	a.listen(1, "10.1.0.1:80")
	syn(900)
	syn(1001)
	a.wantSyn(1, peer.vci)
	a.nothing()
	if n := s.Snapshot().TimeWaits; n != 0 {
		t.Errorf("%d in TIME-WAIT", n)
	}
}

// A SYN that is no younger is acknowledged; who has sent it answers with RST, which ends
// TIME-WAIT, and sends it again: the listener gets it, and the next server does not have the
// connection again.
func TestWhoCallsEndsTimeWait(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, addr1)
	a, peer := spawn(t, s), spawn(t, s)
	if errno := a.leave(remnant(t, "10.1.0.1:80", "10.1.0.1:2000", 30*tcp.Second)); errno != 0 {
		t.Fatal(errno)
	}
	a.listen(1, "10.1.0.1:80")
	send := func(seq uint32, flags wire.Flags) {
		b := packet(ep("10.1.0.1:2000"), ep("10.1.0.1:80"), flags, "")
		binary.BigEndian.PutUint32(b[24:], seq)
		peer.frame(ring.NewPDU(peer.vci, 0, b))
	}
	send(900, wire.SYN)
	peer.wantAck(s.vci())
	send(1001, wire.RST)
	send(999, wire.RST)
	a.nothing()
	if n := s.Snapshot().TimeWaits; n != 1 {
		t.Fatalf("%d in TIME-WAIT after resets beside the mark", n)
	}
	send(1000, wire.RST)
	send(900, wire.SYN)
	a.wantSyn(1, peer.vci)
	w := s.timeWaits
	if n := w.count(); n != 0 {
		t.Errorf("%d in TIME-WAIT", n)
	}
	next, err := openTimeWaits(filepath.Dir(w.file.Name()))
	if err != nil {
		t.Fatal(err)
	}
	defer next.close(false)
	if n := next.count(); n != 0 {
		t.Errorf("%d in TIME-WAIT for the next server", n)
	}
}

// Who opens a connection from a port proves by it that nobody else has the port: another
// child's can't be used for that.
func TestASynFromAnothersPortIsForged(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, b, c := spawn(t, s), spawn(t, s), spawn(t, s)
	a.listen(1, "10.1.0.1:80")
	b.listen(1, "10.1.0.1:2000")
	if _, errno := b.open(2, "10.1.0.1:2001", "10.1.0.1:80"); errno != 0 {
		t.Fatal(errno)
	}
	if errno := a.leave(remnant(t, "10.1.0.1:2002", "10.1.0.1:80", 30*tcp.Second)); errno != 0 {
		t.Fatal(errno)
	}
	for i, port := range []int{2000, 2001, 2002} {
		c.sendSegment(ep(fmt.Sprintf("10.1.0.1:%d", port)), ep("10.1.0.1:80"), wire.SYN)
		a.nothing()
		if n := s.Snapshot().Counters.Forged; n != uint64(i+1) {
			t.Errorf("port %d: %d forged", port, n)
		}
	}
	for _, port := range []int{2000, 2001} {
		b.sendSegment(ep(fmt.Sprintf("10.1.0.1:%d", port)), ep("10.1.0.1:80"), wire.SYN)
		a.wantSyn(1, b.vci)
	}
}

func TestRemnantsAreCheckedAndBounded(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a := spawn(t, s)
	good := remnant(t, "10.1.0.1:80", "10.1.0.1:2000", 50*tcp.Second)
	for name, b := range map[string][]byte{
		"too short":            good[:50],
		"one and a half":       append(good[:len(good):len(good)], good[:40]...),
		"one that is wrong":    append(good[:len(good):len(good)], remnant(t, "10.1.0.9:80", "10.1.0.1:2000", tcp.Second)...),
		"of another host":      remnant(t, "10.1.0.9:80", "10.1.0.1:2000", tcp.Second),
		"longer than possible": remnant(t, "10.1.0.1:80", "10.1.0.1:2000", 2*tcp.TimeWaitLength),
	} {
		if errno := a.leave(b); errno != unix.EINVAL {
			t.Errorf("%s: %v", name, errno)
		}
	}
	w := s.timeWaits
	w.mu.Lock()
	for i := range maxTimeWaits {
		r, _ := tcp.ParseRemnant(good)
		r.Flow.Remote.Port, r.Flow.Local.Port = uint16(i), 81
		r.End = clock() + 50*tcp.Second
		w.note(&r, nobody)
	}
	w.mu.Unlock()
	if errno := a.leave(good); errno != unix.ENOBUFS {
		t.Errorf("one more than the limit: %v", errno)
	}
	w.drop(wire.Flow{Local: ep("10.1.0.1:81"), Remote: ep("10.1.0.1:7")})
	two := append(remnant(t, "10.1.0.1:82", "10.1.0.1:2000", 50*tcp.Second), good...)
	if n, errno := s.child(a.vci).leaveTimeWaits(two); n != 1 || errno != unix.ENOBUFS {
		t.Errorf("of two, for one of which there is room, it takes %d, %v", n, errno)
	}
	if _, has := w.byFlow[wire.Flow{Local: ep("10.1.0.1:82"), Remote: ep("10.1.0.1:2000")}]; !has {
		t.Error("it is not the first of them")
	}
	w.mu.Lock()
	for _, r := range w.byFlow {
		r.End = clock()
	}
	w.mu.Unlock()
	if errno := a.leave(good); errno != 0 || s.Snapshot().TimeWaits != 1 {
		t.Errorf("after the end of the others: %v, %d", errno, s.Snapshot().TimeWaits)
	}
}

func TestTimeWaitsOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	w, err := openTimeWaits(dir)
	if err != nil {
		t.Fatal(err)
	}
	local := func(wire.Addr) bool { return true }
	for port, left := range map[string]tcp.Time{"1": 30 * tcp.Second, "2": -tcp.Second, "3": 20 * tcp.Second} {
		rs, errno := w.parse(remnant(t, "10.1.0.1:80", "10.1.0.1:"+port, left), local)
		if n := w.add(rs, func(wire.Flow) int { return nobody }); n != 1 || errno != 0 {
			t.Fatal(n, errno)
		}
	}
	w.close(true) // nothing more than a SIGKILL would leave
	for range 2 {
		if w, err = openTimeWaits(dir); err != nil {
			t.Fatal(err)
		}
		if n := w.count(); n != 2 || !w.has(wire.Flow{Local: ep("10.1.0.1:80"), Remote: ep("10.1.0.1:3")}) {
			t.Errorf("%d in TIME-WAIT after a restart, want 2", n)
		}
		w.close(true)
	}
	// What another run of the machine has left says nothing.
	w.file = nil
	b := []byte("another boot id")
	if err := unix.Truncate(filepath.Join(dir, "timewait"), int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if w, err = openTimeWaits(dir); err != nil || w.count() != 0 {
		t.Errorf("from a damaged file: %v", err)
	}
	w.close(false)
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
