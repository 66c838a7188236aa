package nic

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

func parseAddr(s string) (wire.Addr, error) {
	a, err := netip.ParseAddr(s)
	return wire.AddrFrom(a), err
}

func check(t testing.TB, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// newDriver returns a driver, and the other end of what takes the place of its
// device: frames that are written there are read here.
func newDriver(t testing.TB) (d *Driver, device int) {
	t.Helper()
	seg, err := shm.Create("test-nic", Version, Specs()...)
	check(t, err)
	t.Cleanup(func() { seg.Close() })
	check(t, Initialise(seg))
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	for _, fd := range fds {
		check(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20))
		t.Cleanup(func() { unix.Close(fd) })
	}
	d, err = New(seg, fds[0])
	check(t, err)
	return d, fds[1]
}

func inject(t testing.TB, device int, f *frame) {
	t.Helper()
	_, err := unix.Write(device, append(f.head[:], f.packet...))
	check(t, err)
}

// octets returns the payload of a packet received.
func octets(d *Driver, p *pool.Packet) []byte {
	b := append([]byte(nil), p.Data[p.Header:p.Header+p.Inline]...)
	for _, q := range p.Pieces[:p.NPieces] {
		b = append(b, d.Octets(p.Region)[q.Off:q.Off+q.Len]...)
	}
	return b
}

