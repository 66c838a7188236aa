package tcp

import (
	"fmt"
	"strings"
	"testing"

	"usertcp/internal/wire"
)

// eventTable is RFC 9293 section 3.10: what each event makes of a connection in each
// state. A cell is the state that follows, "=" for the same, and behind a colon the
// segments that leave; behind "!" is the error that a closed connection ends with. CLOSED and
// LISTEN have no connection for segments: ResetFor and the half answer those. Where it
// differs from the RFC's text: a RST does not end TIME-WAIT (RFC 1337) unless a SYN has come
// before, one that is not exactly where it is expected, and a SYN, are challenged (RFC 5961),
// our SYN is sent again behind the reset of who knows a connection of former times, a program
// can write when the connection is open, and CLOSE in SYN-RECEIVED waits until then.
const eventTable = `
event            closed  listen          syn-sent        syn-rcvd           estab              fin-1              fin-2              close-wt           closing         last-ack        time-wt
SEND             =       =               =               =                  =:A10              =                  =                  =:A10              =               =               =
RECEIVE          =       =               =               =                  =                  =                  =                  =                  =               =               =
CLOSE            =       closed          closed          =                  fin-1:FA           =                  =                  last-ack:FA        =               =               =
ABORT            =       closed!aborted  closed!aborted  closed:RA!aborted  closed:RA!aborted  closed:RA!aborted  closed:RA!aborted  closed:RA!aborted  closed!aborted  closed!aborted  closed!aborted
STATUS           =       =               =               =                  =                  =                  =                  =                  =               =               =
RST              =       =               =               closed!reset       closed!reset       closed!reset       closed!reset       closed!reset       closed          closed          =
RST+ACK          =       =               closed!refused  closed!reset       closed!reset       closed!reset       closed!reset       closed!reset       closed          closed          =
RST-in-window    =       =               =               =:A                =:A                =:A                =:A                =:A                =:A             =:A             =
RST-outside      =       =               =               =                  =                  =                  =                  =                  =               =               =
SYN              =       =               syn-rcvd:SA     =:SA               =:A                =:A                =:A                =:A                =:A             =:A             =:A
SYN-in-window    =       =               syn-rcvd:SA     =:A                =:A                =:A                =:A                =:A                =:A             =:A             =:A
SYN+ACK          =       =               estab:A         estab:A            =:A                =:A                =:A                =:A                =:A             =:A             =:A
ACK              =       =               =               estab              =                  =                  =                  =                  =               =               =
ACK-of-all       =       =               =               estab              =                  fin-2              =                  =                  time-wt         closed          =
ACK-too-far      =       =               =:R,S           =:R                =:A                =:A                =:A                =:A                =:A             =:A             =:A
ACK-too-old      =       =               =:R,S           =:R                =:A                =:A                =:A                =:A                =:A             =:A             =:A
no-ACK           =       =               =               =                  =                  =                  =                  =                  =               =               =
text             =       =               =               estab:A            =:A                =:A                =:A                =                  =               =               =
text-outside     =       =               =               =:A                =:A                =:A                =:A                =:A                =:A             =:A             =:A
FIN              =       =               =               close-wt:A         close-wt:A         closing:A          time-wt:A          =                  =               =               =
text+FIN         =       =               =               close-wt:A         close-wt:A         closing:A          time-wt:A          =                  =               =               =
FIN-ACK-of-all   =       =               =               close-wt:A         close-wt:A         time-wt:A          time-wt:A          =                  time-wt         closed          =
FIN-again        =       =               =               =:A                =:A                =:A                =:A                =:A                =:A             =:A             =:A
URG              =       =               =               estab:A            =:A                =:A                =:A                =                  =               =               =
next-timeout     =       =               =:S             =:SA               =                  =:FA               =                  =                  =:FA            =:FA            closed
user-timeout     =       =               closed!timeout  closed!timeout     closed!timeout     closed!timeout     =                  closed!timeout     closed!timeout  closed!timeout  =
all-retransmits  =       =               closed!timeout  closed!timeout     =                  closed!timeout     =                  =                  closed!timeout  closed!timeout  closed
`

// shortNames are the columns.
var shortNames = map[State]string{
	Closed: "closed", Listen: "listen", SynSent: "syn-sent", SynReceived: "syn-rcvd", Established: "estab", FinWait1: "fin-1", FinWait2: "fin-2",
	CloseWait: "close-wt", Closing: "closing", LastAck: "last-ack", TimeWait: "time-wt",
}

