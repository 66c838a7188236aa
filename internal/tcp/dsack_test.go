package tcp

import "testing"

func TestDuplicatesAreReportedOnce(t *testing.T) {
	a := established(t, withSACK)
	a.inject(sA, 1, 1, 500)
	a.drain()
	a.inject(sA, 1, 1, 500)
	wantBlocks(t, a.want(sA, 1, 501, 0), 1, 501)
	a.inject(sA, 501, 1, 500)
	if s := a.want(sA, 1, 1001, 0); s.Options.SACKBlocks != 0 {
		t.Error("the duplicate is reported again")
	}
	if a.c.Stats.Duplicates != 1 {
		t.Errorf("%d duplicates", a.c.Stats.Duplicates)
	}
}

func TestPartOfASegmentIsADuplicate(t *testing.T) {
	a := established(t, withSACK)
	a.inject(sA, 1, 1, 500)
	a.drain()
	a.inject(sA, 301, 1, 500)
	wantBlocks(t, a.want(sA, 1, 801, 0), 301, 501)
}

func TestDuplicateBehindAGapComesWithItsRange(t *testing.T) {
	a := established(t, withSACK)
	a.inject(sA, 1001, 1, 1000)
	a.inject(sA, 3001, 1, 500)
	a.drain()
	a.inject(sA, 1201, 1, 100)
	wantBlocks(t, a.want(sA, 1, 1, 0), 1201, 1301, 1001, 2001, 3001, 3501)
}

func TestFirstCopyWithAnOldTimestampIsADuplicate(t *testing.T) {
	a := established(t, withSACK, withTimestamps)
	a.advance(100 * Millisecond)
	a.inject(sA, 1, 1, 500) // the second copy
	a.drain()
	a.tsval -= 50 // the first copy, sent 50 ms before
	a.inject(sA, 1, 1, 500)
	wantBlocks(t, a.want(sA, 1, 501, 0), 1, 501)
	if a.c.Stats.DropPAWS != 1 {
		t.Errorf("%+v", a.c.Stats)
	}
}

func TestDuplicatesWithoutSackAreNotReported(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 500)
	a.drain()
	a.inject(sA, 1, 1, 500)
	if s := a.want(sA, 1, 501, 0); s.Options.SACKBlocks != 0 {
		t.Error("a block")
	}
}

func TestDataMakesRoomForTheReport(t *testing.T) {
	a := established(t, withSACK, option(func(o *ConnOptions) { o.NoDelay = 1 }))
	a.inject(sA, 1, 1, 500)
	a.drain()
	a.inject(sA, 1, 1, 500)
	a.write(1000)
	wantBlocks(t, a.want(sA, 1, 501, 1000-sackHeadLen-sackBlockLen), 1, 501)
	a.want(sPA, 989, 501, 12)
}

func TestMoreDsacksThanRetransmissionsAreTheNetworks(t *testing.T) {
	a := selective(t, 10)
	a.inject(sA, 1, 10001, 0)
	for range 5 {
		a.inject(sA, 1, 10001, 0, sacks(1, 1001))
	}
	if a.c.Stats.DSACKs != 0 || a.c.rack.mult > 1 {
		t.Errorf("%d D-SACKs, window times %d", a.c.Stats.DSACKs, a.c.rack.mult)
	}
}
