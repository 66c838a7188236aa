package usertcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/testhost"
	"usertcp/internal/user"
)

func init() {
	testhost.Register(map[string]func(args []string) error{"relay": programRelay})
}

// programRelay ADDRESS, or programRelay take NAME, or programRelay try NAME, which waits
// for the offer only briefly, echoes on one connection. It hands
// that and its listener over when the test says so.
func programRelay(args []string) error {
	l, c, pending, err := relayBegin(args)
	if err != nil {
		return err
	}
	echoed := 0
	for command := range relayCommands(c) {
		l.SetDeadline(time.Time{})
		if pending, err = relay(c, pending, &echoed); errors.Is(err, io.EOF) {
			say("end")
			c.Close()
			return nil
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		c.SetDeadline(time.Time{})
		f := strings.Fields(<-command)
		if f[0] == "echoed" {
			say("%d", echoed)
			continue
		}
		if err := relayHand(f[0], f[1], l, c, pending); err != nil {
			say("failed %v", err)
			continue
		}
		switch say("handed"); f[0] {
		case "stay", "some":
			select {}
		case "exec":
			exe, _ := os.Executable()
			return syscall.Exec(exe, []string{exe, "usertcp-test-program", "relay", "take", f[1]}, os.Environ())
		}
		return nil
	}
	return nil
}

// relayCommands gives a channel for each command that it hears, before which it makes
// calls of c's end.
func relayCommands(c *Conn) <-chan <-chan string {
	all := make(chan (<-chan string), 1)
	next := make(chan string, 1)
	all <- next
	go func() {
		for {
			line := hear()
			c.SetDeadline(time.Unix(1, 0))
			next <- line
			next = make(chan string, 1)
			all <- next
		}
	}()
	return all
}

// briefly is how long a relay that tries to take over waits. It is of no consequence for
// the tests that do so whether that was long enough.
const briefly = 3 * time.Second

// relayTake takes what is on offer by the name args[0], as user args[1] if that is there.
func relayTake(wait time.Duration, args []string) (l *Listener, c *Conn, pending []byte, err error) {
	if len(args) > 1 {
		n, _ := strconv.Atoi(args[1])
		if err := errors.Join(syscall.Setgid(n), syscall.Setuid(n)); err != nil {
			return nil, nil, nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	hs, err := TakeOver(ctx, args[0])
	if err != nil {
		say("failed %v", err)
		return nil, nil, nil, err
	}
	if len(hs) != 2 || hs[0].Listener == nil || hs[1].Conn == nil {
		return nil, nil, nil, fmt.Errorf("took %+v", hs)
	}
	sayPids()
	say("taken")
	return hs[0].Listener, hs[1].Conn, hs[1].State, nil
}

func relayBegin(args []string) (l *Listener, c *Conn, pending []byte, err error) {
	switch args[0] {
	case "take":
		return relayTake(patience, args[1:])
	case "try":
		return relayTake(briefly, args[1:])
	}
	nl, err := Listen("tcp", args[0])
	if err == nil {
		err = sayPids()
	}
	if err != nil {
		return nil, nil, nil, err
	}
	l = nl.(*Listener)
	say("listening %s", l.Addr())
	nc, err := l.Accept()
	if err != nil {
		return nil, nil, nil, err
	}
	say("accepted")
	return l, nc.(*Conn), nil, nil
}

// relay echoes until something ends it, and returns what it has read and not written.
// It adds to echoed how many octets Write has accepted.
func relay(c *Conn, pending []byte, echoed *int) ([]byte, error) {
	buf := make([]byte, 30_000)
	for {
		for len(pending) > 0 {
			n, err := c.Write(pending)
			*echoed += n
			if pending = pending[n:]; err != nil {
				return bytes.Clone(pending), err
			}
		}
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		pending = buf[:n]
	}
}

func relayHand(how, name string, l *Listener, c *Conn, pending []byte) error {
	if us, ok := strings.CutPrefix(how, "kill"); ok {
		n, _ := strconv.Atoi(strings.TrimSuffix(us, "some"))
		go func() {
			time.Sleep(time.Duration(n) * time.Microsecond)
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}()
	}
	wait := 20 * time.Second
	if how == "brief" {
		wait = 300 * time.Millisecond
	}
	hand := HandOver
	if strings.HasSuffix(how, "some") {
		hand = HandOverSome
	}
	err := hand(context.Background(), name, wait, Handed{Listener: l}, Handed{Conn: c, State: pending})
	if strings.HasPrefix(how, "kill") {
		select {}
	}
	return err
}

// relayed starts a relay on the second host, connects to it, and sends octets through
// it until done is called, which checks that they all came back.
func relayed(t *testing.T, socket string) (p *testhost.Process, address string, done func()) {
	t.Helper()
	p, address, _ = listening(t, socket, "relay")
	c := dialed(t, address)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	p.Want("accepted")
	var all sync.WaitGroup
	stop := make(chan struct{})
	block := make([]byte, 1_000_003)
	fill(block, 20)
	sent, got := 0, 0
	all.Go(func() { sent = pump(t, c.(*Conn), block, stop) })
	all.Go(func() { got = sink(t, c, block) })
	return p, address, func() {
		t.Helper()
		close(stop)
		all.Wait()
		if sent != got {
			t.Errorf("%d octets came back of %d", got, sent)
		}
		t.Logf("%d MiB", sent>>20)
	}
}

// pump writes block again and again until stop is closed, and then ends the stream.
func pump(t *testing.T, c *Conn, block []byte, stop chan struct{}) (sent int) {
	for {
		select {
		case <-stop:
			c.CloseWrite()
			return sent
		default:
		}
		n, err := c.Write(block)
		if sent += n; err != nil {
			t.Errorf("write: %v", err)
			return sent
		}
	}
}

// sink reads to the end, and compares what comes with block, again and again.
func sink(t *testing.T, c net.Conn, block []byte) (got int) {
	buf := make([]byte, len(block))
	for {
		n, err := io.ReadFull(c, buf)
		if !bytes.Equal(buf[:n], block[:n]) {
			t.Errorf("other octets than were sent come after %d", got)
		}
		if got += n; err != nil {
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Errorf("read: %v", err)
			}
			return got
		}
	}
}

// quiet starts a relay on the second host and connects to it.
func quiet(t *testing.T, socket string) (p *testhost.Process, c net.Conn, child int) {
	t.Helper()
	p, address, child := listening(t, socket, "relay")
	c = dialed(t, address)
	t.Cleanup(func() { c.Close() })
	p.Want("accepted")
	c.SetDeadline(time.Now().Add(patience))
	write(t, c, "before")
	want(t, c, "before")
	return p, c, child
}

// wantGoesOn uses and ends a connection to relay p.
func wantGoesOn(t *testing.T, c net.Conn, p *testhost.Process) {
	t.Helper()
	write(t, c, "goes on")
	want(t, c, "goes on")
	finish(t, c)
	p.Want("end")
}

func take(t *testing.T, socket, name string) *testhost.Process {
	t.Helper()
	p := testhost.Run(t, socket, "relay", "take", name)
	childOf(t, p)
	p.Want("taken")
	return p
}

// A connection under load both ways, and its listener, go from process to process:
// to one that was there before, to one that comes later, and through exec.
func TestHandOver(t *testing.T) {
	for _, how := range []string{"exit", "stay", "exec", "some"} {
		t.Run(how, func(t *testing.T) {
			_, socket := peers(t)
			p, _, done := relayed(t, socket)
			time.Sleep(pause)
			for n := range 4 {
				name := fmt.Sprint(how, n)
				p = pass(t, socket, p, how, name, n%2 == 0)
				time.Sleep(10 * time.Millisecond)
			}
			done()
			p.Want("end")
		})
	}
}

// pass has a relay hand over to the next, which is there before or comes after, or is
// the same process.
func pass(t *testing.T, socket string, old *testhost.Process, how, name string, before bool) *testhost.Process {
	t.Helper()
	next := old
	if how != "exec" && before {
		next = testhost.Run(t, socket, "relay", "take", name)
	}
	old.Say(how + " " + name)
	old.Want("handed")
	if how != "exec" && !before {
		next = testhost.Run(t, socket, "relay", "take", name)
	}
	childOf(t, next)
	next.Want("taken")
	if how == "exit" {
		old.Wait()
	}
	return next
}

// A process that wants to take over dies before it has: another one can.
func TestTakerDies(t *testing.T) {
	_, socket := peers(t)
	p, c, child := quiet(t, socket)
	p.Say("stay once")
	p.Want("handed")
	for range 3 {
		if m := asTaker(t, socket, "once"); m.Type != message.InitReply || m.Errno != 0 || int(m.Socket) != child {
			t.Fatalf("a taker gets %+v", m)
		}
	}
	next := take(t, socket, "once")
	wantGoesOn(t, c, next)
}

// asTaker asks for what is on offer, as a taker does that goes no further, and returns
// what the child says.
func asTaker(t *testing.T, socket, name string) (m message.Message) {
	t.Helper()
	server, err := message.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	mine, theirs, err := message.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	ask := message.Message{Type: message.TakeOver, N: message.Version, Files: []int{int(theirs.Fd())}}
	ask.SetName(user.NameOf(name))
	err = errors.Join(server.SendMessage(&ask), theirs.Close(), server.RecvMessage(&ask, message.Server, message.User))
	mine.SetDeadline(time.Now().Add(patience))
	if err == nil {
		err = mine.RecvMessage(&m, message.Child, message.User)
	}
	if err != nil {
		t.Fatal(err)
	}
	message.CloseFiles(m.Files)
	return m
}

// Who is another user does not get them.
func TestAnotherUserTakesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	_, socket := peers(t)
	if err := os.Chmod(filepath.Dir(socket), 0o711); err != nil {
		t.Fatal(err)
	}
	p, c, _ := quiet(t, socket)
	p.Say("stay mine")
	p.Want("handed")
	other := testhost.Run(t, socket, "relay", "try", "mine", "65534")
	if why := other.Want("failed"); !strings.Contains(why, syscall.EPERM.Error()) {
		t.Errorf("another user is told %q", why)
	}
	next := take(t, socket, "mine")
	wantGoesOn(t, c, next)
}

// Nobody is there for a while: the child does the old process's work, and the SYNs of
// that time are answered.
func TestNoSYNIsLostInAHandOver(t *testing.T) {
	_, socket := peers(t)
	p, address, done := relayed(t, socket)
	p.Say("exit later")
	p.Want("handed")
	p.Wait()
	var waiting []net.Conn
	for range 20 {
		c := dialed(t, address)
		defer c.Close()
		waiting = append(waiting, c)
	}
	_, err := waiting[0].Write([]byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(pause)
	p = take(t, socket, "later")
	done()
	p.Want("end")
}

// The child is killed while nobody uses the segment: its
// successor goes on with the offer, though the old process lives.
func TestChildKilledDuringAHandOver(t *testing.T) {
	_, socket := peers(t)
	p, _, done := relayed(t, socket)
	child := children[len(children)-1]
	p.Say("stay gap")
	p.Want("handed")
	killTheirs(t, child)
	time.Sleep(pause)
	p2 := take(t, socket, "gap")
	done()
	p2.Want("end")
}

// The child is killed at random moments of a hand-over: before the offer, between it
// and the process's word that it has left, and after.
func TestChildKilledAtAnyMomentOfAHandOver(t *testing.T) {
	rng := seeded(t)
	_, socket := peers(t)
	for n := range 12 {
		p, c, child := quiet(t, socket)
		name := fmt.Sprint("moment", n)
		p.Say("stay " + name)
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
		killTheirs(t, child)
		write(t, c, "in between")
		p.Want("handed")
		next := take(t, socket, name)
		want(t, c, "in between")
		finish(t, c)
		next.Want("end")
		p.Kill(syscall.SIGKILL)
	}
}

// A name is one program's at a time, and who fails to hand over has lost nothing.
func TestNameTakenTwice(t *testing.T) {
	_, socket := peers(t)
	a, ca, _ := quiet(t, socket)
	b, cb, _ := quiet(t, socket)
	a.Say("stay same")
	a.Want("handed")
	b.Say("stay same")
	if why := b.Want("failed"); !strings.Contains(why, syscall.EADDRINUSE.Error()) {
		t.Errorf("the second says %q", why)
	}
	wantGoesOn(t, cb, b)
	c := take(t, socket, "same")
	// It is gone now.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	t.Setenv("USERTCP_SERVER", socket)
	if _, err := TakeOver(ctx, "same"); !errors.Is(err, syscall.ENOENT) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("taken again: %v", err)
	}
	wantGoesOn(t, ca, c)
}

// Nobody comes in time: it is as if the program had ended.
func TestNobodyTakesOver(t *testing.T) {
	_, socket := peers(t)
	p, c, child := quiet(t, socket)
	began := time.Now() // before it offers: who waits for its word may hear it late
	p.Say("brief nobody")
	p.Want("handed")
	wantEOF(t, c)
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("it ended after %v", d)
	}
	c.Close()
	testhost.WantGone(t, child)
}

