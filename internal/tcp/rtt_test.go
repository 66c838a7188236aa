package tcp

import "testing"

// exchange writes 100 octets behind the sent ones and has them acknowledged after
// 300 ms. It returns how many are sent then.
func (tk *talk) exchange(sent int) int {
	tk.t.Helper()
	tk.write(100)
	s := tk.want(sPA, 1+sent, 1, 100)
	tk.advance(300 * Millisecond)
	tk.inject(sA, 1, 101+sent, 0, echo(s.Options.TSVal))
	return sent + 100
}

// timeouts lets timeouts send again the 100 octets that are out, n times at least, and
// returns the timestamp that the last copy carries.
func (tk *talk) timeouts(n uint32) (last uint32) {
	tk.t.Helper()
	for end := tk.c.Stats.Timeouts + n; tk.c.Stats.Timeouts < end; {
		tk.advance(tk.c.Deadline() - tk.now)
		var out Segment
		for tk.next(&out) {
			last = out.Options.TSVal
		}
	}
	return last
}

// The peer has a path of 300 ms and a device that refuses some of its
// acknowledgements (usertcp sim -seed 574). Each time a timeout sends again what has
// arrived, and the answer is about a second copy: it echoes the segment before. That
// was taken for a round trip, so that the timeout grew to two minutes, and 280 kB were
// not through after twenty.
func TestTimeoutDoesNotGrowByWhatASecondCopyEchoes(t *testing.T) {
	for name, mods := range map[string][]func(*talk){"with SACK": {withSACK, withTimestamps}, "without": {withTimestamps}} {
		t.Run(name, func(t *testing.T) {
			a := established(t, mods...)
			sent := 0
			for range 20 {
				sent = a.exchange(sent)
			}
			for i := range 20 {
				a.write(100)
				s := a.want(sPA, 1+sent, 1, 100)
				first := s.Options.TSVal
				a.timeouts(1) // the acknowledgement was refused
				a.advance(300 * Millisecond)
				if name == "with SACK" {
					a.inject(sA, 1, 101+sent, 0, echo(first), sacks(1+sent, 101+sent))
				} else {
					a.inject(sA, 1, 101+sent, 0, echo(first))
				}
				sent = a.exchange(sent + 100)
				if got := a.c.RTO(); got > Second {
					t.Fatalf("lost acknowledgement %d: RTO %d ms", i+1, got/Millisecond)
				}
			}
		})
	}
}

// Before the next measurement the back-off remains, as after any timeout of which
// nothing can be measured (RFC 6298 section 3).
func TestBackOffOutlivesTheAnswerToASecondCopy(t *testing.T) {
	a := established(t, withSACK, withTimestamps)
	sent := a.exchange(0)
	a.write(100)
	first := a.want(sPA, 1+sent, 1, 100).Options.TSVal
	a.timeouts(2)
	srtt, _ := a.c.SmoothedRTT()
	a.inject(sA, 1, 101+sent, 0, echo(first), sacks(1+sent, 101+sent))
	if got, _ := a.c.SmoothedRTT(); got != srtt || a.c.rtt.shift != 2 {
		t.Errorf("SRTT %d ms, was %d, back-off %d", got/Millisecond, srtt/Millisecond, a.c.rtt.shift)
	}
	a.exchange(sent + 100)
	if a.c.rtt.shift != 0 {
		t.Error("a measurement does not end the back-off")
	}
}

// What answers the only copy that arrived, or with SACK the first one that was late,
// tells how long the path is.
func TestWhatAnswersOneCopyIsASample(t *testing.T) {
	for _, late := range []bool{false, true} {
		a := established(t, withSACK, withTimestamps)
		sent := a.exchange(0)
		a.write(100)
		ts := a.want(sPA, 1+sent, 1, 100).Options.TSVal
		last := a.timeouts(1)
		if !late {
			ts = last
		}
		srtt, _ := a.c.SmoothedRTT()
		a.advance(Second / 2)
		a.inject(sA, 1, 101+sent, 0, echo(ts))
		if got, _ := a.c.SmoothedRTT(); got <= srtt || a.c.rtt.shift != 0 {
			t.Errorf("late %v: SRTT %d ms, was %d, back-off %d", late, got/Millisecond, srtt/Millisecond, a.c.rtt.shift)
		}
	}
}
