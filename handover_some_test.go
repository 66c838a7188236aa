package usertcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// One connection of several goes, with what lies in its buffers both ways, and the
// others do not notice.
func TestHandOverOneConnection(t *testing.T) {
	l, _ := peers(t)
	stays := accepted(t, l)
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := accept(t, l)
	write(t, a, "unread")
	write(t, c, "sent before")
	if err := c.(*Conn).HandOver(t.Context(), "one", time.Minute, []byte("state")); err != nil {
		t.Fatal(err)
	}
	write(t, a, "in between")
	hs, err := TakeOver(t.Context(), "one")
	if err != nil || len(hs) != 1 || string(hs[0].State) != "state" {
		t.Fatalf("took %d: %v", len(hs), err)
	}
	n := hs[0].Conn
	n.SetDeadline(time.Now().Add(patience))
	want(t, a, "sent before")
	want(t, n, "unreadin between")
	write(t, n, "there")
	want(t, a, "there")
	write(t, a, "back")
	want(t, n, "back")
	write(t, stays, "x")
	n.Close()
	wantEOF(t, a)
}

// mobile is a connection that goes from place to place while others use it.
type mobile struct {
	sync.Cond
	c *Conn
}

func newMobile(c *Conn) *mobile { return &mobile{Cond: sync.Cond{L: new(sync.Mutex)}, c: c} }

// now returns the connection, which is not old any more.
func (m *mobile) now(old *Conn) *Conn {
	m.L.Lock()
	defer m.L.Unlock()
	for m.c == old {
		m.Wait()
	}
	return m.c
}

// move hands the connection over and takes it again.
func (m *mobile) move(t *testing.T, name string) {
	t.Helper()
	if err := m.now(nil).HandOver(t.Context(), name, time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	hs, err := TakeOver(t.Context(), name)
	if err != nil || len(hs) != 1 {
		t.Fatalf("took %d: %v", len(hs), err)
	}
	hs[0].Conn.SetDeadline(time.Now().Add(patience))
	m.L.Lock()
	m.c = hs[0].Conn
	m.L.Unlock()
	m.Broadcast()
}

// send writes block again and again until stop is closed, and then ends the stream.
func (m *mobile) send(t *testing.T, block []byte, stop chan struct{}) (sent int) {
	c := m.now(nil)
	for rest := block; ; {
		n, err := c.Write(rest)
		sent += n
		if rest = rest[n:]; errors.Is(err, net.ErrClosed) {
			c = m.now(c)
			continue
		}
		if err != nil {
			t.Errorf("write after %d octets: %v", sent, err)
			return sent
		}
		select {
		case <-stop:
			for errors.Is(c.CloseWrite(), net.ErrClosed) {
				c = m.now(c)
			}
			return sent
		default:
			rest = block
		}
	}
}

// receive reads to the end, and compares what comes with block, again and again.
func (m *mobile) receive(t *testing.T, block []byte) (got int) {
	c, buf := m.now(nil), make([]byte, 100_000)
	for {
		at := got % len(block)
		n, err := c.Read(buf[:min(len(buf), len(block)-at)])
		if !bytes.Equal(buf[:n], block[at:at+n]) {
			t.Errorf("other octets than were sent come after %d", got)
			return got
		}
		switch got += n; {
		case errors.Is(err, net.ErrClosed):
			c = m.now(c)
		case err == io.EOF:
			return got
		case err != nil:
			t.Errorf("read after %d octets: %v", got, err)
			return got
		}
	}
}

// Both ends of a connection under load both ways go from place to place, again and
// again, and no octet is lost.
func TestBothEndsMove(t *testing.T) {
	l, _ := peers(t)
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]*mobile{newMobile(c.(*Conn)), newMobile(accept(t, l))}
	c.SetDeadline(time.Now().Add(patience))
	block := make([]byte, 1_000_003)
	fill(block, 20)
	stop := make(chan struct{})
	var sent, got [2]int
	var all sync.WaitGroup
	for i, m := range ends {
		all.Go(func() { sent[i] = m.send(t, block, stop) })
		all.Go(func() { got[1-i] = m.receive(t, block) })
	}
	for n := range 24 {
		time.Sleep(5 * time.Millisecond)
		before := process.shards[0]
		ends[n%2].move(t, fmt.Sprint("both", n))
		if process.shards[0] != before {
			t.Fatal("the program's own pool has gone")
		}
	}
	close(stop)
	all.Wait()
	if sent != got {
		t.Errorf("%d octets were sent, %d came", sent, got)
	}
	t.Logf("%d MiB and %d MiB", sent[0]>>20, sent[1]>>20)
	for _, m := range ends {
		m.now(nil).Close()
	}
	if len(process.taken) != 0 {
		t.Errorf("%d pools are left that have no sockets", len(process.taken))
	}
}

