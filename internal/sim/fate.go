package sim

import (
	"math/rand/v2"

	"usertcp/internal/tcp"
)

// foretell puts everything into the queue that happens to the world from
// outside: programs begin, links part and heal, programs are stopped and killed.
func (w *world) foretell() {
	r := rand.New(rand.NewPCG(w.plan.Seed, 3))
	for range w.plan.Conns {
		from := r.IntN(len(w.hosts))
		to := (from + 1 + r.IntN(len(w.hosts)-1)) % len(w.hosts)
		at := w.moment(r) / tcp.Time(pick(r, 1, 10, 1000))
		w.queue.add(epoch+at, func() { w.hosts[from].connect(w.hosts[to]) })
	}
	if w.plan.Partition {
		w.spells(r, func(l *link, on bool) { l.cut = on })
	}
	if w.plan.SmallMTU {
		mtu := 68 + r.IntN(max(1, w.plan.MTU-68))
		w.spells(r, func(l *link, on bool) {
			if l.mtu = 65535; on {
				l.mtu = mtu
			}
		})
	}
	if w.plan.Stop {
		w.stops(r)
	}
	if w.plan.Kill {
		h, how := w.hosts[r.IntN(len(w.hosts))], r.IntN(4)
		w.queue.add(epoch+w.moment(r)/tcp.Time(pick(r, 1, 10, 100)), func() { h.kill(r, how) })
	}
	w.queue.add(epoch+w.plan.Healed, w.heal)
}

// moment draws a moment before the network heals.
func (w *world) moment(r *rand.Rand) tcp.Time { return tcp.Time(r.Int64N(int64(w.plan.Healed))) }

// spells turns something on and off, in one direction or both.
func (w *world) spells(r *rand.Rand, turn func(l *link, on bool)) {
	for range 1 + r.IntN(3) {
		a := r.IntN(len(w.hosts))
		b := (a + 1) % len(w.hosts)
		both := r.IntN(3) > 0
		set := func(on bool) {
			turn(&w.links[a][b], on)
			if both {
				turn(&w.links[b][a], on)
			}
		}
		begin := w.moment(r)
		end := min(w.plan.Healed, begin+tcp.Time(r.Int64N(int64(30*tcp.Second))))
		w.queue.add(epoch+begin, func() { w.trace("trouble between %d and %d", a, b); set(true) })
		w.queue.add(epoch+end, func() { w.trace("no trouble between %d and %d", a, b); set(false) })
	}
}

// stops stops programs for a while.
func (w *world) stops(r *rand.Rand) {
	for range 1 + r.IntN(3) {
		h := w.hosts[r.IntN(len(w.hosts))]
		begin := w.moment(r) / tcp.Time(pick(r, 1, 20))
		long := tcp.Time(r.Int64N(int64(pick(r, tcp.Second, 20*tcp.Second))))
		if w.plan.Stopped > 0 {
			begin, long = begin/1000, w.plan.Stopped
		}
		w.queue.add(epoch+begin, func() { h.stop() })
		w.queue.add(epoch+min(w.plan.Healed, begin+long), func() { h.resume() })
	}
}

// heal ends all trouble.
func (w *world) heal() {
	w.trace("the network heals")
	w.healed = true
	for i := range w.links {
		for j := range w.links[i] {
			w.links[i][j].conditions = w.plan.calm()
		}
	}
	for _, h := range w.hosts {
		h.drv.death, h.doom = 0, doom{}
		h.resume()
	}
}
