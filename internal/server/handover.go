package server

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// An application offers its sockets through its child, by a name; another process
// of the same user takes them. The server keeps the names, and passes the channel of
// whoever takes on to the child: what happens then is between these two.

// offers are the sockets on offer, by name. Each user has names of its own.
type offers struct {
	mu sync.Mutex
	by map[offerKey]*child
}

type offerKey struct {
	uid  int
	name message.Name
}

// put notes that child c offers by a name. It reports false if another one does.
func (o *offers) put(k offerKey, c *child) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if other := o.by[k]; other != nil && other != c {
		return false
	}
	if o.by == nil {
		o.by = map[offerKey]*child{}
	}
	o.by[k] = c
	return true
}

func (o *offers) remove(k offerKey, c *child) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by[k] == c {
		delete(o.by, k)
	}
}

// find returns the child that offers by a name: EPERM if only other users' do,
// ENOENT if none does.
func (o *offers) find(k offerKey) (*child, unix.Errno) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.by[k]; c != nil {
		return c, 0
	}
	for other := range o.by {
		if other.name == k.name {
			return nil, unix.EPERM
		}
	}
	return nil, unix.ENOENT
}

// keptOffer is a child's offer, for its successor.
type keptOffer struct {
	message.Offer
	uid int
}

func (o *keptOffer) key() offerKey { return offerKey{o.uid, o.Name} }

// offer takes a child's offer: EADDRINUSE if another child of this user offers by the
// same name.
func (c *child) offer(m *message.Message) (grant, unix.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(m.Files) != 1 {
		message.CloseFiles(m.Files)
		return grant{}, unix.EINVAL
	}
	wait := time.Duration(m.N) * time.Millisecond
	o := message.Offer{Name: m.Name(), List: m.Files[0], Until: time.Now().Add(wait), Coming: m.Socket == 1}
	return grant{}, c.setOffer(&keptOffer{o, c.app.uid})
}

// keepOffer takes what a child says of its offer. c.mu is held.
func (c *child) keepOffer(m *message.Message) {
	o, ok := message.KeptOffer(m)
	if !ok {
		c.dropOffer()
		return
	}
	if errno := c.setOffer(&keptOffer{o, c.app.uid}); errno != 0 {
		c.s.log.Error("a child's offer has another's name", "vci", c.vci, "err", errno)
	}
}

// setOffer makes o the child's offer, and takes its descriptor over. c.mu is held.
func (c *child) setOffer(o *keptOffer) unix.Errno {
	if !c.s.offers.put(o.key(), c) {
		unix.Close(o.List)
		return unix.EADDRINUSE
	}
	if old := c.kept.offer; old != nil {
		unix.Close(old.List)
		if old.key() != o.key() {
			c.s.offers.remove(old.key(), c)
		}
	}
	c.kept.offer = o
	return 0
}

// dropOffer ends the child's offer. c.mu is held.
func (c *child) dropOffer() {
	if o := c.kept.offer; o != nil {
		unix.Close(o.List)
		c.s.offers.remove(o.key(), c)
		c.kept.offer = nil
	}
}

// answerTakeOver passes the channel of a process that takes what is offered on to
// the child. The errno is 0, EPROTONOSUPPORT (another version), EINVAL (no channel),
// ENOENT (nobody offers by this name), EPERM (only other users do), or EAGAIN (the
// child can't be reached).
func (s *Server) answerTakeOver(app application, m *message.Message) bool {
	defer message.CloseFiles(m.Files)
	c, errno := s.offers.find(offerKey{app.uid, m.Name()})
	switch {
	case m.N != message.Version:
		errno = unix.EPROTONOSUPPORT
	case len(m.Files) != 1 || !isSeqpacket(m.Files[0]):
		errno = unix.EINVAL
	}
	r := message.Message{Type: message.GeneralReply, ID: m.ID, N: message.Version}
	if errno == 0 {
		pass := message.Message{Type: message.TakeOver, N: message.Version, Local: m.Local, Remote: m.Remote, Files: m.Files}
		if c.channel().SendMessage(&pass) != nil {
			errno = unix.EAGAIN
		}
		r.VCI, r.Socket = c.vci, uint32(c.pid())
		s.log.Info("sockets on offer are being taken", "vci", c.vci, "pid", app.pid, "uid", app.uid, "err", errno)
	}
	r.Errno = uint32(errno)
	return app.ch.SendMessage(&r) == nil
}

// changeProgram notes that another process uses the child's segment: fd is the
// child's end of its channel, which it takes over.
func (c *child) changeProgram(fd int) {
	file, err := dupFile(fd, "user channel")
	cred, err2 := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	unix.Close(fd)
	if err != nil || err2 != nil {
		return
	}
	ch := c.s.applicationOf(int(cred.Pid), int(cred.Uid))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept.user != nil {
		c.kept.user.Close()
	}
	c.kept.user = file
	c.app.pid, c.app.ch = int(cred.Pid), ch
}

// applicationOf returns the channel of a process that is there, nil if there is none.
func (s *Server) applicationOf(pid, uid int) *message.Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *message.Channel
	for ch := range s.apps {
		if p, u, _, err := ch.Peer(); err == nil && p == pid && u == uid {
			found = ch
		}
	}
	return found
}

// owner returns whom the child works for.
func (c *child) owner() application {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.app
}