// A listener goes from process to process while others connect without a pause: each
// connection is accepted, and answered.
func TestListenerMovesUnderLoad(t *testing.T) {
	_, socket := peers(t)
	p, address, _ := listening(t, socket, "greeter")
	end := load(t, 4, func() error { return greet(address) })
	for n := range 6 {
		time.Sleep(20 * time.Millisecond)
		name := fmt.Sprint("greeter", n)
		p.Say(name)
		p.Want("handed")
		next := testhost.Run(t, socket, "greeter", "take", name)
		childOf(t, next)
		next.Want("taken")
		defer p.Kill(syscall.SIGKILL)
		p = next
	}
	time.Sleep(20 * time.Millisecond)
	t.Logf("%d connections", end())
	p.Kill(syscall.SIGKILL)
}

// greet connects, and wants to be greeted.
func greet(address string) error {
	c, err := DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c)
	if err == nil && string(b) != "hello" {
		err = fmt.Errorf("it says %q", b)
	}
	return err
}

// programGreeter ADDRESS, or programGreeter take NAME, greets whoever connects. It
// hands its listener over when the test says so, and lives on.
func programGreeter(args []string) error {
	var l *Listener
	if args[0] == "take" {
		hs, err := TakeOver(context.Background(), args[1])
		if err != nil {
			return err
		}
		l = hs[0].Listener
		sayPids()
		say("taken")
	} else {
		nl, err := Listen("tcp", args[0])
		if err != nil {
			return err
		}
		l = nl.(*Listener)
		sayPids()
		say("listening %s", l.Addr())
	}
	go func() {
		if err := l.HandOver(context.Background(), hear(), 20*time.Second, nil); err != nil {
			say("failed %v", err)
		}
		say("handed")
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			select {} // what it has accepted stays here
		}
		go func() {
			c.Write([]byte("hello"))
			c.Close()
		}()
	}
}

func init() {
	testhost.Register(map[string]func(args []string) error{"greeter": programGreeter})
}

