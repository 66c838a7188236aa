package server

import (
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

func TestLevelsOfMemory(t *testing.T) {
	l := plenty
	for _, row := range []struct {
		used uint64
		want level
	}{
		{0, plenty}, {550, plenty}, {601, plenty}, {660, plenty}, // above the first threshold, and no pressure yet
		{670, pressure}, {999, pressure}, {1000, full}, {2000, full},
		{999, pressure}, {501, pressure}, {500, plenty}, {600, plenty}, {1000, full}, {10, plenty},
	} {
		if l = l.next(row.used, 1000); l != row.want {
			t.Errorf("%d of 1000 in use: level %d, want %d", row.used, l, row.want)
		}
	}
}

func testLimits() Limits {
	l := Limits{Memory: 1 << 20, Orphans: 8, UserMemory: 64 << 20, UserSockets: 10}
	if err := l.complete(1 << 34); err != nil {
		panic(err)
	}
	return l
}

// accounts makes children of the given users, all of whom have been told.
func accounts(l *ledger, uids ...int) (children []*child) {
	for _, uid := range uids {
		c := new(child)
		l.open(c, uid)
		children = append(children, c)
	}
	return children
}

func TestOrphansAreShared(t *testing.T) {
	l := newLedger(testLimits())
	c := accounts(l, 0, 1000)
	if p := l.open(c[1], 1000); p.Orphans != 8 || p.OrphanTries != 8 || p.FinWait != time.Minute || p.Step.Orphans != 1 {
		t.Errorf("at the start %+v", p)
	}
	l.enter(c[0], 0, message.PoolUsage{Orphans: 5})
	due := l.due()
	if p := due[c[1]]; p.Orphans != 3 {
		t.Errorf("the other may have %d, want 3", p.Orphans)
	}
	if p, ok := due[c[0]]; ok {
		t.Errorf("who has what he was told of was told %+v", p)
	}
	l.enter(c[1], 1000, message.PoolUsage{Orphans: 3})
	l.due()
	l.enter(c[1], 1000, message.PoolUsage{Orphans: 6}) // both closed at once: one too many
	l.due()
	if p := l.accounts[c[0]].told; p.Orphans != 5 {
		t.Errorf("when there are more than allowed: %d, want the 5 that there are", p.Orphans)
	}
	l.close(c[1])
	if p := l.due()[c[0]]; p.Orphans != 8 {
		t.Errorf("when the other has ended: %d, want 8", p.Orphans)
	}
}

func TestPressureIsEverybodys(t *testing.T) {
	l := newLedger(testLimits())
	c := accounts(l, 0, 1000, 1000)
	for _, row := range []struct {
		who  int
		has  uint64
		want level
	}{{0, 400 << 10, plenty}, {1, 400 << 10, pressure}, {2, 300 << 10, full}, {2, 1 << 10, pressure}, {0, 0, plenty}} {
		l.enter(c[row.who], 1000*min(row.who, 1), message.PoolUsage{Buffers: row.has})
		l.due()
		for i := range c {
			if got := level(l.accounts[c[i]].told.Level); got != row.want {
				t.Errorf("child %d has %d octets: child %d was told level %d, want %d", row.who, row.has, i, got, row.want)
			}
		}
	}
}

// A user's programs share what is his; nobody else is concerned, root least.
func TestLimitsOfOneUser(t *testing.T) {
	limits := testLimits()
	limits.Memory = 1 << 40
	l := newLedger(limits)
	c := accounts(l, 1000, 1000, 1001, 0)
	l.enter(c[0], 1000, message.PoolUsage{Sockets: 7, Buffers: 30 << 20})
	l.enter(c[1], 1000, message.PoolUsage{Sockets: 1, Buffers: 40 << 20})
	l.enter(c[2], 1001, message.PoolUsage{Sockets: 4})
	l.enter(c[3], 0, message.PoolUsage{Sockets: 40, Buffers: 70 << 20})
	l.due()
	for i, want := range []message.PoolLimits{{Sockets: 9, Level: 2}, {Sockets: 3, Level: 2}, {Sockets: 10}, {Sockets: math.MaxUint32}} {
		if got := l.accounts[c[i]].told; got.Sockets != want.Sockets || got.Level != want.Level {
			t.Errorf("child %d was told %+v, want %+v", i, got, want)
		}
	}
}

// Of a user who has more memory than he may the program with most of it is to go, and
// no other.
func TestTooMuchMemoryOfOneUser(t *testing.T) {
	l := newLedger(testLimits())
	c := accounts(l, 1000, 1000, 0)
	l.enter(c[0], 1000, message.PoolUsage{Memory: 20 << 20})
	l.enter(c[1], 1000, message.PoolUsage{Memory: 40 << 20})
	l.enter(c[2], 0, message.PoolUsage{Memory: 1 << 40})
	l.due()
	if l.tooMuchMemory(1000) || l.accounts[c[1]].told.Memory != 0 {
		t.Error("60 of 64 MiB are too much")
	}
	l.enter(c[0], 1000, message.PoolUsage{Memory: 30 << 20})
	l.due()
	if told := l.accounts[c[1]].told; told.Memory != 0 || level(told.Level) != full {
		t.Errorf("with 70 of 64 MiB, and no buffer in use: %+v", told)
	}
	l.enter(c[0], 1000, message.PoolUsage{Memory: 35 << 20})
	l.due()
	if !l.tooMuchMemory(1000) || l.tooMuchMemory(1001) || l.tooMuchMemory(0) {
		t.Error("75 of 64 MiB are not too much, or another's matter")
	}
	for i, want := range []uint64{0, 29 << 20, 0} {
		if got := l.accounts[c[i]].told.Memory; got != want {
			t.Errorf("child %d may have %d octets, want %d", i, got, want)
		}
	}
	l.close(c[1])
	if l.due(); l.tooMuchMemory(1000) || l.accounts[c[0]].told.Memory != 0 {
		t.Error("when the largest has ended there is still too much")
	}
}

func TestWhatIsWorthAMessage(t *testing.T) {
	for _, row := range []struct {
		now, told, own, step uint32
		want                 bool
	}{
		{100, 100, 0, 10, false},
		{95, 100, 0, 10, false},
		{90, 100, 0, 10, true},
		{110, 100, 0, 10, true},
		{99, 100, 90, 10, true}, // near the limit each one counts
		{100, 100, 90, 10, false},
		{math.MaxUint32, math.MaxUint32, math.MaxUint32, 10, false},
	} {
		if got := far(row.now, row.told, row.own, row.step); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

func TestLimitsThatMakeNoSense(t *testing.T) {
	for _, row := range []struct {
		l    Limits
		want string
	}{
		{Limits{Orphans: -1}, "orphans"},
		{Limits{UserSockets: -1}, "sockets"},
		{Limits{OrphanRetries: 256}, "retries"},
		{Limits{FinTimeout: -time.Second}, "FIN-WAIT-2"},
		{Limits{FinTimeout: time.Microsecond}, "FIN-WAIT-2"},
		{Limits{Memory: 100}, "memory"},
		{Limits{UserMemory: 100}, "memory"},
	} {
		if err := row.l.complete(1 << 30); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %v", row.l, err)
		}
	}
	var l Limits
	if err := l.complete(16 << 30); err != nil {
		t.Fatal(err)
	}
	want := Limits{
		Memory: 3 << 29, Orphans: 65536, FinTimeout: time.Minute, OrphanRetries: 8, UserMemory: 8 << 30, UserSockets: 1 << 20,
	}
	if l != want {
		t.Errorf("of a host with 16 GiB: %+v, want %+v", l, want)
	}
	if m := hostMemory(); m < 1<<26 {
		t.Errorf("this host has %d octets of memory", m)
	}
}

func (a *app) nextLimits() message.PoolLimits {
	a.t.Helper()
	m := next(a.t, a.limits, "a Limits")
	p, err := message.ParsePoolLimits(m.PDU)
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

func (a *app) report(u message.PoolUsage) {
	a.send(message.Message{Type: message.Usage, PDU: u.Append(nil)})
}

// The way through the server: what one child reports the other is told, what a child
// had that has ended is free, and what it says that is no report changes nothing.
func TestChildrenAreToldWhatTheyMayHave(t *testing.T) {
	cfg := config(t.TempDir(), addr1)
	cfg.Limits = Limits{Memory: 1 << 20, Orphans: 4, FinTimeout: 7 * time.Second, OrphanRetries: 3}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := spawn(t, s), spawn(t, s)
	for _, x := range []*app{a, b} {
		if p := x.nextLimits(); p.Level != 0 || p.Orphans != 4 || p.FinWait != 7*time.Second || p.OrphanTries != 3 {
			t.Errorf("at the start %+v", p)
		}
	}
	a.report(message.PoolUsage{Buffers: 2 << 20, Orphans: 4})
	if p := b.nextLimits(); p.Level != 2 || p.Orphans != 0 {
		t.Errorf("when the other has all: %+v", p)
	}
	a.send(message.Message{Type: message.Usage, PDU: []byte("garbage")})
	eventually(t, "the garbage to be counted", func() bool { return s.Snapshot().Counters.BadChild == 1 })
	i := s.Snapshot().Limits
	if i.Level != 2 || i.Usage.Buffers != 2<<20 || i.Limits.Orphans != 4 || len(i.Users) != 1 || i.Users[0].Children != 2 {
		t.Errorf("status: %+v", i)
	}
	a.kill(s)
	if p := b.nextLimits(); p.Level != 0 || p.Orphans != 4 {
		t.Errorf("when the other has ended: %+v", p)
	}
}

// What a program says of its sockets is its own; ports and connections are the server's
// to count.
func TestSocketsOfOneUser(t *testing.T) {
	cfg := config(t.TempDir(), addr1)
	cfg.Limits = Limits{UserSockets: 2}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := spawn(t, s), spawn(t, s)
	for _, x := range []*app{a, b} {
		c := s.child(x.vci)
		c.mu.Lock()
		c.app.uid = 1000
		c.mu.Unlock()
	}
	a.listen(1, "10.1.0.1:80")
	b.listen(1, "10.1.0.1:81")
	for _, x := range []*app{a, b} {
		if _, errno := x.call(message.Message{Type: message.Listen, Op: message.OpBind, Socket: 2, Local: ep("10.1.0.1:82")}); errno != unix.EMFILE {
			t.Errorf("one port too many: %v, want EMFILE", errno)
		}
		if _, errno := x.open(3, "10.1.0.1:0", "10.1.0.1:80"); errno != unix.EMFILE {
			t.Errorf("one connection too many: %v, want EMFILE", errno)
		}
	}
	if _, errno := a.call(message.Message{Type: message.Listen, Op: message.OpClose, Socket: 1}); errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := b.open(3, "10.1.0.1:0", "10.1.0.1:81"); errno != 0 {
		t.Errorf("there is room again: %v", errno)
	}
}

func TestNoChildForWhoHasTooMuchMemory(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	c := accounts(s.ledger, 1000)[0]
	s.ledger.enter(c, 1000, message.PoolUsage{Memory: 1 << 60})
	if _, errno := s.addChild(application{uid: 1000}); errno != unix.ENOBUFS {
		t.Errorf("%v, want ENOBUFS", errno)
	}
	s.ledger.close(c)
}

// One user cannot have all the channels to a server: the others find a place.
func TestOneUserTakesNotAllChannels(t *testing.T) {
	s := startWith(t, func(c *Config) { c.MaxChildren = 3 }, t.TempDir(), addr1)
	s.mu.Lock()
	for range 3 + spareApplications {
		s.apps[new(message.Channel)] = 1000
	}
	full, room := s.roomFor(1000), s.roomFor(1001) && s.roomFor(0)
	s.apps = map[*message.Channel]int{}
	s.mu.Unlock()
	if full || !room {
		t.Errorf("room for one more of his: %v; for others: %v", full, room)
	}
}
