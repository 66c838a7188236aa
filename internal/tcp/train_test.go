package tcp

import (
	"math/rand/v2"
	"testing"

	"usertcp/internal/wire"
)

// longTrains is a mod that leaves the length of a train to the window.
func longTrains(tk *talk) { tk.c.Opt.LeastTrain = 60 }

func withoutSACK(tk *talk) { tk.c.Opt.SACK, tk.syn.Present = 0, tk.syn.Present&^wire.HasSACKPermitted }

// trained starts a conversation with SACK and offload, whose trains the pace does
// not bound, unless mods say otherwise.
func trained(t *testing.T, mods ...func(*talk)) *talk {
	t.Helper()
	a := established(t, append([]func(*talk){withSACK, longTrains}, mods...)...)
	a.c.SetOffload(60000)
	return a
}

// wantTrain wants a segment with more than 1000 octets, to be cut into segments of
// 1000.
func (tk *talk) wantTrain(s, ack, n int) {
	tk.t.Helper()
	if seg := tk.want(sPA, s, ack, n); seg.SegSize != 1000 {
		tk.t.Fatalf("a train of %d octets, to be cut into segments of %d", n, seg.SegSize)
	}
}

// wantSingle wants a segment that is not to be cut.
func (tk *talk) wantSingle(flags wire.Flags, s, ack, n int) {
	tk.t.Helper()
	if seg := tk.want(flags, s, ack, n); seg.SegSize != 0 {
		tk.t.Fatalf("a segment of %d octets, to be cut into segments of %d", n, seg.SegSize)
	}
}

func TestTrainHasHalfTheWindow(t *testing.T) {
	a := trained(t)
	a.write(20000)
	a.wantTrain(1, 1, 5000)
	a.wantTrain(5001, 1, 5000)
	a.wantNone()
	if s := &a.c.Stats; s.DataSegsOut != 10 || s.BytesSent != 10000 || s.SegsOut != 12 {
		t.Errorf("%d segments with data, %d octets, %d segments; want what the driver makes of them", s.DataSegsOut, s.BytesSent, s.SegsOut)
	}
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 10001, 0)
	a.wantTrain(10001, 1, 10000)
	a.wantNone()
}

func TestTrainsWithoutSACK(t *testing.T) {
	a := trained(t, withoutSACK)
	a.write(20000)
	a.wantTrain(1, 1, 5000)
	a.wantTrain(5001, 1, 5000)
	a.wantNone()
}

func TestNoTrainWithoutOffload(t *testing.T) {
	for _, most := range []uint32{0, 1999} {
		a := trained(t)
		a.c.SetOffload(most)
		a.write(3000)
		a.wantSingle(sA, 1, 1, 1000)
		a.wantSingle(sA, 1001, 1, 1000)
		a.wantSingle(sPA, 2001, 1, 1000)
	}
}

func TestTrainIsNoLongerThanTheDriverTakes(t *testing.T) {
	a := trained(t)
	a.c.SetOffload(3999)
	a.write(10000)
	a.wantTrain(1, 1, 3000)
	a.wantTrain(3001, 1, 3000)
	a.c.SetOffload(0)
	a.wantSingle(sA, 6001, 1, 1000)
	a.c.SetOffload(2000)
	a.wantTrain(7001, 1, 2000)
	a.wantSingle(sPA, 9001, 1, 1000)
	a.wantNone()
}

