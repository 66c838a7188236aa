package half

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// crashHost is an application and its child without goroutines, whose memory a
// test can look at and put back: all that a process's death leaves of it.
type crashHost struct {
	t      testing.TB
	w      *crashWorld
	addr   wire.Addr
	vci    wire.VCI
	seg    *shm.Segment
	page   *shm.Segment
	own    *shm.Segment // of circuit 0
	doors  [2]shm.Doorbell
	drv    crashDriver // one for both halves: neither is in the segment while the other is
	ring   *ring.Driver
	nic    *nic.Driver // nil without devices
	tap    int         // what nic takes for a device
	cfg    Config
	top    *Direct
	bottom *Bottom
	audit  *Auditor
	mem    []*memory // of seg, page and own
}

// crashWorld is two hosts with a circuit, number 0 at both, or with devices, under one
// clock.
type crashWorld struct {
	now     tcp.Time
	a, b    *crashHost
	circuit uint16 // by which they reach each other
	devices bool
}

// crashDriver is what the test asks of a driver, or of two.
type crashDriver interface {
	pool.Driver
	Fits(tx, held func(region uint16, id uint32) uint32) error
	InUse() (tx, held int)
}

// memory is a memfd as raw octets.
type memory struct {
	fd     int
	octets []byte
	blocks int64
	pages  []int64 // that have memory
}

const page = 4096

func newMemory(t testing.TB, s *shm.Segment) *memory {
	b, err := unix.Mmap(s.Fd(), 0, s.Size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(t, err)
	t.Cleanup(func() { unix.Munmap(b) })
	return &memory{fd: s.Fd(), octets: b}
}

// scan finds the pages that have memory, if there are more than at the last time.
func (m *memory) scan() bool {
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil || st.Blocks == m.blocks {
		return false
	}
	m.blocks = st.Blocks
	m.pages = m.pages[:0]
	for at := int64(0); ; {
		from, err := unix.Seek(m.fd, at, unix.SEEK_DATA)
		if err != nil {
			return true
		}
		if at, err = unix.Seek(m.fd, from, unix.SEEK_HOLE); err != nil {
			return true
		}
		for p := from / page; p < at/page; p++ {
			m.pages = append(m.pages, p)
		}
	}
}

func (m *memory) page(p int64) []byte { return m.octets[p*page : (p+1)*page] }

// become makes m what from is.
func (m *memory) become(from *memory) {
	m.scan()
	k := 0
	for _, p := range from.pages {
		for ; k < len(m.pages) && m.pages[k] < p; k++ {
			clear(m.page(m.pages[k]))
		}
		if k < len(m.pages) && m.pages[k] == p {
			k++
		}
		copy(m.page(p), from.page(p))
	}
	for ; k < len(m.pages); k++ {
		clear(m.page(m.pages[k]))
	}
}

// saved is a copy of a memory.
func (m *memory) saved() *memory {
	m.scan()
	c := &memory{octets: make([]byte, len(m.octets)), pages: append([]int64(nil), m.pages...)}
	for _, p := range c.pages {
		copy(c.page(p), m.page(p))
	}
	return c
}

func newCrashWorld(t testing.TB, devices bool) *crashWorld {
	w := &crashWorld{now: 1000 * tcp.Second, devices: devices}
	var taps [2]int
	if devices {
		w.circuit, taps = pool.NIC, newTAPs(t)
	}
	w.a, w.b = w.host(t, 1, taps[0]), w.host(t, 2, taps[1])
	if devices {
		for _, h := range []*crashHost{w.a, w.b} {
			h.mem = []*memory{newMemory(t, h.seg), newMemory(t, h.page)}
		}
	} else {
		w.join(t)
	}
	w.settle()
	return w
}

// join makes the circuit.
func (w *crashWorld) join(t testing.TB) {
	offer := func(h, to *crashHost) (i uint16) {
		var err error
		h.own, err = h.ring.NewMemory(to.vci)
		check(t, err)
		h.bottom.Change(func() { i, err = h.ring.Offer(to.vci, h.own) })
		check(t, err)
		return i
	}
	complete := func(i uint16, h, peer *crashHost) {
		var err error
		h.bottom.Change(func() { err = h.ring.Complete(i, peer.offers()) })
		check(t, err)
		h.mem = []*memory{newMemory(t, h.seg), newMemory(t, h.page), newMemory(t, h.own)}
	}
	ia, ib := offer(w.a, w.b), offer(w.b, w.a)
	complete(ia, w.a, w.b)
	complete(ib, w.b, w.a)
}

func (w *crashWorld) host(t testing.TB, n, tap int) *crashHost {
	h := &crashHost{t: t, w: w, addr: wire.AddrFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(n)})), vci: wire.NewVCI(n, 1), tap: tap}
	var err error
	h.seg, err = shm.Create("test-crash", Version, Specs(append(ring.Specs(), nic.Specs()...))...)
	check(t, err)
	check(t, Initialise(h.seg, 65535))
	check(t, ring.Initialise(h.seg, false))
	check(t, nic.Initialise(h.seg))
	h.page, err = ring.NewBellPage()
	check(t, err)
	for i := range h.doors {
		h.doors[i], err = shm.NewDoorbell()
		check(t, err)
	}
	check(t, h.drive())
	h.halves()
	h.top.SetSecret([16]byte{byte(n)})
	return h
}

