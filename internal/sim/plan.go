package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// Plan is what a seed is about. Each seed has some of the faults only: with all
// of them at once nothing would get far enough to fail in an interesting way.
type Plan struct {
	Seed    uint64
	Hosts   int
	Conns   int  // active opens in all
	IPv6    bool // addresses
	Healed  tcp.Time
	MTU     int // of the hosts' devices
	Buffer  int // octets of a driver's buffer
	Buffers int // of them on each circuit
	Slots   int // packets that the driver's send queue holds

	Loss, Dup, Reorder, Corrupt float64 // of packets
	Mark                        float64 // … that get a congestion mark
	Told                        bool    // routers tell of packets that are too big
	Delay, Jitter               tcp.Time
	Rate                        int // octets in a second; 0: as fast as they come
	Clog                        int // octets that wait for Rate before packets are dropped
	SmallMTU                    bool
	Partition, Stop, Kill, Odd  bool
	Stopped                     tcp.Time // how long Stop stops a program; 0: as it is drawn, up to 20 s
	Volume                      int      // most octets that a program writes
	Urgent                      bool     // some of them are urgent, and stay in the stream
	Refuse                      float64  // of packets: the device can't take them now
}

// newPlan draws the plan of a seed.
func newPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := Plan{
		Seed:    seed,
		Hosts:   2,
		Conns:   1 + r.IntN(4),
		IPv6:    r.IntN(3) == 0,
		MTU:     pick(r, 576, 1280, 1500, 1500, 4000, 9000, 65535),
		Buffer:  pick(r, 512, 2048, 4096, 16384),
		Buffers: pick(r, 4, 16, 64, 128),
		Slots:   pick(r, 2, 8, 64),
		Delay:   tcp.Time(pick(r, 0, 50, 1000, 25000, 150000)) * tcp.Microsecond,
		Volume:  pick(r, 100, 5000, 30000, 30000, 100000, 300000),
	}
	if r.IntN(4) == 0 {
		p.Hosts = 3
	}
	if p.IPv6 {
		p.MTU = max(p.MTU, 1280)
	}
	// A packet has so many pieces at most, and its payload may begin anywhere.
	p.Buffer = max(p.Buffer, (p.MTU+pool.MaxPieces-2)/(pool.MaxPieces-1))
	p.Healed = tcp.Second + tcp.Time(r.Int64N(int64(pick(r, 5, 40, 200))*int64(tcp.Second)))
	some := func(n int) bool { return r.IntN(n) == 0 }
	if some(2) {
		p.Loss = pick(r, 0.001, 0.01, 0.05, 0.3)
	}
	if some(4) {
		p.Dup = pick(r, 0.01, 0.2)
	}
	if some(3) {
		p.Reorder = pick(r, 0.01, 0.1, 0.5)
	}
	if some(4) {
		p.Corrupt = pick(r, 0.01, 0.1)
	}
	if some(3) {
		p.Jitter = tcp.Time(1+r.Int64N(50)) * tcp.Millisecond
	}
	if some(3) {
		p.Rate = pick(r, 20_000, 200_000, 2_000_000)
		p.Clog = max(2*p.MTU, pick(r, 3000, 20000, 100000))
	}
	p.SmallMTU, p.Partition, p.Stop, p.Kill, p.Odd = some(6), some(4), some(4), some(5), some(2)
	if p.Told = some(2); some(4) {
		p.Mark = pick(r, 0.01, 0.2)
	}
	p.Urgent = some(4)
	if some(5) {
		p.Refuse = pick(r, 0.02, 0.2)
	}
	return p
}

// Severe reports whether the network is so bad that a connection may time out,
// or its ends lose sight of each other.
func (p *Plan) Severe() bool {
	return p.Partition || p.SmallMTU || p.Loss >= 0.3 || p.Corrupt >= 0.1 || p.Rate > 0 || p.Kill
}

// String lists what is unusual about the plan.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d hosts, %d connections of up to %d octets, mtu %d, %d buffers of %d, delay %d µs, healed after %.1f s",
		p.Hosts, p.Conns, p.Volume, p.MTU, p.Buffers, p.Buffer, p.Delay/tcp.Microsecond, float64(p.Healed)/1e9)
	for _, x := range []struct {
		on   bool
		what string
	}{
		{p.IPv6, "IPv6"}, {p.Loss > 0, fmt.Sprint("loss ", p.Loss)}, {p.Dup > 0, fmt.Sprint("doubles ", p.Dup)},
		{p.Reorder > 0, fmt.Sprint("reorders ", p.Reorder)}, {p.Corrupt > 0, fmt.Sprint("damages ", p.Corrupt)},
		{p.Jitter > 0, fmt.Sprint("jitter ", p.Jitter/tcp.Millisecond, " ms")},
		{p.Rate > 0, fmt.Sprint("rate ", p.Rate, " B/s, queue ", p.Clog)}, {p.SmallMTU, "the path's MTU changes"}, {p.SmallMTU && p.Told, "and ICMP says so"}, {p.Mark > 0, fmt.Sprint("marks ", p.Mark)},
		{p.Partition, "partitions"}, {p.Stop, "programs stopped"}, {p.Kill, "a program killed"}, {p.Odd, "odd programs"}, {p.Urgent, "urgent data"},
		{p.Refuse > 0, fmt.Sprint("devices refuse ", p.Refuse)},
	} {
		if x.on {
			b.WriteString(", " + x.what)
		}
	}
	return b.String()
}

// pick returns one of xs.
func pick[T any](r *rand.Rand, xs ...T) T { return xs[r.IntN(len(xs))] }

// chance reports true with probability p. It draws nothing if p is zero.
func chance(r *rand.Rand, p float64) bool { return p > 0 && r.Float64() < p }