// The old process is killed at random moments of its hand-over: either it has not
// offered anything yet, and it is its end, or all goes on.
func TestKilledWhileItHandsOver(t *testing.T) {
	rng := seeded(t)
	l, socket := peers(t)
	l.Close()
	offered := 0
	for n := range 12 {
		p, c, _ := quiet(t, socket)
		name := fmt.Sprint("killed", n)
		p.Say(fmt.Sprintf("kill%d %s", rng.IntN(1500), name))
		p.Wait()
		write(t, c, "in between") // which its end may have made vain
		next := testhost.Run(t, socket, "relay", "try", name)
		if n := next.Line(); strings.HasPrefix(n, "failed") {
			c.Close()
			next.Wait()
			continue
		}
		offered++
		next.Want("taken")
		want(t, c, "in between")
		finish(t, c)
		next.Want("end")
	}
	t.Logf("%d of 12 had offered", offered)
}

func TestWhatCantBeHandedOver(t *testing.T) {
	l, _ := peers(t)
	other := accepted(t, l)
	ctx := t.Context()
	for what, err := range map[string]error{
		"nothing":        HandOver(ctx, "x", time.Second),
		"neither":        HandOver(ctx, "x", time.Second, Handed{}),
		"both":           HandOver(ctx, "x", time.Second, Handed{Conn: other, Listener: l}),
		"twice":          HandOver(ctx, "x", time.Second, Handed{Conn: other}, Handed{Conn: other}),
		"too much state": HandOver(ctx, "x", time.Second, Handed{Conn: other, State: make([]byte, maxStates+1)}),
	} {
		if !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Errorf("nothing has changed, and yet: %v", err)
	}
}