// Connections that wait for Accept go with their listener, and those that were
// accepted stay.
func TestPendingGoWithTheirListener(t *testing.T) {
	l, _ := peers(t)
	stays := accepted(t, l)
	var waiting []net.Conn
	for range 5 {
		c, err := Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		write(t, c, "before")
		waiting = append(waiting, c)
	}
	if err := l.HandOver(t.Context(), "listener", time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	late, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	waiting = append(waiting, late)
	hs, err := TakeOver(t.Context(), "listener")
	if err != nil || len(hs) != 1 || hs[0].Listener == nil {
		t.Fatalf("took %+v: %v", hs, err)
	}
	hs[0].Listener.SetDeadline(time.Now().Add(patience))
	for i, c := range waiting {
		a := accept(t, hs[0].Listener)
		if a.RemoteAddr().String() != c.LocalAddr().String() {
			t.Errorf("accepted %v as number %d, want %v", a.RemoteAddr(), i, c.LocalAddr())
		}
		write(t, c, "after")
		if c == late {
			want(t, a, "after")
		} else {
			want(t, a, "beforeafter")
		}
	}
	if _, err := stays.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	hs[0].Listener.Close()
}

// More lies in the buffers than a pool has room for: nothing has changed, for the
// listener either, which had its port at the new pool already.
func TestTooMuchToHandOver(t *testing.T) {
	l, _ := peers(t)
	sockets := []Handed{{Listener: l}}
	var ends []*Conn
	block := make([]byte, 1<<20)
	fill(block, 20)
	for range 34 {
		c, err := Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a := accept(t, l)
		go c.Write(block)
		sockets, ends = append(sockets, Handed{Conn: a}), append(ends, a)
	}
	time.Sleep(5 * pause)
	if err := HandOverSome(t.Context(), "much", time.Minute, sockets...); !errors.Is(err, syscall.ENOBUFS) {
		t.Fatalf("all: %v", err)
	}
	another := accepted(t, l)
	write(t, another, "x")
	if err := HandOverSome(t.Context(), "much", time.Minute, sockets[:6]...); err != nil {
		t.Fatalf("a part: %v", err)
	}
	hs, err := TakeOver(t.Context(), "much")
	if err != nil || len(hs) != 6 {
		t.Fatalf("took %d: %v", len(hs), err)
	}
	for i, h := range hs[1:] {
		ends[i] = h.Conn
		ends[i].SetDeadline(time.Now().Add(patience))
	}
	for _, c := range ends {
		wantBlock(t, c, block)
		c.Close()
	}
	hs[0].Listener.Close()
}

// A connection whose port was leased goes to another pool: the program does not use
// the port for another connection to the same end before that one is over.
func TestPortsOfThoseThatHaveGone(t *testing.T) {
	l, _ := peers(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	l.SetDeadline(time.Time{})
	dial := func() *Conn {
		c := dialed(t, l.Addr().String())
		return c.(*Conn)
	}
	for range 2000 { // until ports are leased, and all of a lease have been used
		finish(t, dial())
	}
	c := dial()
	at := c.LocalAddr().String()
	if err := c.HandOver(t.Context(), "leased", time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	hs, err := TakeOver(t.Context(), "leased")
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		d := dial()
		if d.LocalAddr().String() == at {
			t.Fatal("the port is another connection's, and not free")
		}
		finish(t, d)
	}
	write(t, hs[0].Conn, "still here")
	want(t, hs[0].Conn, "still here")
	finish(t, hs[0].Conn)
	for end := time.Now().Add(patience); ; {
		d := dial()
		same := d.LocalAddr().String() == at
		finish(t, d)
		if same {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the port is not used again")
		}
	}
}

// A name that is free in a moment is waited for: who tries again after a hand-over that has
// failed found the name taken by that, until its child had told the server.
func TestAnOfferWaitsForItsName(t *testing.T) {
	l, _ := peers(t)
	gone, goes := accepted(t, l), accepted(t, l)
	if err := gone.HandOver(t.Context(), "again", 50*time.Millisecond, []byte("the first")); err != nil {
		t.Fatal(err)
	}
	if err := goes.HandOver(t.Context(), "again", time.Minute, []byte("the second")); err != nil {
		t.Fatal(err)
	}
	hs, err := TakeOver(t.Context(), "again")
	if err != nil || len(hs) != 1 || string(hs[0].State) != "the second" {
		t.Fatalf("took %d: %v", len(hs), err)
	}
	hs[0].Conn.Close()
}

func TestWhatCantBeHandedOverAlone(t *testing.T) {
	l, _ := peers(t)
	c := accepted(t, l)
	if err := c.HandOver(t.Context(), "x", time.Second, make([]byte, maxStates+1)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("too much state: %v", err)
	}
	if err := c.HandOver(t.Context(), "x", time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	other := accepted(t, l)
	if err := other.HandOver(t.Context(), "x", time.Minute, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a name that is in use: %v", err)
	}
	write(t, other, "it has stayed")
	for what, err := range map[string]error{
		"read": second(c.Read(nil)), "write": second(c.Write([]byte("x"))), "close": c.Close(), "option": c.SetNoDelay(true),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s of what has gone: %v", what, err)
		}
	}
	if err := HandOverSome(t.Context(), "y", time.Minute, Handed{Conn: c}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("handed over twice: %v", err)
	}
}

func second(_ int, err error) error { return err }

// Nobody takes a connection: it ends as if the program had closed it, and no process is
// left.
func TestNobodyTakesOne(t *testing.T) {
	l, _ := peers(t)
	before := len(testhost.Children(testhost.Parent(ourChild())))
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := accept(t, l)
	write(t, a, "accepted")
	if err := a.HandOver(t.Context(), "nobody", 200*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	want(t, c, "accepted")
	wantEOF(t, c)
	c.Close()
	for end := time.Now().Add(patience); len(testhost.Children(testhost.Parent(ourChild()))) > before; time.Sleep(pause) {
		if time.Now().After(end) {
			t.Fatal("the pool of its own has not ended")
		}
	}
}
