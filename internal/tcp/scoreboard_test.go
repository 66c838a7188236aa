package tcp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"usertcp/internal/seq"
)

// show prints a board as runs of end and fate.
func (b *scoreboard) show(m *Memory) string {
	var s []string
	for _, r := range b.view(m) {
		fate := ""
		for i, letter := range []string{"S", "L", "R"} {
			if r.at&(1<<i) != 0 {
				fate += letter
			}
		}
		s = append(s, fmt.Sprint(uint32(r.end), fate))
	}
	return strings.Join(s, " ")
}

func boardOf(t *testing.T, n uint32) (*scoreboard, Memory) {
	t.Helper()
	var b scoreboard
	var m Memory
	b.begin(0)
	for i := range n {
		b.grow(&m, seq.Number(100*(i+1)), stampOf(Time(i)*Second), 10)
	}
	return &b, m
}

func TestWhatLeavesTogetherIsOneRun(t *testing.T) {
	var b scoreboard
	var m Memory
	b.begin(0)
	at := stampOf(Second)
	b.grow(&m, 100, at, 100)
	b.grow(&m, 200, at+96, 100)
	b.grow(&m, 300, at+112, 100)
	if got := b.show(&m); got != "200 300" {
		t.Errorf("runs %q", got)
	}
}

// What leaves behind a retransmission must not count as sent before it: see
// TestNothingIsSentAgainInVain.
func TestWhatLeavesBehindARetransmissionIsARunOfItsOwn(t *testing.T) {
	var b scoreboard
	var m Memory
	b.begin(0)
	at := stampOf(Second)
	b.grow(&m, 100, at, 100)
	b.resent = at + 16
	b.grow(&m, 200, at+32, 100)
	b.grow(&m, 300, at+48, 100)
	b.tidy(&m, 100)
	if got := b.show(&m); got != "100 300" {
		t.Errorf("runs %q", got)
	}
	b.grow(&m, 400, at+160, 100) // the retransmission is long ago
	b.tidy(&m, 200)
	if got := b.show(&m); got != "100 400" || b.resent != 0 {
		t.Errorf("runs %q", got)
	}
}

func TestCutAndTidy(t *testing.T) {
	b, m := boardOf(t, 3)
	rs, i, j := b.isolate(&m, 50, 250)
	for ; i < j; i++ {
		rs[i].at |= sentSacked
	}
	b.tidy(&m, 0)
	if got := b.show(&m); got != "50 250S 300" || b.sacked != 200 || b.lost != 0 {
		t.Errorf("%q, %d sacked, %d lost", got, b.sacked, b.lost)
	}
	b.near[0].at |= sentLost
	b.near[2].at |= sentLost
	b.count(&m)
	if start, end, ok := b.firstLost(&m); !ok || start != 0 || end != 50 || b.lost != 100 {
		t.Errorf("first lost %d to %d; %d lost", start, end, b.lost)
	}
	b.shift(&m, 120)
	if got := b.show(&m); got != "250S 300L" || b.sacked != 130 || b.una != 120 {
		t.Errorf("%q, %d sacked", got, b.sacked)
	}
	b.forget(&m, sentSacked|sentLost, 0)
	if b.sacked|b.lost != 0 {
		t.Error("fates are left")
	}
	b.shift(&m, 300)
	if b.n != 0 {
		t.Errorf("%d runs of nothing", b.n)
	}
}

func TestFullBoardJoinsTheNearestInTime(t *testing.T) {
	b, m := boardOf(t, nearRuns)
	b.near[5].at = b.near[6].at - 16
	last := b.near[6].at
	b.grow(&m, 10000, stampOf(1000*Second), 0)
	if b.n != nearRuns || b.near[5].end != 700 || b.near[5].at != last {
		t.Errorf("%d runs, the sixth ends at %d", b.n, b.near[5].end)
	}
}

func TestFullBoardForgetsWhatIsSmallest(t *testing.T) {
	b, m := boardOf(t, nearRuns)
	for i := range uint32(nearRuns) {
		if i%2 == 0 {
			b.near[i].at |= sentSacked
		} else {
			b.near[i].at |= sentLost
		}
	}
	b.near[9].end = 980
	b.count(&m)
	b.makeRoom(&m, 1)
	// Runs 8 and 9, the smallest pair, are believed in flight.
	if b.n != nearRuns-1 || b.near[8].at&sentFate != 0 || b.sacked != 700+20 || b.lost != 700 {
		t.Errorf("%d runs %s, %d sacked, %d lost", b.n, b.show(&m), b.sacked, b.lost)
	}
}

// TestBoardAgainstOctets compares boards with arrays of octets while there is
// room; when there is none, the board must not claim more than is true. Half of
// the boards may use an annex, and then each step can be undone.
func TestBoardAgainstOctets(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2018))
		var b scoreboard
		m := Memory{Annexes: make([]Annex, 1)}
		b.begin(0)
		if seed%2 == 1 {
			b.at.home = 1
		}
		x := octets{fate: make([]stamp, 3000)}
		for range 150 {
			was, before := b, slices.Clone(b.view(&m))
			b.at.fresh = 0
			x.step(&m, &b, r)
			x.compare(t, &m, &b, seed)
			if !slices.Equal(was.view(&m), before) {
				t.Fatalf("seed %d: a step can't be undone", seed)
			}
		}
		if b.at.home != 0 && x.full {
			t.Errorf("seed %d: %d runs did not fit", seed, maxRuns)
		}
	}
}

// octets are what a board should say of each octet.
type octets struct {
	fate     []stamp
	una, nxt int
	full     bool // there was no room for all
}

// step changes both in a random way.
func (x *octets) step(m *Memory, b *scoreboard, r *rand.Rand) {
	room := func(n uint32) { x.full = x.full || b.at.home == 0 && b.n+n > nearRuns || b.n+n > maxRuns }
	switch r.IntN(4) {
	case 0:
		if n := 1 + r.IntN(50); x.nxt+n <= len(x.fate) {
			room(1)
			x.nxt += n
			b.grow(m, seq.Number(x.nxt), stampOf(Time(x.nxt)*Millisecond), 0)
		}
	case 1:
		x.una += r.IntN(min(20, x.nxt-x.una) + 1)
		b.shift(m, seq.Number(x.una))
	default:
		if x.una == x.nxt {
			return
		}
		from := x.una + r.IntN(x.nxt-x.una)
		to := min(from+1+r.IntN(60), x.nxt)
		fate := []stamp{sentSacked, sentLost}[r.IntN(2)]
		room(2)
		rs, i, j := b.isolate(m, seq.Number(from), seq.Number(to))
		for ; i < j; i++ {
			rs[i].at = rs[i].at&^sentFate | fate
		}
		b.tidy(m, 0)
		for i := from; i < to; i++ {
			x.fate[i] = fate
		}
	}
}

func (x *octets) compare(t *testing.T, m *Memory, b *scoreboard, seed uint64) {
	t.Helper()
	at := x.una
	for _, r := range b.view(m) {
		for ; at < int(r.end); at++ {
			is, was := r.at&sentFate, x.fate[at]
			if is != was && (is != 0 || !x.full) {
				t.Fatalf("seed %d: octet %d is %b, should be %b: %s", seed, at, is, was, b.show(m))
			}
		}
	}
	if at != x.nxt && x.una != x.nxt {
		t.Fatalf("seed %d: the board ends at %d, not %d", seed, at, x.nxt)
	}
}
