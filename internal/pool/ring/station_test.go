package ring

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }

// inbox is a handler that keeps what comes.
type inbox chan Frame

func newInbox() inbox { return make(inbox, 100) }

// patience bounds every wait for what must happen. It costs nothing if that does.
const patience = time.Minute

func (in inbox) handle(f Frame) {
	f.PDU = slices.Clone(f.PDU)
	in <- f
}

func (in inbox) want(t *testing.T, typ FrameType, src wire.VCI) Frame {
	t.Helper()
	select {
	case f := <-in:
		if f.Type != typ || f.Src != src {
			t.Fatalf("frame %v from %v, want %v from %v", f.Type, f.Src, typ, src)
		}
		return f
	case <-time.After(patience):
		t.Fatalf("waited %v for a frame %v from %v", patience, typ, src)
	}
	return Frame{}
}

func (in inbox) wantNothing(t *testing.T) {
	t.Helper()
	select {
	case f := <-in:
		t.Fatalf("unexpected frame %+v", f)
	case <-time.After(20 * time.Millisecond):
	}
}

func join(t *testing.T, dir string, in inbox, addrs ...netip.Addr) *Station {
	t.Helper()
	s, err := Join(dir, addrs, in.handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// listenAs listens where host id would, without being one.
func listenAs(t *testing.T, dir string, id int) *net.UnixListener {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("%d.sock", id))
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func TestTwoHostsFindEachOther(t *testing.T) {
	before := openFiles(t)
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	inA, inB := newInbox(), newInbox()
	a := join(t, dir, inA, addr(1))
	b := join(t, dir, inB, addr(2), netip.MustParseAddr("fd00::2"))
	if a.RingID() != 0 || b.RingID() != 1 {
		t.Errorf("ring ids %d, %d, want 0, 1", a.RingID(), b.RingID())
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v", st.Mode(), err)
	}
	for _, c := range []struct {
		s    *Station
		addr netip.Addr
		id   uint8
		ok   bool
	}{
		{a, addr(1), 0, true}, {a, addr(2), 1, true}, {a, netip.MustParseAddr("fd00::2"), 1, true},
		{b, addr(1), 0, true}, {b, addr(2), 1, true}, {b, addr(3), 0, false},
	} {
		if id, ok := c.s.Route(c.addr); ok != c.ok || ok && id != c.id {
			t.Errorf("host %d: route to %v is %d, %v", c.s.RingID(), c.addr, id, ok)
		}
	}
	src := wire.NewVCI(0, 5)
	for i := range 50 {
		if err := a.Send(NewPDU(src, wire.NewVCI(1, 6), packet(40+i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if f := inB.want(t, FramePDU, src); len(f.Packet()) != 40+i {
			t.Fatalf("frame %d has a packet of %d octets: out of order", i, len(f.Packet()))
		}
	}
	if err := b.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(1, 6), Dst: src}); err != nil {
		t.Fatal(err)
	}
	inA.want(t, FrameDetach, wire.NewVCI(1, 6))
	hosts := a.Hosts()
	if len(hosts) != 2 || hosts[1].RingID != 1 || hosts[1].PID != os.Getpid() || len(hosts[1].Addrs) != 2 {
		t.Errorf("hosts %+v", hosts)
	}
	a.Close()
	b.Close()
	if after := openFiles(t); after > before { // an earlier test's may have been collected meanwhile
		t.Errorf("%d descriptors open, %d before", after, before)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*.*"))
	for _, f := range left {
		if !strings.HasSuffix(f, ".lock") {
			t.Errorf("%s left behind", f)
		}
	}
}

func TestFilesPassAndToOneselfToo(t *testing.T) {
	dir := t.TempDir()
	inA, inB := newInbox(), newInbox()
	a := join(t, dir, inA, addr(1))
	join(t, dir, inB, addr(2))
	for dst, in := range map[int]inbox{0: inA, 1: inB} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		f := Frame{Type: FrameAttach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(dst, 6), N: 1, Files: []int{int(w.Fd())}}
		if err := a.Send(f); err != nil {
			t.Fatal(err)
		}
		w.Close()
		got := in.want(t, FrameAttach, f.Src)
		file := os.NewFile(uintptr(got.Files[0]), "pipe")
		fmt.Fprint(file, "hello")
		file.Close()
		buf := make([]byte, 10)
		if n, err := r.Read(buf); string(buf[:n]) != "hello" {
			t.Errorf("to host %d: read %q, %v", dst, buf[:n], err)
		}
		if n, _ := r.Read(buf); n != 0 {
			t.Errorf("to host %d: a copy of the descriptor is still open", dst)
		}
		r.Close()
	}
	if c := a.Counters(); c.Looped != 1 || c.Sent != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestNobodySpeaksForAnotherHost(t *testing.T) {
	dir := t.TempDir()
	in := newInbox()
	a := join(t, dir, newInbox(), addr(1))
	b := join(t, dir, in, addr(2))
	for _, f := range []Frame{
		{Type: FrameDetach, Src: wire.NewVCI(2, 5), Dst: wire.NewVCI(1, 6)}, // not a's
		hello(wire.WellKnownVCI(0), wire.WellKnownVCI(1), nil),              // a second time
		{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(1, 6)}, // good
	} {
		if err := a.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	in.want(t, FrameDetach, wire.NewVCI(0, 5))
	in.wantNothing(t)
	if c := b.Counters(); c.DroppedSrc != 1 || c.DroppedBad != 1 || c.Received != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestTheRingHasRoomForSixteenHosts(t *testing.T) {
	dir := t.TempDir()
	var all []*Station
	for i := range MaxHosts {
		all = append(all, join(t, dir, newInbox(), addr(i)))
	}
	_, err := Join(dir, []netip.Addr{addr(100)}, newInbox().handle)
	if !errors.Is(err, ErrRingFull) || !strings.Contains(err.Error(), "the ring is full (16 hosts)") {
		t.Errorf("the 17th: %v", err)
	}
	all[7].Close()
	if s := join(t, dir, newInbox(), addr(100)); s.RingID() != 7 {
		t.Errorf("ring id %d, want the free 7", s.RingID())
	}
	if id, ok := all[0].Route(addr(15)); !ok || id != 15 {
		t.Errorf("route to the last host: %d, %v", id, ok)
	}
}

func TestManyJoinAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[uint8]bool{}
	refused := 0
	for i := range 2 * MaxHosts { // in pairs with the same address
		wg.Go(func() {
			s, err := Join(dir, []netip.Addr{addr(i / 2)}, newInbox().handle)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
				return
			}
			t.Cleanup(func() { s.Close() })
			ids[s.RingID()] = true
		})
	}
	wg.Wait()
	if len(ids) != MaxHosts || refused != MaxHosts {
		t.Errorf("%d ring ids and %d refusals, want %d each", len(ids), refused, MaxHosts)
	}
}

func TestJoinRefusesAddressesThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	join(t, dir, newInbox(), addr(1))
	many := make([]netip.Addr, MaxAddrs+1)
	for i := range many {
		many[i] = addr(100 + i)
	}
	for _, c := range []struct {
		addrs []netip.Addr
		want  string
	}{
		{[]netip.Addr{addr(2), addr(1)}, fmt.Sprintf("address 10.1.0.1 is taken by host 0 (pid %d)", os.Getpid())},
		{nil, "1 to 16 addresses"},
		{many, "1 to 16 addresses"},
		{[]netip.Addr{addr(2), addr(2)}, "given twice"},
		{[]netip.Addr{{}}, "cannot be"},
		{[]netip.Addr{netip.IPv4Unspecified()}, "cannot be"},
		{[]netip.Addr{netip.MustParseAddr("224.0.0.1")}, "cannot be"},
		{[]netip.Addr{netip.MustParseAddr("::ffff:10.1.0.9")}, "cannot be"},
		{[]netip.Addr{netip.MustParseAddr("fe80::1%eth0")}, "cannot be"},
	} {
		s, err := Join(dir, c.addrs, newInbox().handle)
		if err == nil {
			s.Close()
			t.Errorf("%v could join", c.addrs)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.addrs, err, c.want)
		}
	}
	if s := join(t, dir, newInbox(), addr(2)); s.RingID() != 1 {
		t.Errorf("ring id %d after the refusals, want 1", s.RingID())
	}
}

func TestJoinRefusesDirectoriesThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 100))
	for path, want := range map[string]string{file: "not a directory", long: "a socket's path can have 107"} {
		_, err := Join(path, []netip.Addr{addr(1)}, newInbox().handle)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestSendToNobody(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	err := a.Send(NewPDU(wire.NewVCI(0, 5), wire.WellKnownVCI(9), packet(40)))
	if !errors.Is(err, ErrNoHost) || !strings.Contains(err.Error(), "ring host 9") {
		t.Errorf("%v, want %v", err, ErrNoHost)
	}
	if c := a.Counters(); c.DroppedNoHost != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestARestartedHostIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	for i := range 3 {
		in := newInbox()
		b := join(t, dir, in, addr(2+i))
		if b.RingID() != 1 {
			t.Fatalf("ring id %d", b.RingID())
		}
		for old := range i {
			if _, ok := a.Route(addr(2 + old)); ok {
				t.Errorf("round %d: the address of round %d has a route still", i, old)
			}
		}
		if _, ok := a.Route(addr(2 + i)); !ok {
			t.Errorf("round %d: no route", i)
		}
		if err := a.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(1, 6)}); err != nil {
			t.Fatal(err)
		}
		in.want(t, FrameDetach, wire.NewVCI(0, 5))
		b.Close()
		if _, ok := a.Route(addr(2 + i)); ok {
			t.Errorf("round %d: a route to the dead", i)
		}
	}
}