// plays are the events, each of a connection in state s.
var plays = map[string]func(tk *talk, s State){
	"SEND":            func(tk *talk, s State) { tk.write(10) },
	"RECEIVE":         func(tk *talk, s State) { tk.readAll() },
	"CLOSE":           func(tk *talk, s State) { tk.shutdown() },
	"ABORT":           func(tk *talk, s State) { tk.abort() },
	"STATUS":          func(tk *talk, s State) { tk.c.Info(tk.now) },
	"RST":             func(tk *talk, s State) { tk.arrives(s, wire.RST, 0, 0) },
	"RST+ACK":         func(tk *talk, s State) { tk.arrives(s, sRA, 0, 0) },
	"RST-in-window":   func(tk *talk, s State) { tk.arrives(s, wire.RST, 100, 0) },
	"RST-outside":     func(tk *talk, s State) { tk.arrives(s, wire.RST, -100, 0) },
	"SYN":             func(tk *talk, s State) { tk.inject(sS, 0, 0, 0) },
	"SYN-in-window":   func(tk *talk, s State) { tk.inject(sS, nextOf(s), 0, 0) },
	"SYN+ACK":         func(tk *talk, s State) { tk.inject(sSA, 0, 1, 0) },
	"ACK":             func(tk *talk, s State) { tk.arrives(s, sA, 0, 0) },
	"ACK-of-all":      func(tk *talk, s State) { tk.inject(sA, nextOf(s), ourNextOf(s), 0) },
	"ACK-too-far":     func(tk *talk, s State) { tk.inject(sA, nextOf(s), 1000, 0) },
	"ACK-too-old":     func(tk *talk, s State) { tk.inject(sA, nextOf(s), -100000, 0) },
	"no-ACK":          func(tk *talk, s State) { tk.arrives(s, wire.PSH, 0, 10) },
	"text":            func(tk *talk, s State) { tk.arrives(s, sPA, 0, 10) },
	"text-outside":    func(tk *talk, s State) { tk.arrives(s, sPA, -10, 10) },
	"FIN":             func(tk *talk, s State) { tk.arrives(s, sFA, 0, 0) },
	"text+FIN":        func(tk *talk, s State) { tk.arrives(s, sFA, 0, 10) },
	"FIN-ACK-of-all":  func(tk *talk, s State) { tk.inject(sFA, nextOf(s), ourNextOf(s), 0) },
	"FIN-again":       func(tk *talk, s State) { tk.inject(sFA, nextOf(s)-1, ourNextOf(s), 0) },
	"URG":             func(tk *talk, s State) { tk.arrives(s, sPA|wire.URG, 0, 10, func(x *Segment) { x.Urgent = 5 }) },
	"next-timeout":    func(tk *talk, s State) { tk.timeout() },
	"user-timeout":    func(tk *talk, s State) { tk.userTimeout() },
	"all-retransmits": func(tk *talk, s State) { tk.allTimeouts() },
}

// arrives gives the connection a segment that is in sequence but for off, and
// acknowledges what the peer of state s has.
func (tk *talk) arrives(s State, flags wire.Flags, off, n int, mods ...func(*Segment)) {
	tk.t.Helper()
	tk.inject(flags, nextOf(s)+off, ackOf(s), n, mods...)
}

// timeout lets the first timer there is expire.
func (tk *talk) timeout() {
	tk.t.Helper()
	if at := tk.c.Deadline(); at != Never {
		tk.advance(max(at-tk.now, 0))
	}
}

// userTimeout sends something, where that is possible, and lets a second of user timeout
// pass.
func (tk *talk) userTimeout() {
	tk.t.Helper()
	tk.change(func(o *ConnOptions) { o.UserTimeout = 1000 })
	if tk.c.SendSpace() > 0 {
		tk.write(10)
		tk.drain()
	}
	for end := tk.now + 3*Second; tk.c.Deadline() < end && tk.c.State != Closed; {
		tk.drain()
		tk.timeout()
	}
}

// allTimeouts lets timers expire until nothing is left to do.
func (tk *talk) allTimeouts() {
	tk.t.Helper()
	for tk.c.State != Closed && tk.c.Deadline() < tk.now+600*Second {
		tk.drain()
		tk.timeout()
	}
}

// outcome says what has become of a connection that was in state s.
func (tk *talk) outcome(s State) string {
	tk.t.Helper()
	what := "="
	if tk.c.State != s {
		what = shortNames[tk.c.State]
	}
	var out Segment
	var sent []string
	for tk.next(&out) {
		name := ""
		for _, f := range []struct {
			bit  wire.Flags
			name string
		}{{wire.SYN, "S"}, {wire.RST, "R"}, {wire.FIN, "F"}, {wire.ACK, "A"}} {
			if out.Flags&f.bit != 0 {
				name += f.name
			}
		}
		if out.Len > 0 {
			name += fmt.Sprint(out.Len)
		}
		sent = append(sent, name)
	}
	if len(sent) > 0 {
		what += ":" + strings.Join(sent, ",")
	}
	if tk.c.State == Closed && s != Closed {
		what += map[Error]string{ErrNone: "", ErrRefused: "!refused", ErrReset: "!reset", ErrTimeout: "!timeout", ErrAborted: "!aborted"}[tk.c.Error]
	}
	return what
}

func TestEachEventInEachState(t *testing.T) {
	lines := strings.Split(strings.Trim(eventTable, "\n"), "\n")
	for s, name := range strings.Fields(lines[0])[1:] {
		if shortNames[State(s)] != name {
			t.Fatalf("column %d is %s", s, name)
		}
	}
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		play := plays[cells[0]]
		if play == nil || len(cells) != len(shortNames)+1 {
			t.Fatalf("%q", line)
		}
		for s := Closed; s <= TimeWait; s++ {
			tk := inState(t, s)
			play(tk, s)
			if got, want := tk.outcome(s), cells[1+s]; got != want {
				t.Errorf("%s in %s: %s, want %s", cells[0], s, got, want)
			}
		}
	}
	if len(lines)-1 != len(plays) {
		t.Errorf("%d events, and %d rows", len(plays), len(lines)-1)
	}
}
