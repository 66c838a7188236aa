package sim

import (
	"fmt"
	"math/rand/v2"

	"usertcp/internal/half"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// host is a host: one application with its segment and both halves.
type host struct {
	w      *world
	id     int
	addr   wire.Addr
	seg    *shm.Segment
	drv    *driver
	top    *half.Direct
	bottom *half.Bottom
	audit  *half.Auditor
	r      *rand.Rand // of its programs

	sockets  []*socket // by index; nil where the program has none
	open     int       // sockets that the program has, the listener not counted
	listener uint32
	port     uint16 // of the next active open
	stopped  bool   // by SIGSTOP: the bottom half stands in
	dead     bool   // the program is no more
	doom     doom   // how it will die
	deaf     bool   // nobody looks at timers: for tests of the checkers

	wakeAt     tcp.Time // when it is looked at next
	events     []half.Happening
	registered map[uint32]wire.Flow // sockets that the connection server knows of
}

// service is the port that every host listens on.
const service = 80

func newHost(w *world, id int) (*host, error) {
	p := &w.plan
	h := &host{
		w: w, id: id, addr: address(p, id), port: 1024, wakeAt: tcp.Never, registered: map[uint32]wire.Flow{},
		r: rand.New(rand.NewPCG(p.Seed, 100+uint64(id))),
	}
	var err error
	if h.seg, err = shm.Create("usertcp-sim", half.Version, half.Specs(nil)...); err != nil {
		return nil, err
	}
	if err = half.Initialise(h.seg, p.MTU); err != nil {
		return nil, err
	}
	h.drv = newDriver(rand.New(rand.NewPCG(p.Seed, 200+uint64(id))), p, p.Hosts)
	h.drv.depart, h.drv.schedule, h.drv.taken = h.departs, h.schedule, h.takes
	cfg := half.Config{
		Segment: h.seg, Driver: h.drv, Bell: new(shm.Bell),
		Doorbells: [2]shm.Doorbell{shm.NoDoorbell, shm.NoDoorbell},
		Clock:     func() tcp.Time { return w.now },
	}
	if h.top, err = half.NewDirect(cfg); err != nil {
		return nil, err
	}
	if h.bottom, err = half.NewBottom(cfg, h); err != nil {
		return nil, err
	}
	h.audit = half.NewAuditor(h.bottom, h.drv.fits)
	h.top.SetSecret([16]byte{byte(p.Seed), byte(p.Seed >> 8), byte(id)})
	h.listener, _ = h.top.Open()
	if p.Odd {
		h.top.SetOptions(h.listener, oddStart(h.r))
	}
	h.top.Listen(h.listener, wire.Endpoint{Addr: h.addr, Port: service}, uint32(pick(h.r, 1, 2, 8)))
	return h, nil
}

func address(p *Plan, id int) wire.Addr {
	if p.IPv6 {
		return wire.Addr{0: 0xfd, 15: byte(id + 1)}
	}
	return wire.Addr{10: 0xff, 11: 0xff, 12: 10, 13: byte(id + 1), 15: 1}
}

// Send implements half.Outside: the packet goes through the connection servers,
// which are part of the network here.
func (h *host) Send(b []byte) {
	var ip wire.IP
	if err := wire.ParseIP(b, &ip); err != nil {
		h.w.fail("host %d sends a packet that can't be read: %v", h.id, err)
	}
	for to, peer := range h.w.hosts {
		if peer.addr == ip.Dst {
			h.departs(to, b)
			h.w.transmit(h.id, to, b, true)
			return
		}
	}
	h.w.fail("host %d sends a packet to nobody", h.id)
}

// arrive takes a packet that has come by the circuit from another host, or
// through the connection server.
func (h *host) arrive(from int, b []byte, slow bool) {
	if slow {
		h.takes(b)
		h.byBottom(func() { h.bottom.Arrive(b, uint16(from)) })
	} else if !h.drv.arrive(from, b) {
		return
	}
	h.look(false)
}

// Gone implements half.Outside: the server knows a moment later.
func (h *host) Gone(i uint32, _ half.Registered, flow wire.Flow, done func()) {
	if f, ok := h.registered[i]; !ok || f != flow {
		h.w.fail("host %d: the connection server is told of the end of socket %d %v, which it knows as %v", h.id, i, flow, f)
	}
	delete(h.registered, i)
	h.w.queue.add(h.w.now+h.drv.departure(), func() {
		h.byBottom(done)
		h.look(false)
	})
}

// departs sees a packet that is sent.
func (h *host) departs(to int, b []byte) {
	var s seen
	if !s.read(b) {
		h.w.fail("host %d sends a packet that can't be read", h.id)
	}
	if err := h.w.watch.sent(&s); err != nil {
		h.w.fail("host %d sends %s: %v", h.id, wire.SegmentString(&s.ip, &s.tcp, s.n), err)
	}
	if len(b) > h.w.plan.MTU {
		h.w.fail("host %d sends a packet of %d octets, the MTU of its device is %d", h.id, len(b), h.w.plan.MTU)
	}
}

// takes sees a packet that a half takes.
func (h *host) takes(b []byte) {
	var s seen
	if s.read(b) {
		h.w.watch.arrived(&s)
	}
}

// schedule lets the first packet of a queue leave in a moment.
func (h *host) schedule(to int) {
	h.w.queue.add(h.w.now+h.drv.departure(), func() {
		h.w.transmit(h.id, to, h.drv.left(to), false)
		if len(h.drv.circuits[to].queue) > 0 {
			h.schedule(to)
		}
		if h.drv.Pending() {
			h.look(false)
		}
	})
}

// look lets whoever drives this host do what there is to do, and checks. tick
// says that it is the child's tick, and nothing else, that brought us here.
func (h *host) look(tick bool) {
	switch {
	case !h.dead && !h.stopped:
		h.mortal(h.drive)
	case tick || h.top.SleeperIsBottom():
		h.byBottom(func() { h.bottom.Look(tick) })
	}
	h.check()
	h.plan()
}

// mortal runs something that the application does, in the middle of which it may
// die.
func (h *host) mortal(f func()) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(died); !ok {
				panic(p)
			}
			h.die()
		}
	}()
	f()
}

