package kill

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The environment says how many programs are killed over all links, how long that may
// take for each link, and to which file what was counted is appended from time to time.
const (
	killsEnv = "USERTCP_KILLS"
	timeEnv  = "USERTCP_KILL_TIME"
	logEnv   = "USERTCP_KILL_LOG"

	// starvedEnv, if set, says that others may have the CPUs for a minute: programs that
	// can't connect in time are counted then, and no failure. What is delivered is.
	starvedEnv = "USERTCP_KILL_STARVED"

	killsInCI = 2500
	logEvery  = 1000 // kills
)

// report is what a run of the test has counted.
type report struct {
	kills int
	limit time.Duration // 0: none
	log   *os.File      // nil: none
}

func newReport(t *testing.T) *report {
	r := &report{kills: killsInCI}
	var err error
	if s := os.Getenv(killsEnv); s != "" {
		if r.kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		r.kills = 100
	}
	if s := os.Getenv(timeEnv); s != "" {
		if r.limit, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv(logEnv); s != "" {
		if r.log, err = os.OpenFile(s, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.log.Close() })
	}
	return r
}

// count is what was counted over one link.
type count struct {
	*report
	link  *link
	seed  uint64
	began time.Time
	cpu   time.Duration // that this process had used before
	want  int64

	begun, done, held   atomic.Int64
	late                atomic.Int64 // that did not come
	accepted, delivered atomic.Int64 // octets of the senders
}

func (r *report) begin(l *link) *count {
	now := time.Now()
	return &count{report: r, link: l, seed: uint64(now.UnixNano()), began: now, cpu: cpuTime(), want: int64(r.kills * l.share / 100)}
}

// cpuTime returns what this process and those that it has waited for have used: whether
// the work or some wait bounds the rate is seen from it.
func cpuTime() (d time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			d += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return d
}

// more reports whether more programs are to be killed, and another takes one of them.
func (c *count) more() bool {
	return (c.limit == 0 || time.Since(c.began) < c.limit) && c.begun.Load() < c.want
}

func (c *count) another() bool { return c.more() && c.begun.Add(1) <= c.want }

// killed notes that one was.
func (c *count) killed(t *testing.T) {
	if n := c.done.Add(1); n%logEvery == 0 {
		c.say(t)
	}
}

// complain reports a failure, unless the test may be starved.
func (r *report) complain(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv(starvedEnv) != "" {
		t.Logf(format, args...)
		return
	}
	t.Errorf(format, args...)
}

// absent notes that a program has not come.
func (c *count) absent(t *testing.T, number uint64) {
	t.Helper()
	c.late.Add(1)
	c.complain(t, "program %d has not come", number)
}

func (c *count) String() string {
	return fmt.Sprintf("%s, seed %d: %d programs killed in %v (%v of CPU time), %d of them with the lock; %d octets accepted of those that sent, %d delivered; %d could not connect",
		c.link.name, c.seed, c.done.Load(), time.Since(c.began).Round(time.Millisecond), (cpuTime() - c.cpu).Round(time.Millisecond), c.held.Load(), c.accepted.Load(), c.delivered.Load(), c.late.Load())
}

// say writes to the file what was counted so far.
func (c *count) say(t *testing.T) {
	if c.log == nil {
		return
	}
	if _, err := fmt.Fprintf(c.log, "%s %v\n", time.Now().Format(time.DateTime), c); err != nil {
		t.Error(err)
	}
}

// end says what was counted in all.
func (c *count) end(t *testing.T) {
	t.Log(c)
	c.say(t)
	if c.held.Load() == 0 && c.done.Load() >= 400 {
		t.Error("nobody died with the lock: the hardest case was not tested")
	}
}