// helperHost makes the re-executed test a host of its own: it joins the ring and
// stays there until its standard input ends.
const helperHost = "USERTCP_TEST_RING_HOST"

func TestHelperHost(t *testing.T) {
	args := strings.Fields(os.Getenv(helperHost))
	if len(args) != 2 {
		return // the other tests start it
	}
	s, err := Join(args[0], []netip.Addr{netip.MustParseAddr(args[1])}, newInbox().handle)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("joined %d\n", s.RingID())
	bufio.NewReader(os.Stdin).ReadByte()
	s.Close()
}

func startHost(t *testing.T, dir string, a netip.Addr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperHost$")
	cmd.Env = append(os.Environ(), helperHost+"="+dir+" "+a.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "joined") {
			return cmd
		}
	}
	t.Fatal("the host did not join")
	return nil
}

func TestWhatAKilledHostLeavesIsRemoved(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	cmd := startHost(t, dir, addr(2))
	if id, ok := a.Route(addr(2)); !ok || id != 1 {
		t.Fatalf("route %d, %v", id, ok)
	}
	f := Frame{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(1, 6)}
	if err := a.Send(f); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := os.Stat(filepath.Join(dir, "1.json")); err != nil {
		t.Fatalf("the killed host has tidied up: %v", err)
	}
	if _, ok := a.Route(addr(2)); ok {
		t.Error("a route to the dead")
	}
	if err := a.Send(f); !errors.Is(err, ErrNoHost) {
		t.Errorf("sending to the dead: %v", err)
	}
	if b := join(t, dir, newInbox(), addr(2)); b.RingID() != 1 {
		t.Errorf("ring id %d: the dead one's is not free", b.RingID())
	}
	startHost(t, dir, addr(3)).Process.Kill()
	waitFor(t, "the death of host 2", func() bool { _, ok := a.Route(addr(3)); return !ok })
	a.Close()
	join(t, dir, newInbox(), addr(4)) // takes id 0, and removes what 2 left
	if left, _ := filepath.Glob(filepath.Join(dir, "2.[js]*")); len(left) != 0 {
		t.Errorf("%v left", left)
	}
}

