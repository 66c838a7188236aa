package tcp

import "testing"

// paced is a mod that asks for pacing.
func paced(tk *talk) { tk.c.Opt.Pacing = 1 }

func TestDeliveryRateOfAFlight(t *testing.T) {
	var r delivery
	now := Second
	// Ten segments leave in 9 ms; every third could bear a mark.
	r.every = 3000
	flight := uint32(0)
	for i := range 10 {
		was := flight
		flight += 1000
		r.noteSent(now+Time(i)*Millisecond, peerSeq(1000*(i+1)), was, flight, 0)
	}
	if r.n != 4 {
		t.Fatalf("%d marks", r.n)
	}
	// They are acknowledged one by one, 50 ms later and 2 ms apart.
	var got []ack
	for i := range 10 {
		a := ack{n: 1000}
		r.noteAck(now+50*Millisecond+Time(i)*2*Millisecond, peerSeq(1000*(i+1)), 0, &a)
		if a.span != 0 {
			a.rate = perSecond(a.since, a.span)
			got = append(got, a)
		}
	}
	if len(got) != 4 {
		t.Fatalf("%d samples", len(got))
	}
	for i, a := range got {
		// Segments 1, 4, 7, 10 have marks: they left at 3i ms and came back at 50+6i.
		n := uint32(1000 * (3*i + 1))
		rtt := 50*Millisecond + Time(3*i)*Millisecond
		if a.since != n || a.rtt/Microsecond != rtt/Microsecond || a.sent != n {
			t.Errorf("sample %d: %+v", i, a)
		}
		// Nothing had been acknowledged when they left: the interval is from the first.
		if want := perSecond(n, rtt+Time(3*i)*Millisecond); a.rate < want*99/100 || a.rate > want*101/100 {
			t.Errorf("sample %d: %d octets a second, want %d", i, a.rate, want)
		}
	}
}

func TestDeliveryRateIsNotThatOfCompressedAcknowledgements(t *testing.T) {
	var r delivery
	now := Second
	for i := range 10 {
		r.noteSent(now+Time(i)*10*Millisecond, peerSeq(1000*(i+1)), uint32(1000*i), uint32(1000*(i+1)), 0)
		r.every = 8000
	}
	// All acknowledgements come at once, 100 ms after the first segment left.
	var last ack
	for i := range 10 {
		a := ack{n: 1000}
		r.noteAck(now+100*Millisecond, peerSeq(1000*(i+1)), 0, &a)
		if a.span != 0 {
			last = a
		}
	}
	if rate := perSecond(last.since, last.span); rate > 10_000*1000/90 {
		t.Errorf("%d octets a second; they left at 100000", rate)
	}
}

func TestDeliveryRateBeginsAnewAfterAPause(t *testing.T) {
	var r delivery
	r.noteSent(Second, 1000, 0, 1000, 0)
	a := ack{n: 1000}
	r.noteAck(Second+10*Millisecond, 1000, 0, &a)
	r.noteSent(100*Second, 2000, 0, 1000, 0)
	a = ack{n: 1000}
	r.noteAck(100*Second+10*Millisecond, 2000, 0, &a)
	if rate := perSecond(a.since, a.span); rate < 99_000 || rate > 101_000 {
		t.Errorf("%d octets a second, want 100000", rate)
	}
}

func TestDeliveryRateOfWhatIsSentAgain(t *testing.T) {
	var r delivery
	r.at, r.firstSent = Second, Second
	r.noteResent(Second, 3000, 500)
	r.noteResent(Second, 4000, 500)
	if r.n != 1 {
		t.Fatalf("%d marks", r.n)
	}
	a := ack{n: 2000}
	r.noteAck(Second+20*Millisecond, 99_000, 500, &a)
	if a.span != 0 {
		t.Error("a sample before its flight has left")
	}
	a = ack{n: 500}
	r.noteAck(Second+40*Millisecond, 99_000, 1000, &a)
	if rate := perSecond(a.since, a.span); a.rtt != 0 || a.since != 2500 || a.lost != 500 || rate < 62_000 || rate > 63_000 {
		t.Errorf("%+v, want 2500 octets in 40 ms and no round-trip time", a)
	}
}

