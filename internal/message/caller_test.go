package message

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for what must happen. It costs nothing if that does.
const patience = time.Minute

// callers returns an application's Caller and a child that handles its messages.
func callers(t *testing.T, child func(ch *Channel, m *Message)) (user *Caller, peer *Caller) {
	t.Helper()
	a, b := pair(t)
	user = NewCaller(a, User, Child, nil)
	peer = NewCaller(b, Child, User, func(m *Message) { child(b, m) })
	t.Cleanup(func() { user.Close(); peer.Close() })
	return user, peer
}

func TestCallsGetTheirOwnReplies(t *testing.T) {
	var mu sync.Mutex
	var held []Message
	const calls = 20
	user, _ := callers(t, func(ch *Channel, m *Message) {
		mu.Lock()
		defer mu.Unlock()
		if held = append(held, *m); len(held) < calls {
			return
		}
		for i := range held { // last come, first served
			m := held[calls-1-i]
			ch.SendMessage(&Message{Type: BindReply, ID: m.ID, Local: m.Local})
		}
	})
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			m := Message{Type: Bind}
			m.Local.Port = uint16(i)
			r, err := user.Call(t.Context(), &m)
			if err != nil || r.Local.Port != uint16(i) {
				t.Errorf("call %d: port %d, %v", i, r.Local.Port, err)
			}
		})
	}
	wg.Wait()
}

func TestACallTimesOutAndSaysWhatItWaitedFor(t *testing.T) {
	requests := make(chan Message, 1)
	user, peer := callers(t, func(ch *Channel, m *Message) { requests <- *m })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := user.Call(ctx, &Message{Type: Bind})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "for the child's Bind_Reply") {
		t.Errorf("%v", err)
	}
	m := <-requests
	before := openFiles(t)
	f := memfd(t, "late")
	peer.Channel().SendMessage(&Message{Type: GeneralReply, ID: m.ID, Files: []int{int(f.Fd())}})
	waitFor(t, "the late reply", func() bool { return user.Late() == 1 })
	if after := openFiles(t); after != before+1 {
		t.Errorf("%d descriptors open, want %d", after, before+1)
	}
}

func TestACancelledCallEnds(t *testing.T) {
	user, _ := callers(t, func(*Channel, *Message) {})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := user.Call(ctx, &Message{Type: Connect}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want cancelled", err)
	}
}

func TestCallsEndWithTheChannel(t *testing.T) {
	user, peer := callers(t, func(ch *Channel, m *Message) {
		if m.Type == Connect {
			ch.Close()
		}
	})
	errs := make(chan error)
	go func() { _, err := user.Call(t.Context(), &Message{Type: Bind}); errs <- err }()
	waitFor(t, "the first call", func() bool {
		user.mu.Lock()
		defer user.mu.Unlock()
		return len(user.waiting) == 1
	})
	go func() { _, err := user.Call(t.Context(), &Message{Type: Connect}); errs <- err }()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrEnded) { // the deadline's error after CallTimeout
			t.Errorf("%v, want %v", err, ErrEnded)
		}
	}
	<-user.Done()
	<-peer.Done()
	if !errors.Is(user.Err(), io.EOF) {
		t.Errorf("the channel ended with %v, want end of file", user.Err())
	}
	if _, err := user.Call(t.Context(), &Message{Type: Bind}); !errors.Is(err, ErrEnded) {
		t.Errorf("a call after the end: %v", err)
	}
}

func TestAWrongReplyIsAnError(t *testing.T) {
	user, _ := callers(t, func(ch *Channel, m *Message) {
		r := Message{Type: ConnectReply, ID: m.ID}
		if m.Socket == 1 {
			r = Message{Type: GeneralReply, ID: m.ID, Errno: 98}
		}
		ch.SendMessage(&r)
	})
	_, err := user.Call(t.Context(), &Message{Type: Bind})
	if err == nil || !strings.Contains(err.Error(), "answered Bind with Connect_Reply") {
		t.Errorf("%v", err)
	}
	r, err := user.Call(t.Context(), &Message{Type: Bind, Socket: 1})
	if err != nil || r.Errno != 98 {
		t.Errorf("a General_Reply with an errno answers anything: %+v, %v", r, err)
	}
}