// drive is what the application does: the top half, and its programs.
func (h *host) drive() {
	for n := 0; ; n++ {
		h.w.rounds(n)
		did := h.top.Step()
		h.check()
		did = h.happenings() || did
		did = h.programs() || did
		if h.top.BottomWork() {
			h.byBottom(func() { h.bottom.Look(false) })
			did = true
		}
		if !did && !h.top.TopWork() {
			return
		}
	}
}

// byBottom runs something that the bottom half does, which does not die.
func (h *host) byBottom(f func()) {
	death := h.drv.death
	h.drv.death = 0
	f()
	h.drv.death = death
	h.check()
}

// happenings tells the programs what happened.
func (h *host) happenings() bool {
	h.events = h.top.Happenings(h.events[:0])
	for _, e := range h.events {
		if e.Socket == h.listener {
			h.accept()
		} else if s := h.socket(e.Socket); s != nil {
			s.happened(e.Events)
		}
	}
	return len(h.events) > 0
}

func (h *host) socket(i uint32) *socket {
	if int(i) < len(h.sockets) {
		return h.sockets[i]
	}
	return nil
}

// programs lets every program act whose time has come.
func (h *host) programs() bool {
	acted := false
	for _, s := range h.sockets {
		if s != nil && s.act() {
			acted = true
			h.check()
		}
	}
	return acted
}

// check audits the whole segment.
func (h *host) check() {
	if err := h.audit.Check(h.w.now); err != nil {
		h.w.fail("host %d: %v", h.id, err)
	}
}