func TestAHostThatDoesNotReadCostsLittle(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	stop := make(chan bool)
	b, err := Join(dir, []netip.Addr{addr(2)}, func(Frame) { <-stop })
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	defer close(stop)
	f := NewPDU(wire.NewVCI(0, 5), wire.WellKnownVCI(1), packet(60000))
	start := time.Now()
	for range 100 {
		err = a.Send(f)
	}
	if !errors.Is(err, ErrStuck) {
		t.Errorf("%v, want %v", err, ErrStuck)
	}
	if took := time.Since(start); took > 90*frameTimeout { // each of the 100 would have waited
		t.Errorf("100 frames took %v", took)
	}
	if c := a.Counters(); c.DroppedStuck < 90 || c.DroppedStuck+c.Sent != 100 {
		t.Errorf("counters %+v", c)
	}
}

func TestAHostThatDoesNotGreetIsStuck(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	listenAs(t, dir, 1)
	err := a.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(1, 6)})
	if !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "waited 1s for its Hello") {
		t.Errorf("%v, want %v", err, ErrStuck)
	}
}

func TestAnotherVersionIsToldApart(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	l := listenAs(t, dir, 1)
	go func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		first := hello(wire.WellKnownVCI(1), wire.WellKnownVCI(0), nil)
		b := first.Append(nil)
		b[4] = 2
		message.NewChannel(conn).Send(b)
	}()
	const want = "ring host 1 speaks version 2, this server version 1"
	err := a.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(1, 6)})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("dialling: %v, want %q", err, want)
	}

	ch, err := message.Dial(filepath.Join(dir, "0.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	first := hello(wire.WellKnownVCI(1), wire.WellKnownVCI(0), nil)
	b := first.Append(nil)
	b[4] = 2
	ch.Send(b)
	ch.SetDeadline(time.Now().Add(patience))
	var f Frame
	if err := RecvFrame(ch, make([]byte, MaxFrame), &f); err != nil || f.Type != FrameHello || f.N != FrameVersion {
		t.Errorf("dialled by another version, the station answers %+v, %v", f, err)
	}
	if err := RecvFrame(ch, make([]byte, MaxFrame), &f); err == nil {
		t.Error("and goes on talking")
	}
	if c := a.Counters(); c.RefusedHello != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestJoinRefusesARingOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	join(t, dir, newInbox(), addr(1))
	entry := filepath.Join(dir, "0.json")
	if err := os.WriteFile(entry, []byte(`{"version":2,"pid":1,"addresses":["10.1.0.1"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Join(dir, []netip.Addr{addr(2)}, newInbox().handle)
	if err == nil || !strings.Contains(err.Error(), "ring host 0 speaks version 2, this server version 1") {
		t.Errorf("%v", err)
	}
}

func TestGarbageInTheDirectoryIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	join(t, dir, newInbox(), addr(2))
	os.WriteFile(filepath.Join(dir, "1.json"), []byte("{garbage"), 0o600)
	os.WriteFile(filepath.Join(dir, "77.json"), []byte("{}"), 0o600)
	if hosts := a.Hosts(); len(hosts) != 1 || hosts[0].RingID != 0 {
		t.Errorf("hosts %+v", hosts)
	}
	if _, ok := a.Route(addr(2)); ok {
		t.Error("a route by a broken entry")
	}
}

func TestGarbageOnTheSocketIsCounted(t *testing.T) {
	dir := t.TempDir()
	in := newInbox()
	a := join(t, dir, in, addr(1))
	b := join(t, dir, newInbox(), addr(2))
	f := Frame{Type: FrameDetach, Src: wire.NewVCI(1, 5), Dst: wire.NewVCI(0, 6)}
	if err := b.Send(f); err != nil {
		t.Fatal(err)
	}
	in.want(t, FrameDetach, f.Src)
	b.outgoing[0].ch.Send([]byte("garbage"))
	b.outgoing[0].ch.Send(make([]byte, MaxFrame+1))
	if err := b.Send(f); err != nil {
		t.Fatal(err)
	}
	in.want(t, FrameDetach, f.Src)
	if c := a.Counters(); c.DroppedBad != 2 || c.Received != 2 {
		t.Errorf("counters %+v", c)
	}
}

func TestRoutesAreCheapWhenKnown(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	join(t, dir, newInbox(), addr(2))
	time.Sleep(settled + 50*time.Millisecond)
	a.Route(addr(2))
	a.Route(addr(3))
	scans := a.routes.scans
	for range 100 {
		a.Route(addr(2)) // known
		a.Route(addr(3)) // known not to be there
	}
	if a.routes.scans != scans {
		t.Errorf("the directory was read %d times more", a.routes.scans-scans)
	}
	join(t, dir, newInbox(), addr(3))
	if id, ok := a.Route(addr(3)); !ok || id != 2 {
		t.Errorf("a host that has just joined is not found: %d, %v", id, ok)
	}
}

func TestNothingWorksAfterClose(t *testing.T) {
	dir := t.TempDir()
	a := join(t, dir, newInbox(), addr(1))
	join(t, dir, newInbox(), addr(2))
	a.Close()
	if err := a.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	err := a.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(1, 6)})
	if !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want %v", err, ErrClosed)
	}
}

func BenchmarkRoute(b *testing.B) {
	dir := b.TempDir()
	for i := range 2 {
		s, err := Join(dir, []netip.Addr{addr(i)}, newInbox().handle)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		if i == 1 {
			for b.Loop() {
				s.Route(addr(0))
			}
		}
	}
}

func TestAHostIntroducesItselfFirst(t *testing.T) {
	dir := t.TempDir()
	in := newInbox()
	a := join(t, dir, in, addr(1))
	src := wire.NewVCI(1, 5)
	for i, f := range []Frame{
		{Type: FrameDetach, Src: src, Dst: wire.NewVCI(0, 6)},
		{Type: FrameHello, Src: wire.WellKnownVCI(1), Dst: wire.WellKnownVCI(0), N: 2},
	} {
		ch, err := message.Dial(filepath.Join(dir, "0.sock"))
		if err != nil {
			t.Fatal(err)
		}
		SendFrame(ch, &f)
		ch.SetDeadline(time.Now().Add(patience))
		for err = nil; err == nil; {
			err = RecvFrame(ch, make([]byte, MaxFrame), &f)
		}
		ch.Close()
		if c := a.Counters(); !errors.Is(err, io.EOF) || c.RefusedHello != uint64(i+1) {
			t.Errorf("frame %d: %v, counters %+v", i, err, c)
		}
	}
	in.wantNothing(t)

	l := listenAs(t, dir, 3) // who says that it is another than the one that was dialled
	go func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		f := hello(wire.WellKnownVCI(4), wire.WellKnownVCI(0), nil)
		SendFrame(message.NewChannel(conn), &f)
	}()
	if err := a.Send(Frame{Type: FrameDetach, Src: wire.NewVCI(0, 5), Dst: wire.NewVCI(3, 6)}); !errors.Is(err, ErrFrameVCI) {
		t.Errorf("%v, want %v", err, ErrFrameVCI)
	}
}
