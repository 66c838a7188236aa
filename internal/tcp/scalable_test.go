package tcp

import (
	"os"
	"strings"
	"testing"
)

// The code below stands in docs/congestion-control.md, too.

// scalable is Scalable TCP (Kelly, 2003): cwnd grows by a hundredth of what is
// acknowledged and loses an eighth at a loss, so that the time between two losses
// does not depend on the bandwidth.
type scalable struct{}

// scalableRest is the private word that counts the octets acknowledged that have
// not made cwnd grow yet.
const scalableRest = 0

func (scalable) name() string { return "scalable" }

func (scalable) start(c *Conn, _ Time) { c.cc.private[scalableRest] = 0 }

func (scalable) acked(c *Conn, _ Time, a ack) {
	cc := &c.cc
	n := c.growth(a.n)
	switch {
	case 2*a.flight < cc.cwnd:
		// The program does not use the window: that it is no larger is no harm.
	case cc.cwnd < cc.ssthresh:
		cc.cwnd = min(cc.cwnd+n, maxBuffer)
	default:
		cc.private[scalableRest] += uint64(n)
		cc.cwnd = min(cc.cwnd+uint32(cc.private[scalableRest]/100), maxBuffer)
		cc.private[scalableRest] %= 100
	}
}

func (scalable) lost(c *Conn, _ Time, flight uint32) {
	c.cc.ssthresh = max(flight-flight/8, 2*c.snd.mss)
}

func (s scalable) timedOut(c *Conn, now Time, flight uint32) {
	s.lost(c, now, flight)
	c.cc.cwnd = c.snd.mss
}

func (scalable) marked(*Conn, Time, uint32) bool { return false }
func (scalable) recovered(*Conn, Time)           {}
func (scalable) undone(*Conn, Time)              {}
func (scalable) resumed(*Conn, Time)             {}
func (scalable) ownsWindow() bool                { return false }

// TestTheExampleOfTheDocumentation lets it run, in Reno's place.
func TestTheExampleOfTheDocumentation(t *testing.T) {
	p := link{rate: 2_500_000, delay: 100 * Millisecond, buffer: 60_000, loss: 0.0005, seed: 1}
	reno, _ := goodput(t, p, CongestionReno, 20*Second)
	controllers[CongestionReno] = scalable{}
	defer func() { controllers[CongestionReno] = newReno{} }()
	if id, ok := CongestionByName("scalable"); !ok || id != CongestionReno {
		t.Fatal("it is not in the table")
	}
	got, _ := goodput(t, p, CongestionReno, 20*Second)
	if got < reno*6/5 || got > 20 {
		t.Errorf("%.2f Mbit/s, and Reno %.2f", got, reno)
	}
	text, err := os.ReadFile("../../docs/congestion-control.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("scalable_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(source), "in docs/congestion-control.md, too.\n\n")
	code, _, _ = strings.Cut(code, "\n// TestTheExample")
	if !ok || !strings.Contains(string(text), "```go\n"+code+"```\n") {
		t.Error("docs/congestion-control.md has other code than this file")
	}
}