// The window of ten segments in 100 ms, doubled as in slow start, is 0.2 MB/s: in
// 1/1024 s less than a segment. With 40 MB/s it is 39 segments.
func TestTrainHasWhatLeavesInAMillisecond(t *testing.T) {
	for _, x := range []struct {
		name       string
		cwnd, srtt Time
		minRTT     Time
		want       uint32
	}{
		{"a slow one has two segments", 10_000, 100 * Millisecond, 100 * Millisecond, 2000},
		{"twice the window in a round trip", 1_000_000, 100 * Millisecond, 100 * Millisecond, 19000},
		{"the driver's limit", 10_000_000, 100 * Millisecond, 100 * Millisecond, 60000},
		{"a short round trip: half of the limit", 10_000, 100 * Millisecond, 600 * Microsecond, 30000},
		{"a very short one: the limit", 10_000, 100 * Millisecond, 100 * Microsecond, 60000},
		{"without a measurement the limit", 10_000, 0, 0, 60000},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := trained(t, option(func(o *ConnOptions) { o.LeastTrain = 0 }))
			a.c.cc.cwnd, a.c.cc.ssthresh = uint32(x.cwnd), maxBuffer
			a.c.rtt.srtt = x.srtt
			a.c.rack.low, a.c.rack.lowBefore = spanOf(x.minRTT), 0
			if got := a.c.trainMost(1000); got != x.want {
				t.Errorf("a train has %d octets at most, want %d", got, x.want)
			}
		})
	}
	a := trained(t, option(func(o *ConnOptions) { o.LeastTrain = 0 }))
	a.c.rate.pace = 5 << 20
	if got := a.c.trainMost(1000); got != 5000 {
		t.Errorf("at a pace of 5 MiB/s a train has %d octets at most", got)
	}
	if a.c.Opt.LeastTrain = 9; a.c.trainMost(1000) != 9000 {
		t.Errorf("LeastTrain makes it %d octets", a.c.trainMost(1000))
	}
}

func TestTrainEndsWithTheWindow(t *testing.T) {
	a := trained(t, func(tk *talk) { tk.window = 3500 })
	a.write(5000)
	a.wantTrain(1, 1, 3000) // the rest of the window is silly
	a.wantNone()
	a.inject(sA, 1, 3001, 0)
	a.wantTrain(3001, 1, 2000)
	a.wantNone()
}

// A train has half the window at most; what is left over of a write does not wait for
// its acknowledgement then.
func TestRestBehindHalfTheWindowDoesNotWait(t *testing.T) {
	a := trained(t)
	half := int(whole(a.c.cc.cwnd/2, 1000))
	a.write(half + 200)
	a.wantTrain(1, 1, half)
	a.wantSingle(sPA, half+1, 1, 200)
	a.wantNone()
}

func TestTrainTakesTheRestAlongIfItMayLeave(t *testing.T) {
	t.Run("nothing small is in flight", func(t *testing.T) {
		a := trained(t)
		a.write(3300)
		a.wantTrain(1, 1, 3300)
		a.wantNone()
		a.write(2200) // the 300 octets are in flight: Nagle
		a.wantTrain(3301, 1, 2000)
		a.wantNone()
		a.inject(sA, 1, 3301, 0)
		a.wantNone() // on its own it waits for the train's acknowledgement
		a.inject(sA, 1, 4301, 0)
		a.wantSingle(sPA, 5301, 1, 200)
	})
	t.Run("no Nagle", func(t *testing.T) {
		a := trained(t, option(noDelay))
		a.write(300)
		a.wantSingle(sPA, 1, 1, 300)
		a.write(2200)
		a.wantTrain(301, 1, 2200)
	})
	t.Run("cork", func(t *testing.T) {
		a := trained(t, option(cork))
		a.write(3300)
		a.wantTrain(1, 1, 3000)
		a.wantNone()
	})
	t.Run("FIN", func(t *testing.T) {
		a := trained(t)
		a.write(3300)
		a.shutdown()
		if seg := a.want(sFA|wire.PSH, 1, 1, 3300); seg.SegSize != 1000 {
			t.Errorf("segments of %d octets", seg.SegSize)
		}
		a.wantNone()
	})
}

func TestUrgentDataLeavesInSegmentsOfTheirOwn(t *testing.T) {
	a := trained(t)
	a.write(3000)
	a.do("SendUrgent", func(*Memory) { a.c.SendUrgent(a.now) })
	a.wantSingle(sA|wire.URG, 1, 1, 1000)
	a.wantSingle(sA|wire.URG, 1001, 1, 1000)
	a.wantSingle(sPA|wire.URG, 2001, 1, 1000)
}