// accepted returns a connection that l has accepted from this process.
func accepted(t *testing.T, l *Listener) *Conn {
	t.Helper()
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return accept(t, l)
}

// Sockets that have been handed over are of no use to the process that had them, and
// do no harm; it can begin anew, take them back, and has both then.
func TestAfterAHandOver(t *testing.T) {
	l, _ := peers(t)
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := accept(t, l)
	waiting := make(chan error, 2)
	go func() { _, err := a.Read(make([]byte, 1)); waiting <- err }()
	go func() { _, err := l.Accept(); waiting <- err }()
	time.Sleep(pause)
	state := bytes.Repeat([]byte("state"), 300_000)
	if err := HandOver(t.Context(), "self", time.Minute, Handed{Listener: l}, Handed{Conn: c.(*Conn), State: state}, Handed{Conn: a}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-waiting; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a call in progress: %v", err)
		}
	}
	useless(t, l, a)
	if err := HandOver(t.Context(), "again", time.Minute, Handed{Conn: a}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("handed over twice: %v", err)
	}
	fresh, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	hs, err := TakeOver(t.Context(), "self")
	if err != nil || len(hs) != 3 || !bytes.Equal(hs[1].State, state) {
		t.Fatalf("took %d: %v", len(hs), err)
	}
	defer process.taken[0].Close()
	defer func() { process.taken = nil }()
	if err := HandOver(t.Context(), "mixed", time.Minute, Handed{Listener: fresh.(*Listener)}, hs[0]); !errors.Is(err, syscall.EXDEV) {
		t.Errorf("of two programs: %v", err)
	}
	if got := hs[0].Listener.Addr().String(); got != l.Addr().String() {
		t.Errorf("the listener is at %s, want %s", got, l.Addr())
	}
	hs[1].Conn.SetDeadline(time.Now().Add(patience))
	hs[2].Conn.SetDeadline(time.Now().Add(patience))
	write(t, hs[1].Conn, "there")
	want(t, hs[2].Conn, "there")
	write(t, hs[2].Conn, "back")
	want(t, hs[1].Conn, "back")
	hs[1].Conn.Close()
	wantEOF(t, hs[2].Conn)
}

