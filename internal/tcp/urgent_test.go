package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

const (
	sUA = wire.URG | wire.ACK
	sUP = wire.URG | wire.PSH | wire.ACK
)

func (tk *talk) writeUrgent(n int) {
	tk.t.Helper()
	tk.write(n)
	tk.do("SendUrgent", func(*Memory) { tk.c.SendUrgent(tk.now) })
}

// urgent gives a segment an urgent pointer.
func urgentAt(n uint16) func(*Segment) {
	return func(s *Segment) { s.Flags |= wire.URG; s.Urgent = n }
}

func (tk *talk) wantPointer(n uint16) {
	tk.t.Helper()
	if tk.last.Urgent != n {
		tk.t.Errorf("urgent pointer %d, want %d", tk.last.Urgent, n)
	}
}

func (tk *talk) wantUrgent(before uint32, here, ahead bool) {
	tk.t.Helper()
	if b, h, a := tk.c.Urgent(); b != before || h != here || a != ahead {
		tk.t.Errorf("urgent octet behind %d octets, here %v, ahead %v; want %d, %v, %v", b, h, a, before, here, ahead)
	}
}

func TestUrgentPointerIsBehindTheUrgentOctet(t *testing.T) {
	a := established(t)
	a.writeUrgent(3)
	a.want(sUP, 1, 1, 3)
	a.wantPointer(3)
	a.write(100)
	a.want(sPA, 4, 1, 100)
	a.wantPointer(0)
}

func TestUrgentDataIsNotHeldBack(t *testing.T) {
	a := established(t)
	a.write(10)
	a.want(sPA, 1, 1, 10)
	a.write(10)
	a.wantNone()
	a.do("SendUrgent", func(*Memory) { a.c.SendUrgent(a.now) })
	a.want(sUP, 11, 1, 10)
	a.wantPointer(10)
}

func TestUrgentModeEndsWithItsAcknowledgement(t *testing.T) {
	a := established(t)
	a.writeUrgent(5)
	a.want(sUP, 1, 1, 5)
	a.inject(sA, 1, 6, 0)
	a.write(5)
	a.want(sPA, 6, 1, 5)
}

func TestUrgentPointerIsSentAgain(t *testing.T) {
	a := established(t)
	a.writeUrgent(5)
	a.want(sUP, 1, 1, 5)
	a.advance(a.c.RTO())
	a.want(sUP, 1, 1, 5)
	a.wantPointer(5)
}

// Segments before the urgent octet say where it is, those behind it do not.
func TestUrgentPointerOfSeveralSegments(t *testing.T) {
	a := established(t)
	a.writeUrgent(2500)
	a.write(1500)
	a.want(sUA, 1, 1, 1000)
	a.wantPointer(2500)
	a.want(sUA, 1001, 1, 1000)
	a.wantPointer(1500)
	a.want(sUA, 2001, 1, 1000)
	a.wantPointer(500)
	a.want(sPA, 3001, 1, 1000)
}

func TestUrgentPointerBeyondItsField(t *testing.T) {
	a := established(t, withScale)
	a.inject(sA, 1, 1, 0, window(60000))
	a.c.cc.cwnd = 200000
	a.writeUrgent(100000)
	a.want(sUA, 1, 1, 1000)
	a.wantPointer(farUrgent)
	for at := 1001; at < 100000; at += 1000 {
		var out Segment
		if !a.next(&out) {
			t.Fatalf("no segment at %d", at)
		}
		left := 100001 - at
		if left <= farUrgent && (int(out.Urgent) != left || out.Flags&wire.URG == 0) {
			t.Fatalf("at %d: pointer %d, want %d", at, out.Urgent, left)
		}
	}
}

func TestUrgentDataIsAnnouncedThroughAClosedWindow(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, window(0))
	a.writeUrgent(10)
	a.want(sUA, 1, 1, 0)
	a.wantPointer(10)
	a.wantNone()
}

