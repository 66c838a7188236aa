package tcp

import "usertcp/internal/seq"

// stamp is a moment in units of 1024 ns, modulo 2^32, whose lowest three bits
// are the fate of what was sent then.
type stamp uint32

// The fates of octets that are in flight or were. What has none of sentSacked
// and sentLost is believed in flight.
const (
	sentSacked stamp = 1 << iota // the peer says it has them
	sentLost                     // believed lost, to be sent again
	sentResent                   // sent more than once

	sentFate = sentSacked | sentLost | sentResent
)

// span is a time between two stamps, in units of 1024 ns.
type span uint32

const spanShift = 10

// stampOf returns the stamp of a moment.
func stampOf(now Time) stamp { return stamp(now>>spanShift) &^ sentFate }

// since returns how long after b a is, zero if it is before.
func (a stamp) since(b stamp) span {
	if d := int32(a&^sentFate - b&^sentFate); d > 0 {
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

// boardSize is how many runs a scoreboard holds. With more holes than that in
// what the peer has, some of what it said is forgotten.
const boardSize = 32

// scoreboard is what is known of the octets from snd.una to snd.nxt, if the peer
// sends selective acknowledgements (RFC 2018, RFC 8985 section 5.2):
//
//	una      sent[0].end      sent[1].end   …   sent[n-1].end = nxt
//	 |-----------|----------------|-----------------|
//
// Neighbours that say the same are one run.
type scoreboard struct {
	sent         [boardSize]sent
	n            uint32
	una          seq.Number
	sacked, lost uint32 // octets of that fate
}

// begin makes a scoreboard of nothing.
func (b *scoreboard) begin(una seq.Number) {
	b.n, b.sacked, b.lost = 0, 0, 0
	b.una = una
}

// grow adds what has just been sent for the first time. What leaves within grain
// after the first octets of a run joins it.
func (b *scoreboard) grow(end seq.Number, at stamp, grain span) {
	if b.n > 0 {
		last := &b.sent[b.n-1]
		if last.at&sentFate == 0 && at.since(last.at) <= grain {
			last.end = end
			return
		}
		b.makeRoom(1)
	}
	b.sent[b.n] = sent{end, at}
	b.n++
}

// makeRoom joins neighbours until n more runs fit.
func (b *scoreboard) makeRoom(n uint32) {
	for b.n+n > boardSize {
		b.join(b.cheapest())
	}
}

// cheapest returns the run that is best joined to the one behind it: one of the
// same fate and nearly the same time, or else a small one.
func (b *scoreboard) cheapest() uint32 {
	best, least := uint32(0), ^uint64(0)
	from := b.una
	for i := range b.n - 1 {
		x, y := b.sent[i], b.sent[i+1]
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
func (b *scoreboard) join(i uint32) {
	x, y := b.sent[i], b.sent[i+1]
	at := y.at
	if x.at.since(y.at) > 0 {
		at = x.at
	}
	fate := x.at&y.at&(sentSacked|sentLost) | (x.at|y.at)&sentResent
	b.sent[i+1].at = at&^sentFate | fate
	copy(b.sent[i:b.n], b.sent[i+1:b.n])
	b.n--
	b.count()
}

// cut returns the index of the run that begins at s, for which it cuts the run
// that holds s: there must be room for one more. At nxt it returns n.
func (b *scoreboard) cut(s seq.Number) uint32 {
	from := b.una
	for i := range b.n {
		if from == s {
			return i
		}
		if s.Before(b.sent[i].end) {
			copy(b.sent[i+1:b.n+1], b.sent[i:b.n])
			b.sent[i].end = s
			b.n++
			return i + 1
		}
		from = b.sent[i].end
	}
	return b.n
}

// isolate makes [start, end), a part of what is on the board, whole runs, and
// returns them as [i, j).
func (b *scoreboard) isolate(start, end seq.Number) (i, j uint32) {
	b.makeRoom(2)
	i = b.cut(start)
	return i, b.cut(end)
}

// tidy makes neighbours one run that say the same, and counts.
func (b *scoreboard) tidy(grain span) {
	k := uint32(0)
	for i := range b.n {
		if k > 0 && b.sent[k-1].absorbs(b.sent[i], grain) {
			b.sent[k-1].end = b.sent[i].end
			b.sent[k-1].at |= b.sent[i].at & sentResent
			continue
		}
		b.sent[k] = b.sent[i]
		k++
	}
	b.n = k
	b.count()
}

// absorbs reports whether the run y behind x need not be one of its own. When
// something was sent matters no more once it is delivered or lost.
func (x sent) absorbs(y sent, grain span) bool {
	switch {
	case x.at&y.at&sentSacked != 0:
		return true
	case (x.at^y.at)&sentFate != 0:
		return false
	case x.at&sentLost != 0:
		return true
	}
	return x.at.since(y.at) == 0 && y.at.since(x.at) <= grain
}

// count counts the octets of each fate.
func (b *scoreboard) count() {
	b.sacked, b.lost = 0, 0
	from := b.una
	for _, r := range b.sent[:b.n] {
		n := uint32(r.end.From(from))
		switch {
		case r.at&sentSacked != 0:
			b.sacked += n
		case r.at&sentLost != 0:
			b.lost += n
		}
		from = r.end
	}
}

// again counts the octets in flight that were sent more than once.
func (b *scoreboard) again() (n uint32) {
	from := b.una
	for _, r := range b.sent[:b.n] {
		if r.at&sentFate == sentResent {
			n += uint32(r.end.From(from))
		}
		from = r.end
	}
	return n
}

// forget takes the fates in mask off all runs.
func (b *scoreboard) forget(mask stamp, grain span) {
	for i := range b.sent[:b.n] {
		b.sent[i].at &^= mask
	}
	b.tidy(grain)
}

// firstLost returns the first run that is lost.
func (b *scoreboard) firstLost() (start, end seq.Number, ok bool) {
	start = b.una
	for _, r := range b.sent[:b.n] {
		if r.at&sentLost != 0 {
			return start, r.end, true
		}
		start = r.end
	}
	return 0, 0, false
}

// shift takes what lies before una off the front.
func (b *scoreboard) shift(una seq.Number) {
	k := uint32(0)
	for k < b.n && b.sent[k].end.AtOrBefore(una) {
		k++
	}
	switch k {
	case 0:
	case b.n:
		b.n = 0
	default:
		copy(b.sent[:], b.sent[k:b.n])
		b.n -= k
	}
	b.una = una
	if b.sacked|b.lost != 0 {
		b.count()
	}
}
