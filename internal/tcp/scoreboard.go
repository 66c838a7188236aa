package tcp

import "usertcp/internal/seq"

// stamp is a moment in units of 1024 ns, modulo 2^32, in whose lowest four bits
// stands what became of what was sent then.
type stamp uint32

// The fates of octets that are in flight or were. What has none of sentSacked
// and sentLost is believed in flight.
const (
	sentSacked stamp = 1 << iota // the peer says it has them
	sentLost                     // believed lost, to be sent again
	sentResent                   // sent more than once

	// Between the first octets of the run before and these something was sent again.
	// When that arrives these are still on their way: they must not be counted as sent
	// before it, as they would be if they joined that run.
	sentFence

	sentFate = sentSacked | sentLost | sentResent
	sentBits = sentFate | sentFence
)

// span is a time between two stamps, in units of 1024 ns.
type span uint32

const spanShift = 10

// stampOf returns the stamp of a moment.
func stampOf(now Time) stamp { return stamp(now>>spanShift) &^ sentBits }

// since returns how long after b a is, zero if it is before.
func (a stamp) since(b stamp) span {
	if d := int32(a&^sentBits - b&^sentBits); d > 0 {
		return span(d)
	}
	return 0
}

// spanOf returns t in units of span, as large as a span can be at most.
func spanOf(t Time) span { return span(min(max(t>>spanShift, 0), 1<<31-1)) }

func (s span) time() Time { return Time(s) << spanShift }

// sent is a run of octets that were sent at one time, or nearly so, and share
// their fate. It begins where the one before it ends, the first at una.
type sent struct {
	end seq.Number
	at  stamp
}

// scoreboard is what is known of the octets from snd.una to snd.nxt, if the peer
// sends selective acknowledgements (RFC 2018, RFC 8985 section 5.2):
//
//	una      run[0].end      run[1].end   …   run[n-1].end = nxt
//	 |-----------|---------------|----------------|
//
// Neighbours that say the same are one run. With more holes in what the peer has
// than there is room for runs, some of what it said is forgotten.
type scoreboard struct {
	at           place
	n            uint32
	una          seq.Number
	sacked, lost uint32         // octets of that fate
	again        uint32         // octets in flight that were sent more than once
	resent       stamp          // when something was last sent again, 0 if that is long ago
	near         [nearRuns]sent // the runs, unless they lie in an annex
}

// begin makes a scoreboard of nothing.
func (b *scoreboard) begin(una seq.Number) {
	b.n, b.sacked, b.lost, b.again, b.resent = 0, 0, 0, 0, 0
	b.at.far = 0
	b.una = una
}

// grow adds what has just been sent for the first time. What leaves within grain
// after the first octets of a run joins it, unless something was sent again in
// between: see sentFence.
func (b *scoreboard) grow(m *Memory, end seq.Number, at stamp, grain span) {
	if b.n == 0 || at.since(b.resent) > grain {
		b.resent = 0
	}
	if b.n > 0 {
		last := &b.view(m)[b.n-1]
		switch {
		case !b.latest(last.at):
			at |= sentFence
		case last.at&sentFate == 0 && at.since(last.at) <= grain:
			if b.at.far != 0 {
				last = &b.edit(m)[b.n-1]
			}
			last.end = end
			return
		}
		b.makeRoom(m, 1)
	}
	b.edit(m)[b.n] = sent{end, at}
	b.n++
}

// latest reports whether nothing was sent again since the moment at.
func (b *scoreboard) latest(at stamp) bool { return b.resent == 0 || b.resent.since(at) == 0 }

// makeRoom sees to it that n more runs fit: it joins neighbours if they must.
func (b *scoreboard) makeRoom(m *Memory, n uint32) {
	if b.at.far == 0 && b.n+n > nearRuns && b.at.home != 0 {
		b.spill(m)
	}
	for b.n+n > b.most() {
		b.join(m, b.cheapest(m))
	}
}

// most returns how many runs there is room for.
func (b *scoreboard) most() uint32 {
	if b.at.far != 0 {
		return maxRuns
	}
	return nearRuns
}

// cheapest returns the run that is best joined to the one behind it: one of the
// same fate and nearly the same time, or else a small one.
func (b *scoreboard) cheapest(m *Memory) uint32 {
	best, least := uint32(0), ^uint64(0)
	from := b.una
	rs := b.view(m)
	for i := range b.n - 1 {
		x, y := rs[i], rs[i+1]
		cost := 1<<32 + uint64(y.end.From(from))
		if (x.at^y.at)&(sentSacked|sentLost) == 0 {
			cost = uint64(x.at.since(y.at) + y.at.since(x.at))
		}
		if cost < least {
			best, least = i, cost
		}
		from = x.end
	}
	return best
}

// join joins run i to the one behind it. Where they differ the new one is what
// asks for less: not delivered, not lost, and sent at the later time.
func (b *scoreboard) join(m *Memory, i uint32) {
	rs := b.edit(m)
	x, y := rs[i], rs[i+1]
	at := y.at
	if x.at.since(y.at) > 0 {
		at = x.at
	}
	fate := x.at&y.at&(sentSacked|sentLost) | (x.at|y.at)&sentResent
	rs[i+1].at = at&^sentBits | fate | x.at&sentFence
	copy(rs[i:b.n], rs[i+1:b.n])
	b.n--
	b.count(m)
}