func TestPacketsAreReceived(t *testing.T) {
	d, device := newDriver(t)
	for _, n := range []int{0, 1, pool.MaxData - 52, pool.MaxData - 51, 1448, 9000, 65535 - 52} {
		f := good(from4, to4, n)
		inject(t, device, f)
		var p pool.Packet
		if !d.Receive(&p) {
			t.Fatalf("%d octets: nothing received", n)
		}
		if p.Circuit != pool.NIC || p.Region != pool.RxRegion(pool.NIC) || p.Header != 52 || p.Payload != uint32(n) || p.Partial {
			t.Errorf("%d octets: %+v", n, p)
		}
		if !bytes.Equal(p.Data[:52], f.packet[:52]) || !bytes.Equal(octets(d, &p), f.packet[52:]) {
			t.Errorf("%d octets: others arrived", n)
		}
		if held := p.NPieces; held > 0 {
			d.Release(p.Circuit, p.ID, int(held))
		}
	}
	var p pool.Packet
	if d.Receive(&p) {
		t.Error("something received where nothing is")
	}
	if tx, held := d.InUse(); tx != 0 || held != 0 {
		t.Errorf("%d buffers and %d slots in use", tx, held)
	}
	if c := d.Counters(); c.FramesIn != 7 || c.Reads != 8 || c.EmptyReads != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestBadFramesAreCountedAndPassedOver(t *testing.T) {
	d, device := newDriver(t)
	for _, change := range []func(f *frame){
		func(f *frame) { f.packet = nil },
		func(f *frame) { f.packet = f.packet[:300] },
		func(f *frame) { f.head[atEtherType] = 1 },
		func(f *frame) { f.gso(9, 100) },
		func(f *frame) { f.packet[0] = 0x41 },
	} {
		f := good(from4, to4, 1000)
		change(f)
		inject(t, device, f)
	}
	inject(t, device, good(from6, to6, 10))
	var p pool.Packet
	if !d.Receive(&p) || p.Payload != 10 {
		t.Fatalf("the good frame behind the bad ones: %+v", p)
	}
	c := d.Counters()
	if c.Short != 2 || c.NotIP != 1 || c.BadGSO != 1 || c.BadHeader != 1 || c.FramesIn != 1 {
		t.Errorf("counters %+v", c)
	}
	if _, held := d.InUse(); held != 0 || d.ctl.rx.Free != Slots {
		t.Errorf("%d slots held, %d free", held, d.ctl.rx.Free)
	}
}

// Whoever holds many packets is told, long before there is no slot; if he goes on
// nevertheless, what comes is dropped and counted.
func TestSlotsRunOut(t *testing.T) {
	d, device := newDriver(t)
	var ids []uint32
	for i := range Slots {
		if got, want := d.Crowded(pool.NIC), i > holdLimit; got != want {
			t.Fatalf("%d packets held: crowded %v", i, got)
		}
		inject(t, device, good(from4, to4, 500))
		var p pool.Packet
		if !d.Receive(&p) {
			t.Fatalf("nothing received with %d packets held", i)
		}
		ids = append(ids, p.ID)
	}
	inject(t, device, good(from4, to4, 500))
	var p pool.Packet
	if d.Receive(&p) || d.Counters().RxFull != 1 {
		t.Errorf("received into no slot; counters %+v", d.Counters())
	}
	d.Release(pool.NIC, ids[77], 1)
	inject(t, device, good(from4, to4, 501))
	if !d.Receive(&p) || p.ID != ids[77] || p.Payload != 501 {
		t.Errorf("the slot that was given back: %+v", p)
	}
}

func TestASlotGivenBackTwiceIsABug(t *testing.T) {
	d, device := newDriver(t)
	inject(t, device, good(from4, to4, 500))
	var p pool.Packet
	d.Receive(&p)
	d.Release(pool.NIC, p.ID, 1)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	d.Release(pool.NIC, p.ID, 1)
}

// sendable makes a packet of a header and buffers full of octets.
func sendable(t testing.TB, d *Driver, src, dst wire.Addr, lengths ...int) *pool.Packet {
	t.Helper()
	total := 0
	for _, n := range lengths {
		total += n
	}
	b := segment(src, dst, total)
	p := &pool.Packet{Circuit: pool.NIC, Region: pool.TxRegion(pool.NIC), Header: uint16(len(b) - total), Payload: uint32(total)}
	copy(p.Data[:], b[:p.Header])
	at := int(p.Header)
	for i, n := range lengths {
		buf, off := d.Alloc(pool.NIC)
		if buf == pool.None {
			t.Fatal("no buffer")
		}
		copy(d.Octets(p.Region)[off:], b[at:at+n])
		p.Bufs[i], p.Pieces[i] = buf, pool.Piece{Off: off, Len: uint32(n)}
		p.NPieces++
		at += n
	}
	return p
}

func TestPacketsAreSent(t *testing.T) {
	a, device := newDriver(t)
	b, other := newDriver(t)
	buf := make([]byte, headLen+SlotSize)
	for _, lengths := range [][]int{{}, {1}, {1448}, {16384, 16384, 100}, {8000, 8000, 8000, 8000, 8000, 8000, 8000, 8000}} {
		p := sendable(t, a, from6, to6, lengths...)
		a.Send(p)
		n, err := unix.Read(device, buf)
		check(t, err)
		_, err = unix.Write(other, buf[:n])
		check(t, err)
		var q pool.Packet
		if !b.Receive(&q) || q.Payload != p.Payload || !q.Partial {
			t.Fatalf("%v: arrived as %+v", lengths, q)
		}
		var want []byte
		for _, x := range p.Pieces[:p.NPieces] {
			want = append(want, a.Octets(p.Region)[x.Off:x.Off+x.Len]...)
		}
		if !bytes.Equal(octets(b, &q), want) {
			t.Errorf("%v: other octets arrived", lengths)
		}
		for _, x := range p.Bufs[:p.NPieces] {
			a.Unref(p.Region, x)
		}
		if q.NPieces > 0 {
			b.Release(q.Circuit, q.ID, int(q.NPieces))
		}
	}
	if tx, _ := a.InUse(); tx != 0 {
		t.Errorf("%d buffers in use", tx)
	}
	if c := a.Counters(); c.FramesOut != 5 || c.Writes != 5 {
		t.Errorf("counters %+v", c)
	}
}

func TestADeviceThatTakesNoMoreRefusesPackets(t *testing.T) {
	d, device := newDriver(t)
	for d.Counters().TxFull == 0 {
		if d.Send(sendable(t, d, from4, to4)) != (d.Counters().TxFull == 0) {
			t.Fatal("refused, and not said so, or the reverse")
		}
		if d.Counters().TxErrors > 0 || d.Counters().FramesOut > 1<<20 {
			t.Fatalf("counters %+v", d.Counters())
		}
	}
	if _, err := unix.Read(device, make([]byte, headLen+SlotSize)); err != nil || !d.Send(sendable(t, d, from4, to4)) {
		t.Errorf("there is room again (%v): refused", err)
	}
	unix.Shutdown(device, unix.SHUT_RDWR)
	d.fd = -1
	if !d.Send(sendable(t, d, from4, to4)) {
		t.Error("without a device there is nothing to wait for")
	}
	var p pool.Packet
	if d.Receive(&p) || d.Counters().TxErrors != 1 || d.Counters().RxErrors != 1 {
		t.Errorf("without a device: counters %+v", d.Counters())
	}
}

func TestRebuildCountsAnew(t *testing.T) {
	d, device := newDriver(t)
	var ids []uint32
	for range 3 {
		inject(t, device, good(from4, to4, 500))
		var p pool.Packet
		d.Receive(&p)
		ids = append(ids, p.ID)
	}
	kept, _ := d.Alloc(pool.NIC)
	d.Alloc(pool.NIC)
	d.Rebuild(
		func(_ uint16, i uint32) uint32 {
			if i == kept {
				return 2
			}
			return 0
		},
		func(_ uint16, i uint32) uint32 {
			if i == ids[1] {
				return 1
			}
			return 0
		})
	if tx, held := d.InUse(); tx != 1 || held != 1 {
		t.Errorf("%d buffers and %d slots in use", tx, held)
	}
	if n := d.Memory(); n != BufferSize+SlotSize {
		t.Errorf("%d octets in use", n)
	}
	d.Unref(pool.TxRegion(pool.NIC), kept)
	d.Unref(pool.TxRegion(pool.NIC), kept)
	d.Release(pool.NIC, ids[1], 1)
	if tx, held := d.InUse(); tx != 0 || held != 0 {
		t.Errorf("%d buffers and %d slots in use at the end", tx, held)
	}
}

func TestAnotherLayoutIsRefused(t *testing.T) {
	seg, err := shm.Create("test-nic", Version, Specs()...)
	check(t, err)
	defer seg.Close()
	if _, err := New(seg, 0); err == nil {
		t.Error("a segment that was not initialised was taken")
	}
	small := Specs()
	small[1].Count /= 2
	seg2, err := shm.Create("test-nic", Version, small...)
	check(t, err)
	defer seg2.Close()
	if err := Initialise(seg2); err == nil {
		t.Error("a segment with half the buffers was taken")
	}
}

func TestNothingIsAllocated(t *testing.T) {
	d, device := newDriver(t)
	out := sendable(t, d, from4, to4, 1448)
	buf := make([]byte, headLen+SlotSize)
	var p pool.Packet
	if n := testing.AllocsPerRun(100, func() {
		d.Send(out)
		k, _ := unix.Read(device, buf)
		unix.Write(device, buf[:k])
		d.Receive(&p)
		d.Release(pool.NIC, p.ID, 1)
		d.Pending()
	}); n != 0 {
		t.Errorf("%v allocations for a packet there and back", n)
	}
}

// A device that has gone is no reason to stay awake.
func TestADeviceThatHasGoneIsLeftAlone(t *testing.T) {
	d, device, _, ready := wakeable(t, false)
	unix.Shutdown(device, unix.SHUT_RDWR)
	d.Arm()
	if !ready() {
		t.Error("the end of the device wakes nobody")
	}
	var p pool.Packet
	for range 2 {
		if d.Receive(&p) {
			t.Error("a packet of a device that is no more")
		}
	}
	if d.Counters().RxErrors != 1 {
		t.Errorf("counters %+v", d.Counters())
	}
	if d.Arm() || d.Pending() {
		t.Error("something is pending for ever")
	}
}

// wakeable is a driver with an epoll descriptor, and what says whether that is
// ready within a moment.
func wakeable(t *testing.T, eager bool) (d *Driver, device int, door shm.Doorbell, ready func() bool) {
	d, device = newDriver(t)
	door, err := shm.NewDoorbell()
	check(t, err)
	poll, err := d.NewPoll(door, eager)
	check(t, err)
	t.Cleanup(func() { unix.Close(poll); door.Close() })
	return d, device, door, func() bool { return reports(t, poll) }
}

// reports says whether an epoll descriptor is ready within a moment. A signal, by which
// the Go runtime asks a thread to yield, does not end the moment.
func reports(t *testing.T, poll int) bool {
	t.Helper()
	var ev [4]unix.EpollEvent
	n, err := 0, error(unix.EINTR)
	for end := time.Now().Add(10 * time.Millisecond); err == unix.EINTR; {
		n, err = unix.EpollWait(poll, ev[:], max(0, int(time.Until(end).Milliseconds())))
	}
	check(t, err)
	return n > 0
}

func TestAnArmedSleeperIsWoken(t *testing.T) {
	d, device, door, ready := wakeable(t, false)
	inject(t, device, good(from4, to4, 10))
	if ready() {
		t.Error("a packet wakes who is not armed")
	}
	d.Arm()
	if !ready() {
		t.Error("a packet that was there before Arm wakes nobody")
	}
	var p pool.Packet
	d.Receive(&p)
	d.Receive(&p)
	if ready() {
		t.Error("woken for nothing")
	}
	inject(t, device, good(from4, to4, 10))
	if !ready() {
		t.Error("a packet that came after Arm wakes nobody")
	}
	d.Receive(&p)
	door.Ring()
	if !ready() {
		t.Error("the doorbell wakes nobody")
	}
}

// outerPoll puts a descriptor into an edge-triggered epoll of its own, as Go's poller
// does, and returns what says whether it is reported.
func outerPoll(t *testing.T, fd int) func() bool {
	outer, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	check(t, err)
	t.Cleanup(func() { unix.Close(outer) })
	check(t, unix.EpollCtl(outer, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}))
	return func() bool { return reports(t, outer) }
}