// plan puts the next look into the queue.
func (h *host) plan() {
	at := h.top.Deadline()
	if h.deaf {
		at = tcp.Never
	}
	if h.dead || h.stopped {
		if h.drv.Pending() {
			at = h.w.now + 1
		}
		if at != tcp.Never { // the child looks at its ticks only
			const tick = tcp.Time(half.Tick)
			at = (max(at, h.w.now+1) + tick - 1) / tick * tick
		}
	} else {
		for _, s := range h.sockets {
			if s != nil {
				at = min(at, s.next())
			}
		}
		at = max(at, h.w.now+1)
	}
	if at == h.wakeAt || at == tcp.Never {
		h.wakeAt = at
		return
	}
	h.wakeAt = at
	h.w.queue.add(at, func() {
		if h.wakeAt == at { // otherwise there was another plan since
			h.wakeAt = tcp.Never
			h.look(h.dead || h.stopped)
		}
	})
}

// connect begins an active open to another host.
func (h *host) connect(to *host) {
	if h.stopped {
		h.w.queue.add(h.w.now+100*tcp.Millisecond, func() { h.connect(to) })
		return
	}
	h.w.opened++
	if !h.dead {
		h.mortal(func() { h.dial(to) })
		h.look(false)
	}
}

// dial makes a socket and has the bottom half connect it.
func (h *host) dial(to *host) {
	h.port++
	flow := wire.Flow{
		Local:  wire.Endpoint{Addr: h.addr, Port: h.port},
		Remote: wire.Endpoint{Addr: to.addr, Port: service},
	}
	t := &talk{key: h.r.Uint64()}
	if to.dead {
		t.excuse = "nobody listens"
	}
	h.w.talks[flow] = t
	h.w.order = append(h.w.order, t)
	i, ok := h.top.Open()
	if !ok {
		h.w.fail("host %d: no socket", h.id)
	}
	h.add(i, flow, t, 0)
	if h.w.plan.Odd {
		h.top.SetOptions(i, oddStart(h.r))
	}
	h.register(i, flow)
	h.byBottom(func() {
		if !h.bottom.Connect(i, flow, uint16(to.id)) {
			h.w.fail("host %d: the bottom half does not connect %v", h.id, flow)
		}
	})
}

// register is what the child does for a socket that the server is told of.
func (h *host) register(i uint32, flow wire.Flow) {
	h.registered[i] = flow
	h.byBottom(func() {
		if !h.bottom.Register(i, half.RegisteredFlow) {
			h.w.fail("host %d: socket %d can't be registered", h.id, i)
		}
	})
}

// accept takes what waits at the listener.
func (h *host) accept() {
	for {
		i, ok := h.top.Accept(h.listener)
		if !ok {
			return
		}
		flow := h.top.Conn(i).Flow
		t := h.w.talks[reverse(flow)]
		if t == nil {
			h.w.fail("host %d accepts %v, which nobody has opened", h.id, flow)
		}
		if first := t.ends[1]; first != nil {
			if h.socket(first.i) == first {
				h.w.fail("host %d accepts %v, which is still open, a second time", h.id, flow)
			}
			// A SYN cookie is good for a while: what comes late can open a connection
			// again that has ended (RFC 4987 section 3.6).
			h.w.trace("host %d aborts socket %d, which an old segment has made", h.id, i)
			h.top.Abort(i)
			continue
		}
		h.add(i, flow, t, 1)
	}
}

// add makes a program for socket i.
func (h *host) add(i uint32, flow wire.Flow, t *talk, side int) {
	for int(i) >= len(h.sockets) {
		h.sockets = append(h.sockets, nil)
	}
	if h.sockets[i] != nil {
		h.w.fail("host %d: socket %d is given out twice", h.id, i)
	}
	h.sockets[i] = newSocket(h, i, flow, t, side)
	h.open++
}

// remove forgets a socket that the program has closed.
func (h *host) remove(s *socket) {
	h.sockets[s.i] = nil
	h.open--
}

func (h *host) closeListener() {
	if !h.dead {
		h.top.Close(h.listener)
		h.listener = ^uint32(0)
		h.look(false)
	}
}

func (h *host) String() string { return fmt.Sprintf("host %d", h.id) }
