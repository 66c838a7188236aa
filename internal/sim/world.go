package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Bounds of a run. Virtual time costs nothing: after the network has healed the
// longest wait is a retransmission timer that was backed off to 120 s, then the
// 60 s of TIME-WAIT.
const (
	endBound  = 20 * 60 * tcp.Second // after the healing
	maxEvents = 3_000_000
	maxRounds = 100_000 // of one host at one moment
)

// Options are those of a run.
type Options struct {
	Trace io.Writer // gets a line for every packet and every deed of a program, if not nil

	// sabotage breaks something, for tests of the checkers.
	sabotage func(*world)
}

// Result says what a run did.
type Result struct {
	Plan    Plan
	Virtual tcp.Time // that passed
	Packets int      // sent
	Octets  int      // read by programs
	Failed  int      // connections that ended with an error that is excused
	Repairs int
	Urgent  int    // urgent octets written
	Marks   int    // … of which a reader was told
	Digest  uint64 // of all packets and when they were sent
}

// Failure is what a checker found.
type Failure struct {
	Seed   uint64
	At     tcp.Time
	Reason string
	Plan   Plan
}

// Error says what was found and how to see it again.
func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d at %s: %s\nplan: %s\nreplay: usertcp sim -seed %d -v", f.Seed, stamp(f.At), f.Reason, f.Plan.String(), f.Seed)
}

// stamp prints a moment in seconds.
func stamp(t tcp.Time) string { return fmt.Sprintf("%.6f", float64(t)/float64(tcp.Second)) }

// epoch is when the virtual clock starts: no engine is to rely on a small one.
const epoch = 1000 * tcp.Second

// world is a run.
type world struct {
	plan   Plan
	opts   Options
	r      *rand.Rand // the network's
	now    tcp.Time
	queue  events
	hosts  []*host
	links  [][]link // from, to
	watch  watch
	talks  map[wire.Flow]*talk // by the flow of its active end
	order  []*talk
	opened int // active opens so far
	healed bool
	closed bool // the listeners are
	result Result
	line   []byte
}

// broken is what a checker panics with.
type broken struct{ reason string }

// fail ends the run.
func (w *world) fail(format string, args ...any) {
	panic(broken{fmt.Sprintf(format, args...)})
}

// rounds fails when a host has looked n times at one moment and still finds
// something to do.
func (w *world) rounds(n int) {
	if n > maxRounds {
		w.fail("a host finds something to do without end")
	}
}

// Run runs a seed. Its error is a *Failure, or says why it could not run.
func Run(seed uint64, opts Options) (Result, error) { return RunPlan(newPlan(seed), opts) }

// RunPlan runs a plan, which may have been changed.
func RunPlan(p Plan, opts Options) (result Result, err error) {
	w := &world{
		plan: p, opts: opts, r: rand.New(rand.NewPCG(p.Seed, 2)), now: epoch,
		watch: watch{ways: map[wire.Flow]*way{}, exact: p.Exact(), forged: p.IPv6 && p.Corrupt > 0}, talks: map[wire.Flow]*talk{},
	}
	w.result.Plan = p
	defer w.release()
	if err := w.build(); err != nil {
		return w.result, err
	}
	err = w.guard(w.run)
	w.result.Virtual = w.now - epoch
	return w.result, err
}

// guard turns a panic into a failure.
func (w *world) guard(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
			return
		case broken:
			err = &Failure{w.plan.Seed, w.now - epoch, p.reason, w.plan}
		default:
			err = &Failure{w.plan.Seed, w.now - epoch, fmt.Sprintf("panic: %v\n%s", p, debug.Stack()), w.plan}
		}
		w.trace("%v", err)
	}()
	f()
	return nil
}

func (w *world) build() error {
	p := &w.plan
	w.links = make([][]link, p.Hosts)
	for i := range p.Hosts {
		w.links[i] = make([]link, p.Hosts)
		for j := range w.links[i] {
			w.links[i][j].conditions = p.weather()
		}
		h, err := newHost(w, i)
		if err != nil {
			return err
		}
		w.hosts = append(w.hosts, h)
	}
	return nil
}

func (w *world) release() {
	for _, h := range w.hosts {
		h.seg.Close()
	}
}