func TestGarbageEndsTheChannel(t *testing.T) {
	a, b := pair(t)
	user := NewCaller(a, User, Child, nil)
	defer user.Close()
	b.Send([]byte("GET / HTTP/1.1\r\n\r\n"))
	<-user.Done()
	if !errors.Is(user.Err(), ErrMagic) {
		t.Errorf("ended with %v, want %v", user.Err(), ErrMagic)
	}
	if _, _, err := b.Recv(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the sender of garbage sees %v, want end of file", err)
	}
}

func TestAnUnexpectedRequestEndsAChannelWithoutHandler(t *testing.T) {
	a, b := pair(t)
	user := NewCaller(a, User, Child, nil)
	defer user.Close()
	b.SendMessage(&Message{Type: InitReply})
	<-user.Done()
	if err := user.Err(); err == nil || !strings.Contains(err.Error(), "unexpected Init_Reply from the child") {
		t.Errorf("%v", err)
	}
}

func TestIDsSkipZeroAndThoseInUse(t *testing.T) {
	ids := make(chan uint32, 3)
	user, _ := callers(t, func(ch *Channel, m *Message) {
		ids <- m.ID
		if m.Socket == 0 {
			ch.SendMessage(&Message{Type: BindReply, ID: m.ID})
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go user.Call(ctx, &Message{Type: Bind, Socket: 1})
	if id := <-ids; id != 1 {
		t.Errorf("first ID %d", id)
	}
	user.mu.Lock()
	user.lastID = math.MaxUint32
	user.mu.Unlock()
	if _, err := user.Call(t.Context(), &Message{Type: Bind}); err != nil {
		t.Error(err)
	}
	if id := <-ids; id != 2 {
		t.Errorf("ID %d behind the largest, want 2: 0 is none and 1 waits", id)
	}
	cancel()
}

func TestCloseWaitsForTheHandler(t *testing.T) {
	a, b := pair(t)
	entered, leave := make(chan bool), make(chan bool)
	c := NewCaller(a, Child, User, func(*Message) { entered <- true; <-leave })
	b.SendMessage(&Message{Type: Bind})
	<-entered
	closed := make(chan bool)
	go func() { c.Close(); close(closed) }()
	select {
	case <-closed:
		t.Error("Close returned while the handler ran")
	case <-time.After(20 * time.Millisecond):
	}
	leave <- true
	<-closed
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// A request that a dead peer has taken and not answered is sent again to its
// successor; the answer to both may come.
func TestRequestsThatWaitAreSentAgain(t *testing.T) {
	requests := make(chan Message, 4)
	user, peer := callers(t, func(_ *Channel, m *Message) { requests <- *m })
	answered := make(chan uint16)
	go func() {
		r, err := user.Call(t.Context(), &Message{Type: Bind, Socket: 9})
		if err != nil {
			t.Error(err)
		}
		answered <- r.Local.Port
	}()
	first := <-requests
	user.Resend()
	second := <-requests
	if first.ID != second.ID || second.Socket != 9 {
		t.Errorf("first %+v, then %+v", first, second)
	}
	for port := range uint16(2) {
		r := Message{Type: BindReply, ID: first.ID}
		r.Local.Port = 1 + port
		peer.Channel().SendMessage(&r)
	}
	if port := <-answered; port != 1 {
		t.Errorf("the call returned answer %d, want the first", port)
	}
	waitFor(t, "the second answer", func() bool { return user.Late() == 1 })
	user.Resend() // nothing waits any more
	select {
	case m := <-requests:
		t.Errorf("sent again: %+v", m)
	case <-time.After(20 * time.Millisecond):
	}
}
