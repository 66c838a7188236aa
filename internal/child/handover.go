package child

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// An application's process offers its sockets under a name, leaves the segment and
// closes its channel; another process of the same user asks the connection server
// for the name, which passes its channel on to this child. In between the child does
// the top half's work, as for a program that is stopped. If nobody comes in time it
// is as if the program had ended.
//
//	old process               child                server        new process
//	  ── Hand_Over{list} ───────►│── Hand_Over{list} ──►│
//	  ◄────────── General_Reply ─│◄──── General_Reply ──│
//	  ── Hand_Over ─────────────►│── Keep{offer} ──────►│
//	  ◄────────── General_Reply ─│                      │
//	  end of file ──────────────►│                      │◄── Take_Over{channel} ──│
//	                             │◄─ Take_Over{channel}─│── General_Reply ───────►│
//	                             │── Keep{user} ───────►│                         │
//	                             │── Init_Reply{segment} ────────────────────────►│
//	                             │◄──────────────────────────────── Take_Over ────│
//	                             │── General_Reply{list} ────────────────────────►│
//
// Until the last two messages the new process has not touched the segment: if it
// dies before, another can come.

// maxOffer bounds how long sockets may be on offer.
const maxOffer = 24 * time.Hour

// nameWait is how long an offer waits for its name, if another child has that: it may be
// that of a hand-over which has just failed, or of a program that has ended, and has not said
// yet that its offer is over.
const nameWait = 2 * time.Second

// handing is what the child knows of a hand-over.
type handing struct {
	order  sync.Mutex // an offer is made when the one before has been withdrawn, at the server too
	mu     sync.Mutex
	offer  *message.Offer
	takers chan *program // has room for one
}

// keep is the present offer as a Keep message, for the next server.
func (h *handing) keep() (m message.Message, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offer == nil {
		return m, false
	}
	return h.offer.Keep(), true
}

// set makes o the present offer; nil ends it. Who waits for the one before waits in
// vain.
func (h *handing) set(o *message.Offer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offer != nil {
		unix.Close(h.offer.List)
	}
	h.offer = o
	select {
	case p := <-h.takers:
		refuse(p, unix.ENOENT)
	default:
	}
}

// refuse tells a process that it can't take what it wants.
func refuse(p *program, errno unix.Errno) {
	_ = p.ch.SendMessage(&message.Message{Type: message.InitReply, Errno: uint32(errno), N: message.Version})
	p.close()
}

// offer offers the application's sockets by a name.
func (c *child) offer(m *message.Message) unix.Errno {
	if len(m.Files) != 1 {
		message.CloseFiles(m.Files)
		return unix.EINVAL
	}
	wait := min(time.Duration(m.N)*time.Millisecond, maxOffer)
	o := &message.Offer{Name: m.Name(), List: m.Files[0], Until: time.Now().Add(wait), Coming: m.Socket == 1}
	c.handing.order.Lock()
	defer c.handing.order.Unlock()
	ask := message.Message{Type: message.HandOver, N: uint32(wait / time.Millisecond), Socket: m.Socket, Files: m.Files}
	ask.SetName(o.Name)
	begun := time.Now()
	_, errno := c.agree(&ask, func(*message.Message) { c.handing.set(o) })
	for errno == unix.EADDRINUSE && time.Since(begun) < nameWait {
		time.Sleep(nameWait / 200)
		_, errno = c.agree(&ask, func(*message.Message) { c.handing.set(o) })
	}
	if errno != 0 {
		message.CloseFiles(m.Files)
	}
	return errno
}

// withdraw ends the offer.
func (c *child) withdraw() {
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	c.handing.set(nil)
	c.tell(message.Message{Type: message.Keep, N: message.KeepOffer})
}

// inheritOffer takes the offer that was made when there was another child.
func (c *child) inheritOffer(m *message.Message) {
	o, ok := message.KeptOffer(m)
	if !ok {
		return
	}
	c.handing.set(&o)
	if o.Vacant {
		c.program.Load().taken = false // whoever is at the other end has not begun, or has left
	}
}

// taker takes a process that wants what is offered.
func (c *child) taker(m *message.Message) {
	p, err := takerOf(m)
	if err != nil {
		return
	}
	h := &c.handing
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.offer == nil || h.offer.Name != m.Name():
		refuse(p, unix.ENOENT)
	case p.uid != c.program.Load().uid:
		refuse(p, unix.EPERM)
	default:
		select {
		case h.takers <- p:
		default:
			refuse(p, unix.EBUSY)
		}
	}
}

// takerOf returns the process at the other end of the channel that came with a
// Take_Over.
func takerOf(m *message.Message) (*program, error) {
	if len(m.Files) != 1 {
		message.CloseFiles(m.Files)
		return nil, unix.EINVAL
	}
	file, err := dupFile(m.Files[0])
	if err != nil {
		message.CloseFiles(m.Files)
		return nil, err
	}
	ch, err := message.FileChannel(m.Files[0])
	if err != nil {
		file.Close()
		return nil, err
	}
	return newProgram(ch, file), nil
}

// await returns the process that takes p's place, if its sockets are on offer and
// one comes in time; else nil.
func (c *child) await(p *program) *program {
	h := &c.handing
	h.mu.Lock()
	o := h.offer
	h.mu.Unlock()
	if o == nil {
		return nil
	}
	if o.Coming && !p.left || !p.out() {
		c.withdraw()
		return nil
	}
	if c.bottom.Vacate(p.dead) {
		os.Stderr.WriteString("usertcp child: the application died with the lock before it had handed over: its step was undone\n")
	}
	c.wake()
	c.vacant(o)
	select {
	case next := <-h.takers:
		return next
	case <-time.After(time.Until(o.Until)):
	}
	c.withdraw()
	return nil
}

// left takes process p's word that it does not use the segment any more. The server
// gets to know before the answer leaves: a successor of this child finds nobody in
// the segment then, though the process may be alive for long; and if this child dies
// before, the process tells its successor.
func (c *child) left(p *program, m *message.Message) {
	h := &c.handing
	h.mu.Lock()
	o := h.offer
	h.mu.Unlock()
	if o != nil {
		c.vacant(o)
	}
	_ = p.ch.SendMessage(&message.Message{Type: message.GeneralReply, ID: m.ID}) // if that fails it has gone
}

// vacant lets the server know that nobody uses the segment, for a successor.
func (c *child) vacant(o *message.Offer) {
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	h := &c.handing
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offer == o && !o.Vacant {
		o.Vacant = true
		c.tell(o.Keep())
	}
}

// handOut gives process p, which uses the segment from now on, what the process
// before says of its sockets.
func (c *child) handOut(p *program, m *message.Message) {
	h := &c.handing
	h.order.Lock()
	defer h.order.Unlock()
	r := message.Message{Type: message.GeneralReply, ID: m.ID, Errno: uint32(unix.ENOENT)}
	h.mu.Lock()
	if h.offer != nil && h.offer.Name == m.Name() && !p.taken {
		p.taken = true
		r.Errno, r.Files = 0, []int{h.offer.List}
	}
	err := p.ch.SendMessage(&r)
	h.mu.Unlock()
	switch {
	case r.Errno != 0:
	case err != nil:
		p.taken = false // it has gone, and does not know
	default:
		c.withdraw()
	}
}