// find returns the index of the run that holds the octet s, n if none does, and
// where the run begins.
func (b *scoreboard) find(m *Memory, s seq.Number) (i uint32, start seq.Number) {
	rs := b.view(m)
	low, high := uint32(0), b.n
	for low < high {
		if mid := (low + high) / 2; s.Before(rs[mid].end) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low == 0 {
		return low, b.una
	}
	return low, rs[low-1].end
}

// cut returns the index of the run that begins at s, for which it cuts the run
// that holds s: there must be room for one more. At nxt it returns n.
func (b *scoreboard) cut(m *Memory, s seq.Number) uint32 {
	i, start := b.find(m, s)
	if start == s || i == b.n {
		return i
	}
	rs := b.edit(m)
	copy(rs[i+1:b.n+1], rs[i:b.n])
	rs[i].end = s
	b.n++
	return i + 1
}

// isolate makes [start, end), a part of what is on the board, whole runs, and
// returns them as [i, j) of rs.
func (b *scoreboard) isolate(m *Memory, start, end seq.Number) (rs []sent, i, j uint32) {
	b.makeRoom(m, 2)
	i = b.cut(m, start)
	j = b.cut(m, end)
	return b.edit(m), i, j
}

// tidy makes neighbours one run that say the same, and counts.
func (b *scoreboard) tidy(m *Memory, grain span) {
	rs := b.edit(m)
	k := uint32(0)
	for i := range b.n {
		if k > 0 && b.merges(rs[k-1], rs[i], grain) {
			rs[k-1].end = rs[i].end
			rs[k-1].at |= rs[i].at & sentResent
			continue
		}
		rs[k] = rs[i]
		k++
	}
	b.n = k
	b.count(m)
}

// merges reports whether the run y behind x need not be one of its own. When
// something was sent matters no more once it is delivered or lost.
func (b *scoreboard) merges(x, y sent, grain span) bool {
	switch {
	case x.at&y.at&sentSacked != 0:
		return true
	case (x.at^y.at)&sentFate != 0:
		return false
	case x.at&sentLost != 0:
		return true
	}
	if y.at&sentFence|x.at&sentResent != 0 {
		grain = 0
	}
	return x.at.since(y.at) == 0 && y.at.since(x.at) <= grain
}

// count counts the octets of each fate.
func (b *scoreboard) count(m *Memory) {
	b.sacked, b.lost, b.again = 0, 0, 0
	from := b.una
	for _, r := range b.view(m) {
		n := uint32(r.end.From(from))
		switch {
		case r.at&sentSacked != 0:
			b.sacked += n
		case r.at&sentLost != 0:
			b.lost += n
		case r.at&sentResent != 0:
			b.again += n
		}
		from = r.end
	}
}

// forget takes the fates in mask off all runs.
func (b *scoreboard) forget(m *Memory, mask stamp, grain span) {
	rs := b.edit(m)
	for i := range rs[:b.n] {
		rs[i].at &^= mask
	}
	b.tidy(m, grain)
}

// markLarge marks as lost the runs that hold quoted or more than mss octets, unless the
// peer has them, and returns how many octets were not believed lost before. What was sent
// in segments of which several make a run cannot be told from larger ones.
func (b *scoreboard) markLarge(m *Memory, quoted seq.Number, mss uint32, grain span) uint32 {
	before, start := b.lost, b.una
	rs := b.edit(m)
	for i := range rs[:b.n] {
		r := &rs[i]
		holds := quoted.AtOrAfter(start) && quoted.Before(r.end)
		if r.at&sentSacked == 0 && (holds || uint32(r.end.From(start)) > mss) {
			r.at |= sentLost
		}
		start = r.end
	}
	b.tidy(m, grain)
	return b.lost - before
}

// markPart marks as lost what of [start, end) the peer does not have, and returns how many
// octets were not believed lost before.
func (b *scoreboard) markPart(m *Memory, start, end seq.Number, grain span) uint32 {
	rs, i, j := b.isolate(m, start, end)
	before := b.lost
	for ; i < j; i++ {
		if rs[i].at&sentSacked == 0 {
			rs[i].at |= sentLost
		}
	}
	b.tidy(m, grain)
	return b.lost - before
}

// firstLost returns the first run that is lost.
func (b *scoreboard) firstLost(m *Memory) (start, end seq.Number, ok bool) {
	if b.lost == 0 {
		return 0, 0, false
	}
	start = b.una
	for _, r := range b.view(m) {
		if r.at&sentLost != 0 {
			return start, r.end, true
		}
		start = r.end
	}
	return 0, 0, false
}

// shift takes what lies before una off the front.
func (b *scoreboard) shift(m *Memory, una seq.Number) {
	rs := b.view(m)
	k := 0
	for k < len(rs) && rs[k].end.AtOrBefore(una) {
		k++
	}
	b.una = una
	if k > 0 {
		b.replace(m, rs[k:])
	}
	if b.sacked|b.lost|b.again != 0 {
		b.count(m)
	}
}
