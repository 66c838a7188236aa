package tcp

import (
	"math/rand/v2"
	"testing"
	"time"

	"usertcp/internal/wire"
)

// The connection and its remnant get the same segments, and answer alike.
func TestARemnantAnswersAsItsConnectionDid(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 6))
	t.Logf("seed %d", seed)
	flags := []wire.Flags{wire.ACK, wire.FIN | wire.ACK, wire.RST, wire.RST | wire.ACK, wire.SYN, wire.SYN | wire.ACK, 0}
	answers, ends := 0, 0
	for _, mods := range [][]func(*talk){nil, {withTimestamps}} {
		for range 500 {
			tk := inState(t, TimeWait, mods...)
			tk.close()
			tk.drain()
			r, ok := tk.c.Remnant()
			if !ok {
				t.Fatal("no remnant")
			}
			parsed, ok := ParseRemnant(r.Append(nil))
			if !ok || parsed != r {
				t.Fatalf("written %+v, read %+v", r, parsed)
			}
			now := tk.now
			for range 1 + rng.IntN(4) {
				now += Time(rng.Int64N(int64(2 * Second)))
				seg := Segment{
					Seq: tk.c.rcv.nxt + peerSeq(rng.IntN(9)-4), Ack: tk.c.snd.nxt + peerSeq(rng.IntN(5)-2),
					Flags: flags[rng.IntN(len(flags))], Window: uint16(rng.IntN(1 << 16)), Len: uint32(rng.IntN(3)),
				}
				if len(mods) > 0 && rng.IntN(8) > 0 {
					seg.Options.Present |= wire.HasTimestamps
					seg.Options.TSVal = tk.c.rcv.tsRecent + uint32(rng.IntN(5)) - 2
				}
				if r.MayReopen(&seg) != tk.c.MayReopen(&seg) {
					t.Fatalf("MayReopen differs for %+v", seg)
				}
				if least := Time(rng.Int64N(int64(4 * Second))); r.MayReuse(now, least) != tk.c.MayReuse(now, least) {
					t.Fatalf("MayReuse differs at %v for %v", now, least)
				}
				if compareAnswers(t, tk, &r, now, seg) {
					answers++
				}
				if tk.c.State != TimeWait {
					if r.End != 0 {
						t.Fatalf("the connection has ended, the remnant goes on until %d", r.End)
					}
					ends++
					break
				}
			}
		}
	}
	if answers < 300 {
		t.Errorf("only %d answers", answers)
	}
	if ends == 0 {
		t.Error("no RST has ended one")
	}
}

// compareAnswers gives seg to both; it reports whether there was an answer.
func compareAnswers(t *testing.T, tk *talk, r *Remnant, now Time, seg Segment) bool {
	t.Helper()
	var want, got Segment
	same := seg
	if same.Payload = noChunks; seg.Len > 0 {
		same.Payload = tk.st.put(make([]byte, seg.Len), slot)
	}
	tk.c.Input(&tk.st.m, now, &same)
	wants := tk.c.NextSegment(&tk.st.m, now, &want)
	in := seg
	answers := r.Input(now, &in, &got)
	if answers != wants || answers && (got.Seq != want.Seq || got.Ack != want.Ack || got.Flags != want.Flags ||
		got.Options.TSVal != want.Options.TSVal || got.Options.TSEcr != want.Options.TSEcr || got.Options.Present&wire.HasTimestamps != want.Options.Present&wire.HasTimestamps) {
		t.Fatalf("to %+v\nthe connection answers %v %+v\nthe remnant        %v %+v", seg, wants, want, answers, got)
	}
	if r.End != tk.c.timers.at[timerLife] {
		t.Fatalf("after %+v TIME-WAIT ends at %v and at %v", seg, tk.c.timers.at[timerLife], r.End)
	}
	return answers
}

func TestOnlyTimeWaitLeavesARemnant(t *testing.T) {
	for s := Closed; s <= TimeWait; s++ {
		tk := inState(t, s)
		if _, ok := tk.c.Remnant(); ok != (s == TimeWait) {
			t.Errorf("in %v: %v", s, ok)
		}
	}
	tk := inState(t, TimeWait)
	tk.c.pending |= pendAck
	if _, ok := tk.c.Remnant(); ok {
		t.Error("an acknowledgement is owed and would be lost")
	}
	for _, b := range [][]byte{nil, make([]byte, RemnantLen-1), append(make([]byte, 72), 99, 0, 0, 0, 0, 0, 0, 0)} {
		if _, ok := ParseRemnant(b); ok {
			t.Errorf("%d octets are a remnant", len(b))
		}
	}
}