// useless makes calls on sockets that are another process's.
func useless(t *testing.T, l *Listener, c *Conn) {
	t.Helper()
	_, read := c.Read(make([]byte, 1))
	_, written := c.Write([]byte("x"))
	_, accepted := l.Accept()
	for what, err := range map[string]error{
		"read": read, "write": written, "accept": accepted, "close": c.Close(), "close the listener": l.Close(),
		"close write": c.CloseWrite(), "close read": c.CloseRead(), "deadline": c.SetDeadline(time.Now()), "option": c.SetNoDelay(false),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The server is killed while nobody uses the segment, and the next one knows of the
// offer.
func TestServerKilledDuringAHandOver(t *testing.T) {
	t.Cleanup(func() { wantNoChildren(t) })
	dir := testhost.Dir(t)
	useServer(t, testhost.Start(t, dir, testhost.Addrs(1)...).Socket)
	host, server := testhost.StartProcess(t, dir, testhost.Addrs(2)...)
	p, c, _ := quiet(t, host.Socket)
	p.Say("exit meanwhile")
	p.Want("handed")
	p.Wait()
	server.Kill(syscall.SIGKILL)
	server.Wait()
	write(t, c, "in between")
	testhost.Restart(t, dir, host, testhost.Addrs(2)...)
	next := take(t, host.Socket, "meanwhile")
	want(t, c, "in between")
	finish(t, c)
	next.Want("end")
}

// Who has taken sockets may hand them on at once, by the same name.
func TestHandedOnAtOnce(t *testing.T) {
	l, _ := peers(t)
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	sockets := []Handed{{Listener: l}, {Conn: c.(*Conn)}, {Conn: accept(t, l)}}
	for n := range 100 {
		if err := HandOver(t.Context(), "on", time.Minute, sockets...); err != nil {
			t.Fatalf("hand-over %d: %v", n, err)
		}
		if sockets, err = TakeOver(t.Context(), "on"); err != nil || len(sockets) != 3 {
			t.Fatalf("hand-over %d: took %d: %v", n, len(sockets), err)
		}
	}
	write(t, sockets[1].Conn, "there")
	want(t, sockets[2].Conn, "there")
	for _, h := range sockets[1:] {
		h.Conn.Close()
	}
	sockets[0].Listener.Close()
}
