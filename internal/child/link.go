package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// link is the way to a connection server. When the server dies its link is of no
// use any more; connections go on, and the next server brings another link.
type link struct {
	control *message.Caller
	frames  *message.Channel
	next    chan struct{} // closed when another one has taken its place
}

func newLink(control, frames *message.Channel, handle func(*message.Message)) *link {
	return &link{message.NewCaller(control, message.Child, message.Server, handle), frames, make(chan struct{})}
}

// adoptTimeout is how long a server that has come to the meeting point has to say
// what it wants.
const adoptTimeout = 2 * time.Second

// awaitServers waits for servers at the meeting point.
func (c *child) awaitServers() {
	l, err := listenMeeting()
	if err != nil {
		return // it is not there: no server will come
	}
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			fmt.Fprintln(os.Stderr, "usertcp child: waiting for the next server:", err)
			return
		}
		ch := message.NewChannel(conn)
		if err := c.meet(ch); err != nil {
			fmt.Fprintln(os.Stderr, "usertcp child: taken over by another server:", err)
		}
		ch.Close()
	}
}

// listenMeeting listens at the socket that the server has bound.
func listenMeeting() (*net.UnixListener, error) {
	if err := unix.Listen(meetingFd, 1); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	f, err := dupFile(meetingFd)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, errors.New("the meeting point is not a Unix socket")
	}
	ul.SetUnlinkOnClose(false)
	return ul, nil
}

func dupFile(fd int) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(dup), "descriptor"), nil
}

// meet takes a new server, and tells it all that it has to know of this child.
func (c *child) meet(ch *message.Channel) error {
	pid, uid, _, err := ch.Peer()
	if err != nil {
		return err
	}
	if uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("process %d of user %d is no server", pid, uid)
	}
	ch.SetDeadline(time.Now().Add(adoptTimeout))
	var m message.Message
	if err := ch.RecvMessage(&m, message.Server, message.Child); err != nil {
		return err
	}
	if m.Type != message.Adopt || len(m.Files) != 2 {
		message.CloseFiles(m.Files)
		return fmt.Errorf("%v instead of Adopt", m.Type)
	}
	select {
	case <-c.link.Load().control.Done():
	case <-time.After(adoptTimeout):
		message.CloseFiles(m.Files)
		return errors.New("the present one is alive")
	}
	control, err := message.FileChannel(m.Files[0])
	if err != nil {
		message.CloseFiles(m.Files[1:])
		return err
	}
	frames, err := message.FileChannel(m.Files[1])
	if err != nil {
		control.Close()
		return err
	}
	return c.follow(newLink(control, frames, c.fromServer))
}

// follow makes l the child's link.
func (c *child) follow(l *link) error {
	// Nothing may come between the list and what changes it.
	c.agreed.Lock()
	defer c.agreed.Unlock()
	c.circuits.Lock()
	defer c.circuits.Unlock()
	c.record.mu.Lock()
	defer c.record.mu.Unlock()
	ch := l.control.Channel()
	ch.SetSendTimeout(serverTimeout)
	for _, m := range c.list() {
		if err := ch.SendMessage(&m); err != nil {
			l.frames.Close()
			return errors.Join(err, l.control.Close())
		}
	}
	c.limits.forget()
	old := c.link.Swap(l)
	old.frames.Close()
	close(old.next)
	go c.receiveFrames(l)
	c.claimSoon() // what could not be claimed without a server
	c.wake()
	return nil
}

// list is all that a new server has to know. c.circuits and c.record.mu are held.
func (c *child) list() []message.Message {
	list := []message.Message{{
		Type: message.Keep, N: message.KeepUser, VCI: c.cfg.vci, Socket: uint32(c.started.Unix()),
		Files: []int{int(c.program.Load().file.Fd()), meetingFd},
	}}
	if c.record.ring != 0 {
		list = append(list, message.Message{Type: message.Keep, N: message.KeepRing, Files: []int{c.record.ring}})
	}
	if c.cfg.program != 0 {
		list = append(list, message.Message{Type: message.Keep, N: message.KeepProgram, Files: []int{c.cfg.program}})
	}
	list = append(list, c.keptMemory())
	for i := range c.kept {
		if m, ok := c.keptCircuit(i); ok {
			list = append(list, m)
		}
	}
	list = append(list, c.record.list()...)
	if m, ok := c.handing.keep(); ok {
		list = append(list, m)
	}
	return append(list, message.Message{Type: message.Keep, N: message.KeepEnd})
}

func (c *child) keptMemory() message.Message {
	return message.Message{Type: message.Keep, N: message.KeepMemory, Files: c.memoryFiles()}
}

// tell sends the server a message that has no reply. If the server is gone the
// next one gets to know.
func (c *child) tell(m message.Message) {
	_ = c.link.Load().control.Channel().SendMessage(&m)
}

// ask sends a request to the server and returns its answer: EHOSTDOWN if there is
// no server at the moment.
func (c *child) ask(m *message.Message) (message.Message, unix.Errno) {
	ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
	defer cancel()
	r, err := c.link.Load().control.Call(ctx, m)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return r, unix.ETIMEDOUT
	case err != nil:
		return r, unix.EHOSTDOWN
	}
	return r, unix.Errno(r.Errno)
}