func TestUrgentOctetLeavesTheStream(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 10, urgentAt(4))
	a.wantEvents(EventUrgent | EventReadable)
	a.wantUrgent(3, true, true)
	a.readSome(3)
	a.wantUrgent(0, true, true)
	a.do("SkipUrgent", func(m *Memory) { a.c.SkipUrgent(m, a.now, 'u') })
	a.read++
	a.wantUrgent(0, false, false)
	if b, ok := a.c.UrgentOctet(); b != 'u' || !ok || !a.c.UrgentPending() {
		t.Errorf("urgent octet %q, %v", b, ok)
	}
	a.do("UrgentSeen", func(*Memory) { a.c.UrgentSeen() })
	if a.c.UrgentPending() {
		t.Error("still pending")
	}
	if n := a.readAll(); n != 6 {
		t.Errorf("%d octets behind it", n)
	}
}

func TestUrgentOctetSeenBeforeReadingComesToIt(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 10, urgentAt(10))
	a.do("UrgentSeen", func(*Memory) { a.c.UrgentSeen() })
	a.wantUrgent(9, true, true)
	a.readSome(9)
	a.do("SkipUrgent", func(m *Memory) { a.c.SkipUrgent(m, a.now, 'u') })
	if _, ok := a.c.UrgentOctet(); ok || a.c.UrgentPending() {
		t.Error("the octet is offered twice")
	}
}

func TestUrgentInlineReadingPassesTheMark(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 10, urgentAt(4))
	a.readSome(3)
	a.wantUrgent(0, true, true)
	a.readSome(7)
	a.wantUrgent(0, false, false)
	if a.c.UrgentPending() {
		t.Error("still pending")
	}
}

func TestUrgentPointerAheadOfItsData(t *testing.T) {
	a := established(t)
	a.inject(sA, 1, 1, 0, urgentAt(2000))
	a.wantEvents(EventUrgent)
	a.wantUrgent(0, false, true)
	a.inject(sPA, 1, 1, 1000)
	a.wantUrgent(1000, false, true)
	a.inject(sPA, 1001, 1, 1000)
	a.wantUrgent(1999, true, true)
}

func TestUrgentPointerAdvancesAndNeverRecedes(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 100, urgentAt(50))
	a.wantEvents(EventUrgent)
	a.inject(sA, 101, 1, 0, urgentAt(0)) // points at nothing
	a.inject(sPA, 101, 1, 10)
	a.wantUrgent(49, true, true)
	a.c.Events = 0
	a.inject(sPA, 111, 1, 10, urgentAt(10))
	a.wantEvents(EventUrgent)
	a.wantUrgent(119, true, true)
	a.c.Events = 0
	a.inject(sPA, 121, 1, 0, urgentAt(0))
	if a.c.Events&EventUrgent != 0 {
		t.Error("told of a pointer that points at nothing")
	}
}

func TestOldUrgentPointerIsIgnored(t *testing.T) {
	a := established(t)
	a.inject(sPA, 1, 1, 100)
	a.readAll()
	a.c.Events = 0
	a.inject(sPA, 51, 1, 60, urgentAt(50)) // behind octet 100, which has been read
	a.wantUrgent(0, false, false)
	a.inject(sPA, 61, 1, 60, urgentAt(51))
	a.wantUrgent(10, true, true)
}

// RFC 9293 MUST-66: with a closed window too.
func TestUrgentPointerCountsWithAClosedWindow(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.RcvBuf = 2000 }))
	for at := 1; a.c.rcv.nxt != a.c.rcv.edge; at = rel(a.c.rcv.nxt, peerISS) {
		a.inject(sPA, at, 1, min(500, int(a.c.rcv.edge-a.c.rcv.nxt)))
		a.drain()
	}
	a.c.Events = 0
	a.inject(sPA, rel(a.c.rcv.nxt, peerISS), 1, 1, urgentAt(1))
	a.wantEvents(EventUrgent)
}

func TestUrgentPointerAfterTheEndIsIgnored(t *testing.T) {
	a := inState(t, CloseWait)
	a.inject(sA, 2, 1, 0, urgentAt(5))
	a.wantUrgent(0, false, false)
}

func TestFinBeforeTheUrgentOctet(t *testing.T) {
	a := established(t)
	a.inject(sFA, 1, 1, 3, urgentAt(100))
	a.wantUrgent(3, false, true)
	if n := a.readAll(); n != 3 {
		t.Errorf("read %d octets", n)
	}
	a.wantState(CloseWait)
}

func TestNothingUrgentOnAConnectionThatDoesNotSend(t *testing.T) {
	a := inState(t, FinWait1)
	a.do("SendUrgent", func(*Memory) { a.c.SendUrgent(a.now) })
	a.wantNone()
}