// What is acknowledged inside of a train is gone, the rest stays where it is.
func TestAcknowledgementInsideATrain(t *testing.T) {
	for _, mod := range []func(*talk){withSACK, withoutSACK} {
		a := trained(t, mod, func(tk *talk) { tk.pieces = 700 })
		a.write(5000)
		a.wantTrain(1, 1, 5000)
		a.advance(10 * Millisecond)
		a.inject(sA, 1, 2001, 0)
		a.wantNone()
		if held := a.held(); held != 6 {
			t.Errorf("%d chunks are held, want 6 of 8", held)
		}
		a.write(4000)
		a.wantTrain(5001, 1, 4000)
		a.inject(sA, 1, 5501, 0) // not where a segment ends
		a.inject(sA, 1, 9001, 0)
		a.wantNone()
		if a.held() != 0 || a.c.Deadline() != Never {
			t.Error("something is left")
		}
	}
}

func TestHoleInsideATrainIsSentAgainAlone(t *testing.T) {
	a := trained(t)
	a.write(10000)
	a.drain()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1001, 0, sacks(2001, 5001))
	a.wantPhase(phaseRecovery)
	a.wantFates(3000, 1000)
	a.wantSingle(sA, 1001, 1, 1000)
	a.inject(sA, 1, 10001, 0)
	a.wantNone()
	a.wantPhase(phaseOpen)
}

// What is lost in one piece is sent again in one piece, as far as proportional
// rate reduction lets it.
func TestLostSegmentsAreSentAgainAsATrain(t *testing.T) {
	a := trained(t)
	a.write(10000)
	a.drain()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1, 0, sacks(6001, 10001))
	a.wantFates(4000, 6000)
	a.wantTrain(1, 1, 4000) // as much as has arrived
	a.wantNone()
	a.wantFates(4000, 2000)
	if a.c.Stats.Resent != 4 || a.c.Stats.BytesResent != 4000 {
		t.Errorf("%d segments and %d octets sent again", a.c.Stats.Resent, a.c.Stats.BytesResent)
	}
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 2001, 0, sacks(6001, 10001))
	a.wantSingle(sA, 4001, 1, 1000)
	a.wantSingle(sA, 5001, 1, 1000)
	a.inject(sA, 1, 10001, 0)
	a.wantNone()
	a.wantPhase(phaseOpen)
}

func TestTimeoutBeginsWithOneSegmentAndGoesOnWithTrains(t *testing.T) {
	for name, mod := range map[string]func(*talk){"with SACK": withSACK, "without": withoutSACK} {
		t.Run(name, func(t *testing.T) {
			a := trained(t, mod)
			a.write(8000)
			a.wantTrain(1, 1, 5000)
			a.wantTrain(5001, 1, 3000)
			a.advance(a.c.RTO() + Second)
			a.drain()
			a.c.undo.frto = frtoNone // that is another story
			a.inject(sA, 1, 1001, 0)
			a.wantTrain(1001, 1, 2000)
			a.wantNone()
			a.inject(sA, 1, 2001, 0)
			a.inject(sA, 1, 3001, 0)
			a.wantTrain(3001, 1, 2000)
			a.wantTrain(5001, 1, 2000)
			a.wantNone()
			a.inject(sA, 1, 8001, 0)
			a.wantPhase(phaseOpen)
			a.wantNone()
		})
	}
}

// The peer must not see more than it offers, but for one segment that tries.
func TestTrainIsSentAgainWithinTheWindow(t *testing.T) {
	a := trained(t)
	a.write(10000)
	a.drain()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1, 0, sacks(6001, 10001), window(3500))
	a.wantTrain(1, 1, 3000)
	a.drain()
}

// What was in two trains is sent again in two.
func TestTrainsAreSentAgainAsTheyWere(t *testing.T) {
	a := trained(t, option(noDelay), option(func(o *ConnOptions) { o.LeastTrain = 0 })) // two segments
	a.write(10000)
	for at := 1; at < 10000; at += 2000 {
		a.wantTrain(at, 1, 2000)
	}
	a.wantNone()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1001, 0, sacks(3001, 4001, 6001, 10001))
	a.wantSingle(sA, 1001, 1, 1000)
	a.wantSingle(sA, 2001, 1, 1000)
	a.wantTrain(4001, 1, 2000)
	a.wantNone()
	a.inject(sA, 1, 10001, 0)

	a.write(4500)
	a.wantTrain(10001, 1, 2000)
	a.wantTrain(12001, 1, 2000)
	a.wantSingle(sPA, 14001, 1, 500)
	if a.c.trains.from.From(ourISS) != 14001 || a.c.trainRest(a.c.snd.una) != 4000 {
		t.Error("the short one has not begun a new row of trains")
	}
	a.c.trains.from -= 1 << 31 // long ago
	a.c.noteTrain(500)
	if a.c.trains.from != a.c.snd.nxt {
		t.Error("a place half the sequence space behind is kept")
	}
}

