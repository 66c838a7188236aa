package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

// withOption is established with AccECN by a client that has sent its options: the
// acknowledgement of the SYN-ACK and the first data.
func withOption(t *testing.T, mods ...func(*talk)) *talk {
	t.Helper()
	a := accurateTalk(t, mods...)
	a.wantCounters(1, 0, 1)
	a.write(10)
	a.want(sPA|f101, 1, 1, 10)
	a.wantCounters(1, 0, 1)
	a.inject(sA|f101, 1, 11, 0)
	return a
}

func TestOptionTellsOfAChangeTwice(t *testing.T) {
	a := withOption(t)
	at := 1
	send := func(n int, codepoint uint8, fields ...uint32) {
		t.Helper()
		a.inject(sPA|f101, at, 11, n, came(codepoint))
		at += n
		a.advance(delayedAck)
		a.drain()
		a.wantCounters(fields...)
	}
	send(100, NotECT)
	send(100, ECT0, 101)
	send(100, ECT0, 201)
	send(100, ECT0)
	send(100, CE, 301, 100)
	send(100, ECT0, 401, 100)
	send(100, ECT0, 501, 100)
	send(100, ECT0)
	send(100, ECT1, 601, 100, 101)
	send(100, NotECT, 601, 100, 101)
	send(100, NotECT)
	send(100, ECT1) // nothing that was not told of before
}

func TestOptionOfAConnectionWithECT1Alone(t *testing.T) {
	a := withOption(t)
	a.inject(sPA|f101, 1, 11, 50, came(ECT1))
	a.advance(delayedAck)
	a.drain()
	if o := &a.last.Options; !o.Has(wire.HasAccECN) || o.AccECNOrder != 1 || o.AccECNCount != 1 || o.AccECN[0] != 51 {
		t.Errorf("option %s", o)
	}
}

func TestOptionComesNowAndThen(t *testing.T) {
	a := withOption(t)
	with := 0
	for i := range 3 * ecnBeacon {
		a.inject(sPA|f101, 1+10*i, 11, 10, came(ECT0))
		a.advance(delayedAck)
		a.drain()
		a.readAll()
		if a.last.Options.Has(wire.HasAccECN) {
			with++
		}
	}
	if with != 2+2 {
		t.Errorf("%d options", with)
	}
	a.c.ecn.recv[fieldE0] = ecnOverdue - 5
	a.inject(sPA|f101, 1+30*ecnBeacon, 11, 10, came(ECT0))
	a.advance(delayedAck)
	a.drain()
	a.wantCounters(ecnOverdue + 5)
}

// The option takes its room in a segment, and leaves two SACK blocks theirs.
func TestOptionTakesItsRoom(t *testing.T) {
	a := withOption(t, withTimestamps, withSACK)
	a.inject(sPA|f101, 1, 11, 100, came(CE))
	a.drain()
	a.write(5000)
	a.c.ecn.demand = 1
	a.want(sA|f110, 11, 101, 1000-timestampsLen-8)
	a.wantCounters(1, 100)
	a.want(sA|f110, 11+980, 101, 1000-timestampsLen)
	a.drain()
	for i := range 3 {
		a.inject(sPA|f101, 201+200*i, 11, 100, came(CE))
		a.drain()
	}
	if o := &a.last.Options; !o.Has(wire.HasAccECN) || o.AccECNCount != 2 || o.SACKBlocks != 2 {
		t.Errorf("options %s", o)
	}
	a.c.ecn.seen |= 1 << fieldE0
	a.inject(sPA|f101, 901, 11, 100, came(ECT1))
	a.drain()
	if o := &a.last.Options; o.Has(wire.HasAccECN) || o.SACKBlocks != 3 {
		t.Errorf("options %s", o)
	}
}

func TestFirstDataThatIsLostLosesItsOption(t *testing.T) {
	a := accurateTalk(t)
	a.write(10)
	a.want(sPA|f101, 1, 1, 10)
	a.wantCounters(1, 0, 1)
	a.advance(a.c.RTO())
	a.want(sPA|f101, 1, 1, 10)
	a.wantCounters()
	a.inject(sPA|f101, 1, 11, 100, came(CE))
	a.want(sA|f110, 11, 101, 0)
	a.wantCounters()
}

func TestOptionIsBelieved(t *testing.T) {
	a := withOption(t)
	a.write(3000)
	a.drain()
	a.inject(sA|f110, 1, 1011, 0, counters(501, 500, 1))
	a.inject(sA|f110, 1, 2011, 0, func(s *Segment) {
		counters(7, 500, 1501)(s)
		s.Options.AccECNOrder = 1
	})
	if i := a.c.Info(a.now); i.ECNDelivered != (ECNCounts{CE: 1, CEBytes: 500, ECT0Bytes: 1500, ECT1Bytes: 6}) {
		t.Errorf("%+v", i.ECNDelivered)
	}
	a.inject(sA|f110, 1, 3011, 0, counters(1400)) // older: the network has mixed them up
	if i := a.c.Info(a.now); i.ECNDelivered.ECT0Bytes != 1500 {
		t.Errorf("%+v", i.ECNDelivered)
	}
}

// Counters of 24 bits wrap.
func TestOptionWraps(t *testing.T) {
	a := withOption(t)
	a.c.ecn.sent[fieldE0] = 1<<24 - 100
	a.write(1000)
	a.drain()
	a.inject(sA|f101, 1, 1011, 0, counters(900))
	if got := a.c.ecn.sent[fieldE0]; got != 1<<24+900 {
		t.Errorf("%d", got)
	}
}

func TestOptionThatIsCleared(t *testing.T) {
	for name, fields := range map[string][]uint32{"first": {0, 0, 1}, "last": {1, 0, 0}, "one": {0}} {
		a := newTalk(t, accurate)
		a.openActive()
		a.drain()
		a.inject(sSA|f010, 0, 1, 0, counters(fields...))
		a.write(1000)
		a.drain()
		a.inject(sA|f101, 1, 1001, 0, counters(5, 6, 7))
		if a.c.ecn.sent != firstCounters {
			t.Errorf("%s: %d", name, a.c.ecn.sent)
		}
	}
	a := newTalk(t, accurate)
	a.openActive()
	a.drain()
	a.inject(sSA|f010, 0, 1, 0, counters()) // empty: nothing is wrong with it
	if a.c.ecn.traits&ecnOptBad != 0 {
		t.Error("an empty option is believed to be cleared")
	}
}