// run does one event after the other.
func (w *world) run() {
	w.trace("plan: %s", w.plan.String())
	if w.opts.sabotage != nil {
		w.opts.sabotage(w)
	}
	w.foretell()
	for _, h := range w.hosts {
		h.look(false)
	}
	for n := 0; ; n++ {
		switch {
		case n > maxEvents:
			w.fail("no end after %d events", n)
		case w.now > epoch+w.plan.Healed+endBound:
			w.fail("not all has ended %d s after the network had healed: %s", endBound/tcp.Second, w.open())
		case !w.closed && w.healed && w.over():
			w.closeListeners()
			continue
		case w.queue.next() == tcp.Never && w.giveUp():
			continue
		case w.queue.next() == tcp.Never:
			w.finish()
			return
		}
		e := w.queue.take()
		w.now = e.at
		e.what()
	}
}

// over reports whether every program has come to its end.
func (w *world) over() bool {
	if w.opened < w.plan.Conns {
		return false
	}
	for _, h := range w.hosts {
		if !h.dead && h.open > 0 {
			return false
		}
	}
	return true
}

// giveUp lets programs give up that wait for a word that will never come. It
// reports false if nobody does.
func (w *world) giveUp() bool {
	any := false
	for _, h := range w.hosts {
		for _, s := range h.sockets {
			any = s != nil && s.giveUp() || any
		}
		if any {
			h.look(false)
		}
	}
	return any
}

// closeListeners ends what is left of the programs.
func (w *world) closeListeners() {
	w.closed = true
	for _, h := range w.hosts {
		h.closeListener()
	}
}

// open lists what has not ended.
func (w *world) open() string {
	s := ""
	for _, h := range w.hosts {
		for _, x := range h.sockets {
			if x != nil {
				s += fmt.Sprintf("\n  host %d: %s", h.id, x)
			}
		}
		if err := h.audit.Nothing(); err != nil {
			s += fmt.Sprintf("\n  host %d: %v", h.id, err)
		}
	}
	return s
}

// finish checks that nothing is left when nothing can happen any more.
func (w *world) finish() {
	if !w.closed {
		w.fail("nothing will ever happen, and yet: %s", w.open())
	}
	for _, h := range w.hosts {
		if err := h.audit.Nothing(); err != nil {
			w.fail("at the end, host %d: %v", h.id, err)
		}
		if err := h.drv.nothing(); err != nil {
			w.fail("at the end, host %d: %v", h.id, err)
		}
		if len(h.registered) > 0 {
			w.fail("at the end, host %d: the connection server was not told of the end of %d sockets", h.id, len(h.registered))
		}
		w.result.Repairs += int(h.bottom.Counters().Repairs)
	}
}

// transmit puts a packet on the link between two hosts. A slow one went through
// the connection server.
func (w *world) transmit(from, to int, b []byte, slow bool) {
	arrivals, fate := w.links[from][to].send(w.r, w.now, b)
	w.result.Packets++
	w.digest(b)
	if w.opts.Trace != nil {
		w.tracePacket(from, to, b, fate)
	}
	if fate == "too big" && w.plan.Told {
		w.tell(from, to, b)
	}
	for _, f := range arrivals {
		w.queue.add(f.at, func() { w.hosts[to].arrive(from, f.b, slow) })
	}
}

// tell sends a router's message about a packet that was too big.
func (w *world) tell(from, to int, b []byte) {
	l := &w.links[from][to]
	w.trace("%d>%d packet too big, the MTU is %d", to, from, l.mtu)
	w.queue.add(w.now+l.delay, func() { w.hosts[from].arrive(to, tooBig(b, l.mtu), false) })
}

// digest mixes a packet and its time into the result's digest (FNV-1a).
func (w *world) digest(b []byte) {
	const prime = 1099511628211
	d := (w.result.Digest ^ uint64(w.now)) * prime
	for _, x := range b[:min(len(b), 100)] {
		d = (d ^ uint64(x)) * prime
	}
	w.result.Digest = (d ^ uint64(len(b))) * prime
}

func (w *world) tracePacket(from, to int, b []byte, fate string) {
	var s seen
	s.read(b)
	w.line = wire.AppendSegment(w.line[:0], &s.ip, &s.tcp, s.n)
	w.trace("%d>%d %s [%s]", from, to, w.line, fate)
}

func (w *world) trace(format string, args ...any) {
	if w.opts.Trace != nil {
		fmt.Fprintf(w.opts.Trace, "%s "+format+"\n", append([]any{stamp(w.now - epoch)}, args...)...)
	}
}