func TestTailLossProbeIsOneSegment(t *testing.T) {
	t.Run("the last segment of a train", func(t *testing.T) {
		a := trained(t)
		a.write(4500)
		a.wantTrain(1, 1, 4500)
		a.advance(25 * Millisecond)
		a.wantSingle(sPA, 4001, 1, 500)
		a.wantNone()
	})
	t.Run("new data", func(t *testing.T) {
		a := trained(t)
		a.write(14000)
		a.drain()
		a.advance(25 * Millisecond)
		a.wantSingle(sA, 10001, 1, 1000)
		a.wantNone()
	})
}

// Three segments of a window of 12, while an acknowledgement is due at once, are
// not worth a train.
func TestTrainWaitsForTheNextAcknowledgement(t *testing.T) {
	start := func(t *testing.T) *talk {
		a := trained(t)
		a.c.rtt.srtt = 500 * Microsecond
		a.write(40000)
		a.drain()
		a.now += 400 * Microsecond
		a.inject(sA, 1, 1001, 0)
		return a
	}
	t.Run("it comes", func(t *testing.T) {
		a := start(t)
		a.wantNone()
		a.inject(sA, 1, 2001, 0)
		a.wantTrain(10001, 1, 4000)
		a.wantNone()
	})
	t.Run("it does not come: the tail loss probe", func(t *testing.T) {
		a := start(t)
		a.wantNone()
		a.advance(5 * Millisecond)
		a.wantSingle(sA, 10001, 1, 1000)
	})
	t.Run("not for long", func(t *testing.T) {
		a := start(t)
		a.now += Millisecond
		a.wantTrain(10001, 1, 2000)
	})
	t.Run("not if it comes late", func(t *testing.T) {
		a := start(t)
		a.c.rtt.srtt = 2 * Millisecond
		a.wantTrain(10001, 1, 2000)
	})
	t.Run("not when all there is can leave", func(t *testing.T) {
		a := trained(t)
		a.c.rtt.srtt = 500 * Microsecond
		a.write(12000)
		a.drain()
		a.now += 400 * Microsecond
		a.inject(sA, 1, 1001, 0)
		a.wantTrain(10001, 1, 2000)
	})
	t.Run("the window grows as if it had left", func(t *testing.T) {
		a := start(t)
		a.c.cc.ssthresh, a.c.cc.private[renoCount] = a.c.cc.cwnd, uint64(a.c.cc.cwnd)-1
		cwnd := a.c.cc.cwnd
		a.wantNone()
		a.inject(sA, 1, 2001, 0)
		if a.c.cc.cwnd != cwnd+1000 {
			t.Errorf("cwnd was %d and is %d", cwnd, a.c.cc.cwnd)
		}
	})
}

// Only the first segment that the driver makes of a train has CWR: it is the
// driver's to see to that.
func TestTrainSaysOnceThatTheWindowIsReduced(t *testing.T) {
	a := ecnTalk(t, withSACK, longTrains)
	a.c.SetOffload(60000)
	a.write(20000)
	a.drain()
	a.advance(10 * Millisecond)
	a.inject(sA|wire.ECE, 1, 1001, 0)
	a.inject(sA, 1, 10001, 0)
	seg := Segment{}
	if !a.next(&seg) || seg.Flags&wire.CWR == 0 || seg.ECN != ECT0 || seg.SegSize == 0 {
		t.Errorf("%+v", seg)
	}
	if a.next(&seg) && seg.Flags&wire.CWR != 0 {
		t.Error("a second time")
	}
}