func newDoor(t *testing.T) shm.Doorbell {
	door, err := shm.NewDoorbell()
	check(t, err)
	t.Cleanup(func() { door.Close() })
	return door
}

// Somebody else of this process may receive while the leader sleeps: that must
// not disarm.
func TestADeviceIsDisarmedOnlyWhileNobodySleeps(t *testing.T) {
	d, device, _, ready := wakeable(t, false)
	receive := func(n int) {
		for range n {
			inject(t, device, good(from4, to4, 10))
			var p pool.Packet
			d.Receive(&p)
		}
	}
	d.Arm()
	receive(wakeUps + 3)
	inject(t, device, good(from4, to4, 10))
	if !ready() {
		t.Error("disarmed under a sleeper")
	}
	d.Awake()
	receive(1)
	if d.nap.armed.Load() {
		t.Error("still armed after many packets")
	}
	calls := d.nap.calls
	receive(20)
	if d.nap.calls != calls {
		t.Error("a system call for each packet")
	}
	d.Arm()
	d.Awake()
	receive(wakeUps)
	if !d.nap.armed.Load() {
		t.Error("disarmed though packets are few")
	}
}

func TestAnEagerSleeperIsDisarmedAtOnce(t *testing.T) {
	d, device, _, ready := wakeable(t, true)
	d.Arm()
	d.Awake()
	inject(t, device, good(from4, to4, 10))
	if ready() {
		t.Error("a packet wakes who is awake")
	}
}

// Each packet asks everybody who is on the device's list whether he wants it. So nobody is
// on it who is awake.
func TestNobodyAwakeIsOnTheDevicesList(t *testing.T) {
	d, _, _, _ := wakeable(t, true)
	listed := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", d.nap.poll))
		check(t, err)
		return regexp.MustCompile(fmt.Sprintf(`(?m)^tfd: +%d `, d.fd)).Match(b)
	}
	if listed() {
		t.Error("on it before the first sleep")
	}
	d.Arm()
	if !listed() {
		t.Error("not on it while asleep")
	}
	d.Arm() // again, as who sleeps on does
	if d.Awake(); listed() {
		t.Error("on it after the sleep")
	}
}

func TestWithoutADescriptorArmLooks(t *testing.T) {
	d, device := newDriver(t)
	if d.Arm() {
		t.Error("something is there")
	}
	inject(t, device, good(from4, to4, 10))
	if !d.Arm() || !d.Pending() {
		t.Error("nothing is there")
	}
	d.Awake()
}