func TestDeliveryRateKnowsWhenTheProgramIsSlow(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.Congestion = CongestionBBR }))
	a.write(1000)
	a.drain()
	a.advance(10 * Millisecond)
	a.inject(sA, 1, 1001, 0)
	a.write(1000)
	a.drain()
	if !a.c.rate.isLimited() {
		t.Error("the program has nothing more to send")
	}
	a.write(50_000)
	a.drain()
	for i := 3; a.c.snd.una.Before(a.c.snd.nxt); i++ {
		a.advance(Millisecond)
		a.inject(sA, 1, min(1000*i+1, rel(a.c.snd.nxt, ourISS)), 0)
		a.drain()
		if a.c.unsent() > 0 && i > 8 && a.c.rate.isLimited() {
			t.Fatal("the program has long had more to send")
		}
	}
}

func TestPacingSpreadsTheWindow(t *testing.T) {
	a := established(t, useCubic, paced)
	a.write(1000)
	a.drain()
	a.advance(100 * Millisecond)
	a.inject(sA, 1, 1001, 0)
	// Smoothed: 10 + 90/8 ms. Twice the window in a round trip.
	srtt, _ := a.c.SmoothedRTT()
	cwnd, _ := a.c.Window()
	if want := 2 * uint64(cwnd) * uint64(Second) / uint64(srtt); a.c.rate.pace != want {
		t.Fatalf("the pace is %d octets a second, want %d", a.c.rate.pace, want)
	}
	a.write(20_000)
	start, sent, bursts := a.now, 0, 0
	for sent < int(cwnd)/1000 {
		n := a.drain()
		if n > 3 {
			t.Fatalf("a burst of %d segments", n)
		}
		if n == 0 {
			t.Fatalf("nothing leaves at %d µs, after %d segments", (a.now-start)/Microsecond, sent)
		}
		sent += n
		bursts++
		if !a.c.armed(timerPace) {
			break
		}
		a.wantNone()
		a.advance(a.c.Deadline() - a.now)
	}
	if took := a.now - start; bursts < 3 || took < srtt/4 || took > srtt {
		t.Errorf("%d segments left in %d bursts and %d µs; the round-trip time is %d µs", sent, bursts, took/Microsecond, srtt/Microsecond)
	}
}

func TestPacingHoldsBackNoAcknowledgement(t *testing.T) {
	a := established(t, paced)
	a.c.rate.pace = 1000 // one segment a second
	a.write(10_000)
	if n := a.drain(); n < 1 || n > 3 {
		t.Fatalf("%d segments leave at once", n)
	}
	a.inject(sPA, 1, 1, 100)
	a.advance(delayedAck)
	if n := a.drain(); n != 1 || a.last.Len != 0 {
		t.Errorf("%d segments; want one acknowledgement", n)
	}
	was := a.now
	a.shutdown()
	for range 20 {
		a.advance(Second)
		a.inject(sA, 101, rel(a.c.snd.nxt, ourISS), 0)
		a.drain()
	}
	if !a.c.finAcked() {
		t.Errorf("the FIN has not left after %d s", (a.now-was)/Second)
	}
}

func TestPacingEndsWhenItIsSwitchedOff(t *testing.T) {
	a := established(t, useCubic, paced)
	a.write(1000)
	a.drain()
	a.advance(100 * Millisecond)
	a.inject(sA, 1, 1001, 0)
	a.do("OptionsChanged", func(*Memory) {
		a.c.Opt.Pacing = 0
		a.c.OptionsChanged(a.now)
	})
	a.write(9000)
	if n := a.drain(); n != 9 {
		t.Errorf("%d segments leave", n)
	}
}

func TestBurstsAreBounded(t *testing.T) {
	var c Conn
	for _, x := range []struct {
		pace uint64
		mss  uint32
		want uint32
	}{{1000, 1448, 2896}, {10_000_000, 1448, 9765}, {1 << 40, 1448, mostBurst}, {1 << 40, 65483, 2 * 65483}} {
		c.rate.pace, c.snd.mss = x.pace, x.mss
		if got, want := c.burst(), takes(x.want, x.pace); got != want {
			t.Errorf("%+v: a burst takes %d, want %d", x, got, want)
		}
	}
}
