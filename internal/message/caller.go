package message

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// CallTimeout is how long a Call waits for its reply when its context has no deadline.
const CallTimeout = 5 * time.Second

// ErrEnded is what calls fail with when the channel has ended under them.
var ErrEnded = errors.New("the channel has ended")

// replies says which message answers a request. Divert answers a Syn, but is
// given to the handler: the server does not wait for it.
var replies = [numTypes + 1]Type{
	Listen:       GeneralReply,
	Forward:      GeneralReply,
	Spawn:        GeneralReply,
	NewSocket:    GeneralReply,
	Bind:         BindReply,
	ListenChild:  GeneralReply,
	Connect:      ConnectReply,
	SetTxBufs:    GeneralReply,
	SetRxBufs:    GeneralReply,
	SetReuseAddr: GeneralReply,
	TimeWait:     GeneralReply,
	Status:       GeneralReply,
	HandOver:     GeneralReply,
	TakeOver:     GeneralReply,
	End:          GeneralReply,
	Move:         GeneralReply,
}

// A Caller makes calls over a channel: it gives requests their IDs, hands
// replies to the calls that wait for them, and all other messages to a handler.
// Any number of goroutines may call at once.
type Caller struct {
	ch         *Channel
	self, peer Party
	handle     func(*Message)
	done       chan struct{}

	mu      sync.Mutex
	err     error // why the channel ended; set before done is closed
	lastID  uint32
	waiting map[uint32]*call
	late    uint64
}

type call struct {
	request Message
	want    Type
	reply   chan Message // room for one
}

// NewCaller starts receiving on ch, on which self talks to peer. Messages that
// are not replies go to handle, in the order in which they came and one at a
// time; their PDU is valid until handle returns, their Files are handle's to
// close. handle must not Call on this same Caller: the reply could not come in.
// A nil handle means that no such message is expected; one that comes ends the channel.
func NewCaller(ch *Channel, self, peer Party, handle func(*Message)) *Caller {
	c := &Caller{
		ch: ch, self: self, peer: peer, handle: handle,
		done:    make(chan struct{}),
		waiting: make(map[uint32]*call),
	}
	go c.receive()
	return c
}

// Channel returns the channel, for messages that have no reply.
func (c *Caller) Channel() *Channel { return c.ch }

// Done is closed when the channel has ended.
func (c *Caller) Done() <-chan struct{} { return c.done }

// Err returns nil before the channel has ended, and then the reason: io.EOF if
// either side closed it, or what was wrong with the last message.
func (c *Caller) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Late returns the number of replies that came when nobody waited for them any more.
func (c *Caller) Late() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.late
}

// Close closes the channel and waits until the handler has returned for the last
// time. Calls that wait fail with ErrEnded. It must not be called by the handler.
func (c *Caller) Close() error {
	err := c.ch.Close()
	<-c.done
	return err
}

// Call sends m, whose ID it sets, and returns the reply. The Files of the reply
// are the caller's. An Errno in the reply is not an error of Call. The error says
// what was waited for, wraps ErrEnded when the channel ended, and
// context.DeadlineExceeded or context.Canceled when the wait did.
func (c *Caller) Call(ctx context.Context, m *Message) (Message, error) {
	if int(m.Type) >= len(replies) || replies[m.Type] == 0 {
		panic("BUG: call of a message that has no reply")
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	start := time.Now()
	w, err := c.enter(m)
	if err != nil {
		return Message{}, c.failure(m.Type, err)
	}
	if err := c.ch.SendMessage(m); err != nil {
		c.leave(m.ID, w)
		return Message{}, c.failure(m.Type, err)
	}
	select {
	case r := <-w.reply:
		return c.accept(m.Type, w, r)
	case <-c.done:
	case <-ctx.Done():
	}
	if r, ok := c.leave(m.ID, w); ok { // it came at the last moment
		return c.accept(m.Type, w, r)
	}
	if err := ctx.Err(); err != nil {
		waited := max(time.Since(start).Round(time.Millisecond), time.Millisecond)
		return Message{}, fmt.Errorf("waited %v for the %v's %v: %w", waited, c.peer, w.want, err)
	}
	return Message{}, c.failure(m.Type, ErrEnded)
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, CallTimeout)
}

func (c *Caller) failure(t Type, err error) error {
	if why := c.Err(); errors.Is(err, ErrEnded) && why != nil && !errors.Is(why, io.EOF) {
		err = fmt.Errorf("%w: %w", err, why)
	}
	return fmt.Errorf("%v to the %v: %w", t, c.peer, err)
}

// accept checks that the reply is one to the request.
func (c *Caller) accept(t Type, w *call, r Message) (Message, error) {
	if r.Type == w.want || r.Type == GeneralReply && r.Errno != 0 {
		return r, nil
	}
	CloseFiles(r.Files)
	return Message{}, fmt.Errorf("the %v answered %v with %v", c.peer, t, r.Type)
}

// enter registers a call and gives it an ID that no other waiting call has.
func (c *Caller) enter(m *Message) (*call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, ErrEnded
	}
	for {
		c.lastID++
		if _, taken := c.waiting[c.lastID]; c.lastID != 0 && !taken {
			break
		}
	}
	m.ID = c.lastID
	w := &call{request: *m, want: replies[m.Type], reply: make(chan Message, 1)}
	c.waiting[m.ID] = w
	return w, nil
}

// leave ends the wait of a call, and returns the reply if there is one after all.
func (c *Caller) leave(id uint32, w *call) (Message, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
	select {
	case r := <-w.reply:
		return r, true
	default:
		return Message{}, false
	}
}

func (c *Caller) receive() {
	defer close(c.done)
	var m Message
	for {
		err := c.ch.RecvMessage(&m, c.peer, c.self)
		if err == nil {
			err = c.dispatch(&m)
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// end closes the channel for good: what follows a broken message means nothing.
func (c *Caller) end(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.ch.Close()
}

func (c *Caller) dispatch(m *Message) error {
	switch m.Type {
	case BindReply, ConnectReply, GeneralReply:
		c.deliver(m)
		return nil
	}
	if c.handle == nil {
		CloseFiles(m.Files)
		return fmt.Errorf("unexpected %v from the %v", m.Type, c.peer)
	}
	c.handle(m)
	return nil
}

func (c *Caller) deliver(m *Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.waiting[m.ID]
	if !ok {
		c.late++
		CloseFiles(m.Files)
		return
	}
	delete(c.waiting, m.ID)
	w.reply <- *m // has room, since a call takes one reply only
}

// Resend sends all requests that wait for their reply once more: the peer's
// successor, on the same channel, may not know of them. Their replies may come
// twice, so that they have to be such as can be repeated.
func (c *Caller) Resend() {
	c.mu.Lock()
	again := make([]Message, 0, len(c.waiting))
	for _, w := range c.waiting {
		again = append(again, w.request)
	}
	c.mu.Unlock()
	for i := range again {
		_ = c.ch.SendMessage(&again[i]) // if that fails the channel has ended, and with it the call
	}
}
