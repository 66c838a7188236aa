package usertcp

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

func init() {
	testhost.Register(map[string]func(args []string) error{"speaker": programSpeaker})
}

// programSpeaker ADDRESS connects, writes each line that it hears, and says what comes.
func programSpeaker(args []string) error {
	c, err := programDial(args[0])
	if err != nil {
		return err
	}
	say("connected")
	go func() {
		for buf := make([]byte, 100); ; {
			n, err := c.Read(buf)
			if err != nil {
				say("failed %v", err)
				return
			}
			say("came %s", buf[:n])
		}
	}()
	for {
		if _, err := c.Write([]byte(hear())); err != nil {
			say("failed %v", err)
		}
	}
}

// tooLate is how long a peer was not told in these tests that its connection has moved:
// longer than the memory of it lasted when that had a time of its own, 4 s.
const tooLate = 5 * time.Second

// A peer that was not told in time where its connection has gone does not lose it: its
// own server is dead while it moves, and comes back before the peer sends something, or
// after; or its child is stopped.
func TestPeerIsToldLate(t *testing.T) {
	hows := []string{"child stopped", "child stopped, and moved on", "server back before", "server back after"}
	if testing.Short() {
		hows = hows[:2]
	}
	for _, how := range hows {
		t.Run(how, func(t *testing.T) {
			toldLate(t, how)
		})
	}
}

func toldLate(t *testing.T, how string) {
	dir := testhost.Dir(t)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)...).Socket)
	t.Cleanup(func() { wantNoChildren(t) })
	host, server := testhost.StartProcess(t, dir, testhost.Addrs(2)...)
	l := listens(t)
	p, child, c := speaker(t, host, l)
	_, _, stays := speaker(t, host, l)
	var comesBack func()
	if strings.HasPrefix(how, "child stopped") {
		testhost.Stop(t, child)
		comesBack = func() { syscall.Kill(child, syscall.SIGCONT) }
	} else {
		server.Kill(syscall.SIGKILL)
		server.Wait()
		comesBack = func() { testhost.Restart(t, filepath.Dir(host.Socket), host, testhost.Addrs(2)...) }
	}
	if how == "child stopped, and moved on" { // from a pool that keeps another connection
		hand(t, Handed{Conn: c}, Handed{Conn: stays})
		hs := takes(t, 2)
		c, stays = hs[0].Conn, hs[1].Conn
	}
	hand(t, Handed{Conn: c})
	time.Sleep(tooLate)
	if how == "server back before" {
		comesBack()
	}
	p.Say("late")
	if how != "server back before" {
		time.Sleep(pause)
		comesBack()
	}
	n := takes(t, 1)[0].Conn
	want(t, n, "late")
	write(t, n, "heard")
	if line := p.Want("came"); line != "heard" {
		t.Errorf("%q came", line)
	}
	write(t, stays, "stays")
}

func hand(t *testing.T, sockets ...Handed) {
	t.Helper()
	if err := HandOverSome(t.Context(), "late", time.Minute, sockets...); err != nil {
		t.Fatal(err)
	}
}

// takes takes n connections that were handed over.
func takes(t *testing.T, n int) []Handed {
	t.Helper()
	hs, err := TakeOver(t.Context(), "late")
	if err != nil || len(hs) != n {
		t.Fatalf("took %d: %v", len(hs), err)
	}
	for _, h := range hs {
		t.Cleanup(func() { h.Conn.Close() })
		h.Conn.SetDeadline(time.Now().Add(patience))
	}
	return hs
}

func listens(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.(*Listener).SetDeadline(time.Now().Add(patience))
	return l.(*Listener)
}

// speaker starts a program on another host that connects to l.
func speaker(t *testing.T, host *testhost.Host, l *Listener) (p *testhost.Process, child int, c *Conn) {
	t.Helper()
	p = testhost.Run(t, host.Socket, "speaker", l.Addr().String())
	child = childOf(t, p)
	p.Want("connected")
	return p, child, accept(t, l)
}

// mourned hands a connection and its listener over whose peer's child is stopped, so that
// it is not told, and kills the program: its child waits for the peer.
type mourned struct {
	dir     string
	hosts   [2]*testhost.Host    // the peer's, and that of the connection
	servers [2]*testhost.Process // theirs
	peer    *testhost.Process
	theirs  int // its child
	old     int // the child that waits
}

func mourn(t *testing.T) *mourned {
	t.Helper()
	t.Parallel() // all of it is in programs of its own, which wait most of the time
	m := &mourned{dir: testhost.Dir(t)}
	for i := range m.hosts {
		m.hosts[i], m.servers[i] = testhost.StartProcess(t, m.dir, testhost.Addrs(i+1)...)
	}
	p, address, old := listening(t, m.hosts[1].Socket, "relay")
	m.old = old
	m.peer = testhost.Run(t, m.hosts[0].Socket, "speaker", address)
	m.theirs = childOf(t, m.peer)
	m.peer.Want("connected")
	p.Want("accepted")
	testhost.Stop(t, m.theirs)
	p.Say("some mourned")
	p.Want("handed")
	p.Kill(syscall.SIGKILL)
	p.Wait()
	return m
}

