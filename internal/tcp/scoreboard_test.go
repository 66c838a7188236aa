package tcp

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"usertcp/internal/seq"
)

// show prints a board as runs of end and fate.
func (b *scoreboard) show() string {
	var s []string
	for _, r := range b.sent[:b.n] {
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

func boardOf(t *testing.T, n uint32) *scoreboard {
	t.Helper()
	var b scoreboard
	b.begin(0)
	for i := range n {
		b.grow(seq.Number(100*(i+1)), stampOf(Time(i)*Second), 10)
	}
	return &b
}

func TestWhatLeavesTogetherIsOneRun(t *testing.T) {
	var b scoreboard
	b.begin(0)
	at := stampOf(Second)
	b.grow(100, at, 100)
	b.grow(200, at+96, 100)
	b.grow(300, at+104, 100)
	if got := b.show(); got != "200 300" {
		t.Errorf("runs %q", got)
	}
}

func TestCutAndTidy(t *testing.T) {
	b := boardOf(t, 3)
	i, j := b.isolate(50, 250)
	for ; i < j; i++ {
		b.sent[i].at |= sentSacked
	}
	b.tidy(0)
	if got := b.show(); got != "50 250S 300" || b.sacked != 200 || b.lost != 0 {
		t.Errorf("%q, %d sacked, %d lost", got, b.sacked, b.lost)
	}
	b.sent[0].at |= sentLost
	b.sent[2].at |= sentLost
	b.count()
	if start, end, ok := b.firstLost(); !ok || start != 0 || end != 50 || b.lost != 100 {
		t.Errorf("first lost %d to %d; %d lost", start, end, b.lost)
	}
	b.shift(120)
	if got := b.show(); got != "250S 300L" || b.sacked != 130 || b.una != 120 {
		t.Errorf("%q, %d sacked", got, b.sacked)
	}
	b.forget(sentSacked|sentLost, 0)
	if b.sacked|b.lost != 0 {
		t.Error("fates are left")
	}
	b.shift(300)
	if b.n != 0 {
		t.Errorf("%d runs of nothing", b.n)
	}
}

func TestFullBoardJoinsTheNearestInTime(t *testing.T) {
	b := boardOf(t, boardSize)
	b.sent[5].at = b.sent[6].at - 8
	last := b.sent[6].at
	b.grow(10000, stampOf(1000*Second), 0)
	if b.n != boardSize || b.sent[5].end != 700 || b.sent[5].at != last {
		t.Errorf("%d runs, the sixth ends at %d", b.n, b.sent[5].end)
	}
}

func TestFullBoardForgetsWhatIsSmallest(t *testing.T) {
	b := boardOf(t, boardSize)
	for i := range uint32(boardSize) {
		if i%2 == 0 {
			b.sent[i].at |= sentSacked
		} else {
			b.sent[i].at |= sentLost
		}
	}
	b.sent[9].end = 980
	b.count()
	b.makeRoom(1)
	// Runs 8 and 9, the smallest pair, are believed in flight.
	if b.n != boardSize-1 || b.sent[8].at&sentFate != 0 || b.sacked != 1500+20 || b.lost != 1500 {
		t.Errorf("%d runs %s, %d sacked, %d lost", b.n, b.show(), b.sacked, b.lost)
	}
}

// TestBoardAgainstOctets compares boards with arrays of octets while there is
// room; when there is none, the board must not claim more than is true.
func TestBoardAgainstOctets(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2018))
		var b scoreboard
		b.begin(0)
		octets := make([]stamp, 3000)
		una, nxt, full := 0, 0, false
		for range 150 {
			switch r.IntN(4) {
			case 0:
				if n := 1 + r.IntN(50); nxt+n <= len(octets) {
					full = full || b.n == boardSize
					nxt += n
					b.grow(seq.Number(nxt), stampOf(Time(nxt)*Millisecond), 0)
				}
			case 1:
				una += r.IntN(min(20, nxt-una) + 1)
				b.shift(seq.Number(una))
			default:
				if una == nxt {
					continue
				}
				from := una + r.IntN(nxt-una)
				to := min(from+1+r.IntN(60), nxt)
				fate := []stamp{sentSacked, sentLost}[r.IntN(2)]
				full = full || b.n+2 > boardSize
				i, j := b.isolate(seq.Number(from), seq.Number(to))
				for ; i < j; i++ {
					b.sent[i].at = b.sent[i].at&^sentFate | fate
				}
				b.tidy(0)
				for i := from; i < to; i++ {
					octets[i] = fate
				}
			}
			compareBoard(t, &b, octets, una, nxt, full, seed)
		}
	}
}

func compareBoard(t *testing.T, b *scoreboard, octets []stamp, una, nxt int, full bool, seed uint64) {
	t.Helper()
	at := una
	for _, r := range b.sent[:b.n] {
		for ; at < int(r.end); at++ {
			is, was := r.at&sentFate, octets[at]
			if is != was && (is != 0 || !full) {
				t.Fatalf("seed %d: octet %d is %b, should be %b: %s", seed, at, is, was, b.show())
			}
		}
	}
	if at != nxt && una != nxt {
		t.Fatalf("seed %d: the board ends at %d, not %d", seed, at, nxt)
	}
}