// TestTrainsCarryTheStream lets a peer acknowledge and lose at random what comes
// in trains of all kinds, and finds the whole stream there in the end.
func TestTrainsCarryTheStream(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 9293))
		a := trained(t, func(tk *talk) {
			tk.pieces = 100 + r.IntN(1900)
			tk.c.Opt.LeastTrain = uint8(r.IntN(20))
			tk.c.Opt.NoDelay = uint8(r.IntN(2))
		})
		a.c.SetOffload(r.Uint32N(70000))
		p := lossyPeer{a: a, r: r, held: map[int]bool{}}
		for range 60 {
			if n := 1 + r.IntN(4000); len(a.st.free) > n/100+50 {
				a.write(n)
			}
			p.turn()
		}
		for i := 0; p.next < a.wrote; i++ {
			if i > 500 {
				t.Fatalf("seed %d: %d octets of %d have arrived", seed, p.next, a.wrote)
			}
			p.turn()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// lossyPeer keeps what it gets of a stream, octet by octet.
type lossyPeer struct {
	a    *talk
	r    *rand.Rand
	held map[int]bool
	next int // octets that have arrived in order
}

// turn takes what leaves, drops some segments, acknowledges the rest and lets time
// pass.
func (p *lossyPeer) turn() {
	var out Segment
	for p.a.next(&out) {
		size := int(out.SegSize)
		if size == 0 {
			size = max(int(out.Len), 1)
		}
		at := rel(out.Seq, ourISS) - 1
		for i := 0; i < int(out.Len); i += size {
			if p.r.IntN(10) > 0 {
				p.take(at+i, min(size, int(out.Len)-i))
			}
		}
	}
	p.a.advance(Time(p.r.Int64N(int64(30 * Millisecond))))
	if p.r.IntN(4) > 0 {
		p.a.inject(sA, 1, p.next+1, 0, sacks(p.ranges()...))
	}
}

func (p *lossyPeer) take(at, n int) {
	for i := range n {
		p.held[at+i] = true
	}
	for p.held[p.next] {
		delete(p.held, p.next)
		p.next++
	}
}

// ranges returns up to three ranges behind the gap.
func (p *lossyPeer) ranges() (edges []int) {
	for i := p.next; i < p.a.wrote && len(edges) < 6; i++ {
		if p.held[i] != (len(edges)%2 == 1) {
			edges = append(edges, i+1)
		}
	}
	if len(edges)%2 == 1 {
		edges = append(edges, p.a.wrote+1)
	}
	return edges
}

// A device that cuts trains must not cost goodput: bursts are bounded by the pace,
// and a train that waits does not keep cwnd from growing.
func TestTrainsCostNoGoodput(t *testing.T) {
	for _, x := range []struct {
		mbit   uint64
		delay  Time
		buffer float64
		loss   float64
		merged float64 // segments in a train, on average, at least
	}{
		{20, 50 * Millisecond, 1, 0, 1.5},
		{20, 50 * Millisecond, 1, 0.01, 1.2},
		{20, 200 * Millisecond, 0.25, 0.001, 1.2},
		{100, 10 * Millisecond, 1, 0.001, 1.5},
		{1000, 1 * Millisecond, 4, 0, 4},
		{1000, 200 * Microsecond, 8, 0, 4},
	} {
		rate := x.mbit * 1e6 / 8
		p := link{rate: rate, delay: x.delay, loss: x.loss, seed: 7}
		p.buffer = uint32(max(x.buffer*float64(rate)*float64(x.delay)/1e9, 64<<10))
		d := 4 * Second
		if x.mbit == 1000 {
			d = Second / 2
		}
		for _, algo := range []uint8{CongestionCubic, CongestionReno, CongestionBBR} {
			plain := newBottleneck(t, p, algo)
			plain.run(d)
			trains := newBottleneck(t, p, algo)
			trains.offload = 65000
			trains.run(d)
			ratio := float64(trains.got) / float64(plain.got)
			merged := float64(trains.sent) / float64(trains.trains)
			if ratio < 0.93 || merged < x.merged {
				t.Errorf("%s, %d Mbit/s, %v ms, loss %v: %.3f of the goodput without trains, %.1f segments in one",
					CongestionName(algo), x.mbit, float64(x.delay)/1e6, x.loss, ratio, merged)
			}
		}
	}
}