// restart kills the server of host i and starts another; what happens in between.
func (m *mourned) restart(t *testing.T, i int, between func()) {
	t.Helper()
	m.servers[i].Kill(syscall.SIGKILL)
	m.servers[i].Wait()
	between()
	m.servers[i] = testhost.Restart(t, m.dir, m.hosts[i], testhost.Addrs(i+1)...)
}

// wantWaiting checks that the old child waits.
func (m *mourned) wantWaiting(t *testing.T) {
	t.Helper()
	if !testhost.Running(m.old) {
		t.Fatal("the old child has not waited")
	}
}

// Whoever dies while a peer is to be told where its connection has gone, the old pool
// does not remember it for ever: its child, whose program is dead, ends.
func TestNobodyIsMournedForEver(t *testing.T) {
	if testing.Short() {
		t.Skip("waits until a peer would have been told long ago")
	}
	t.Cleanup(func() { wantNoChildren(t) })
	t.Run("the peer and its server", func(t *testing.T) {
		m := mourn(t)
		take(t, m.hosts[1].Socket, "mourned")
		time.Sleep(tooLate)
		m.wantWaiting(t)
		m.restart(t, 0, func() {
			m.peer.Kill(syscall.SIGKILL)
			killChild(t, m.theirs)
		})
		testhost.WantGone(t, m.old)
	})
	t.Run("the new holder and its server", func(t *testing.T) {
		m := mourn(t)
		p := testhost.Run(t, m.hosts[1].Socket, "relay", "take", "mourned")
		child := childOf(t, p)
		p.Want("taken")
		m.restart(t, 1, func() {
			p.Kill(syscall.SIGKILL)
			killChild(t, child)
		})
		time.Sleep(tooLate)
		m.wantWaiting(t)
		testhost.WantGone(t, m.old)
	})
	t.Run("the server", func(t *testing.T) {
		m := mourn(t)
		p := take(t, m.hosts[1].Socket, "mourned")
		m.restart(t, 1, func() { time.Sleep(tooLate) })
		m.wantWaiting(t)
		syscall.Kill(m.theirs, syscall.SIGCONT)
		testhost.WantGone(t, m.old)
		m.peer.Say("to the new one")
		if line := m.peer.Want("came"); line != "to the new one" {
			t.Errorf("%q came", line)
		}
		p.Kill(syscall.SIGKILL)
	})
}

// relayOfProcess is a relay on a host whose server is a process, and a connection to it.
func relayOfProcess(t *testing.T) (server *testhost.Process, host *testhost.Host, c net.Conn, p *testhost.Process) {
	t.Helper()
	t.Cleanup(func() { wantNoChildren(t) })
	dir := testhost.Dir(t)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)...).Socket)
	host, server = testhost.StartProcess(t, dir, testhost.Addrs(2)...)
	p, c, _ = quiet(t, host.Socket)
	return server, host, c, p
}

// stopOurChild stops our child where it does not have the segment's lock, for which c's
// calls would wait until it goes on. It had it once, and the test waited for ever.
func stopOurChild(t *testing.T, c *Conn) {
	t.Helper()
	for range 20 {
		testhost.Stop(t, ourChild())
		called := make(chan error, 1)
		go func() { called <- c.SetNoDelay(true) }()
		select {
		case err := <-called:
			if err != nil {
				t.Fatal(err)
			}
			return
		case <-time.After(time.Second):
		}
		syscall.Kill(ourChild(), syscall.SIGCONT)
		if err := <-called; err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("our child has the lock whenever it is stopped")
}

// The connection server is killed at random moments while a connection moves whose peer's
// child is stopped: the new pool may not have claimed it, and the peer has not been told,
// for as long as there is no server.
func TestServerKilledWhileSomeMove(t *testing.T) {
	rng := seeded(t)
	rounds, handed := 4, 0
	if testing.Short() {
		rounds = 1
	}
	for n := range rounds {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			server, host, c, p := relayOfProcess(t)
			name := fmt.Sprint("killed", n)
			stopOurChild(t, c.(*Conn))
			p.Say("some " + name)
			line := ""
			if n == 0 {
				line = p.Line()
			} else {
				time.Sleep(time.Duration(rng.IntN(20_000)) * time.Microsecond)
			}
			server.Kill(syscall.SIGKILL)
			server.Wait()
			if n > 0 {
				line = p.Line()
			}
			if line == "handed" {
				time.Sleep(tooLate)
			}
			write(t, c, "late")
			testhost.Restart(t, filepath.Dir(host.Socket), host, testhost.Addrs(2)...)
			if line == "handed" {
				handed++
				take(t, host.Socket, name)
			} else if !strings.HasPrefix(line, "failed") {
				t.Fatalf("it says %q", line)
			}
			syscall.Kill(ourChild(), syscall.SIGCONT)
			want(t, c, "late")
			finish(t, c)
		})
	}
	t.Logf("%d of %d went", handed, rounds)
}