// halves makes both halves anew, as a process that starts on the segment does.
func (h *crashHost) halves() {
	bell, err := shm.One[shm.Bell](h.page, ring.SectionBell)
	check(h.t, err)
	h.cfg = Config{Segment: h.seg, Driver: h.drv, Bell: bell, Doorbells: h.doors, Clock: func() tcp.Time { return h.w.now }}
	h.top, err = NewDirect(h.cfg)
	check(h.t, err)
	h.bottom, err = NewBottom(h.cfg, h)
	check(h.t, err)
	h.audit = NewAuditor(h.bottom, h.drv.Fits)
}

func (h *crashHost) offers() (p ring.Peer) {
	var err error
	p.Memory, err = h.own.ReadOnly()
	check(h.t, err)
	p.Bell, err = h.page.ReadOnly()
	check(h.t, err)
	p.Top, p.Bottom = duplicate(h.t, h.doors[0].Fd()), duplicate(h.t, h.doors[1].Fd())
	return p
}

// Send and Gone are what the connection server does.
func (h *crashHost) Send(ip []byte) {
	if h == h.w.a {
		h.w.b.bottom.Arrive(ip, 0)
	} else {
		h.w.a.bottom.Arrive(ip, 0)
	}
}

func (h *crashHost) Gone(_ uint32, _ Registered, _ wire.Flow, done func()) { done() }

// drive makes the driver of the segment.
func (h *crashHost) drive() (err error) {
	if h.ring, err = ring.NewDriver(h.seg, h.vci); err != nil {
		return err
	}
	h.drv = h.ring
	if h.w.devices {
		if h.nic, err = nic.New(h.seg, h.tap); err == nil {
			h.drv = &joint{pool.Join(h.ring, h.nic), h.ring, h.nic}
		}
	}
	return err
}

// settle drives both hosts until nothing happens.
func (w *crashWorld) settle() {
	w.a.drv.Changed()
	w.b.drv.Changed()
	for range 1000 {
		did := w.a.top.Step()
		did = w.b.top.Step() || did
		w.a.bottom.Look(false)
		w.b.bottom.Look(false)
		if !did && !w.a.drv.Pending() && !w.b.drv.Pending() {
			return
		}
	}
	panic("BUG: the hosts do not settle")
}

// listen makes a listener at port.
func (h *crashHost) listen(port uint16, backlog uint32) uint32 {
	l, _ := h.top.Open()
	h.top.Listen(l, wire.Endpoint{Addr: h.addr, Port: port}, backlog)
	return l
}

// dial begins an active open.
func (h *crashHost) dial(to *crashHost, local, port uint16) uint32 {
	i, _ := h.top.Open()
	f := wire.Flow{Local: wire.Endpoint{Addr: h.addr, Port: local}, Remote: wire.Endpoint{Addr: to.addr, Port: port}}
	if !h.bottom.Connect(i, f, h.w.circuit) {
		h.t.Fatal("Connect refused")
	}
	return i
}

// pair makes a connection from h to another host, and returns both ends.
func (h *crashHost) pair(to *crashHost, local uint16) (mine, theirs uint32) {
	l := to.listen(9000+local, 4)
	mine = h.dial(to, local, 9000+local)
	h.w.settle()
	theirs, ok := to.top.Accept(l)
	if !ok {
		h.t.Fatalf("nothing to accept: %v", h.top.Conn(mine).State)
	}
	to.top.Close(l)
	nagle := func(o *tcp.ConnOptions) { o.NoDelay = 1 }
	h.top.SetOptions(mine, nagle)
	to.top.SetOptions(theirs, nagle)
	h.w.settle()
	return mine, theirs
}

// stream is the octets that a connection carries: every offset has its own.
func stream(conn uint32, from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := from + i
		b[i] = byte(at) ^ byte(at>>8)*7 ^ byte(conn)*31
	}
	return b
}

// reader is the program at the end of a connection that checks what comes.
type reader struct {
	h    *crashHost
	i    uint32 // its socket
	conn uint32 // whose stream it is
	got  int
	end  bool
}

// read takes what is there.
func (r *reader) read() error {
	var buf [64 << 10]byte
	for !r.end {
		n, fin := r.h.top.Read(r.i, buf[:])
		if string(buf[:n]) != string(stream(r.conn, r.got, n)) {
			return fmt.Errorf("octets %d to %d of connection %d are not those that were written", r.got, r.got+n, r.conn)
		}
		r.got += n
		if r.end = fin || r.h.top.Conn(r.i).State == tcp.Closed; n == 0 {
			break
		}
	}
	return nil
}
