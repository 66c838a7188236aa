package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/shm"
)

// program is the process that is the application. Another may take its place.
type program struct {
	ch       *message.Channel
	file     *os.File // the channel's descriptor, for successors of this child and of the server
	pid, uid int
	fd       int  // its pidfd; -1: it had died before we looked
	taken    bool // it uses the segment; set by its requests
	left     bool // it does not any more; receiveRequests' own

	requests sync.WaitGroup // in progress
}

func newProgram(ch *message.Channel, file *os.File) *program {
	p := &program{ch: ch, file: file, fd: -1, uid: -1}
	if pid, uid, _, err := ch.Peer(); err == nil {
		p.pid, p.uid = pid, uid
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			p.fd = fd
		}
	}
	return p
}

// close gives back what is kept for the program.
func (p *program) close() {
	p.ch.Close()
	p.file.Close()
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// dead reports whether the process has ended, waited for by its parent or not.
func (p *program) dead() bool {
	return p.fd < 0 || shm.Ready(p.fd)
}

// dyingTime is how long a process whose channel has ended may take to die.
const dyingTime = 2 * time.Second

// out reports whether the process does not use the segment any more: it never has,
// it has said so, or it dies within dyingTime.
func (p *program) out() bool {
	for end := time.Now().Add(dyingTime); ; time.Sleep(5 * time.Millisecond) {
		if !p.taken || p.left || p.dead() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// greet gives a process what it shares with this child.
func (c *child) greet(p *program) error {
	return p.ch.SendMessage(&message.Message{
		Type: message.InitReply, N: message.Version, VCI: c.cfg.vci, Socket: uint32(os.Getpid()), Files: c.memoryFiles(),
	})
}

// servePrograms serves the application's process, and those that take its place
// one after the other, until there is none any more.
func (c *child) servePrograms() {
	for p := c.program.Load(); p != nil; {
		c.receiveRequests(p)
		p.ch.Close()
		p.requests.Wait() // what they change belongs to this process
		next := c.await(p)
		if next == nil {
			break
		}
		c.install(next)
		p.close()
		p = next
	}
	p := c.program.Load()
	if c.bottom.ProgramEnded(p.dead) {
		fmt.Fprintf(os.Stderr, "usertcp child: application %d died with the lock: its step was undone\n", p.pid)
	}
	c.claim() // what it had begun to move here
	close(c.ended)
	c.wake()
}

// receiveRequests takes a process's messages until it has gone.
func (c *child) receiveRequests(p *program) {
	var m message.Message
	for {
		err := p.ch.RecvMessage(&m, message.User, message.Child)
		if err != nil {
			var v *message.VersionError
			if !errors.Is(err, io.EOF) && !errors.As(err, &v) {
				fmt.Fprintf(os.Stderr, "usertcp child: application %d: %v\n", p.pid, err)
			}
			return
		}
		if m.Type == message.HandOver && len(m.Files) == 0 {
			p.left = true
			c.left(p, &m)
			continue
		}
		request := m
		c.requests <- struct{}{}
		p.requests.Go(func() {
			c.request(p, &request)
			<-c.requests
		})
	}
}

// install makes p the application's process.
func (c *child) install(p *program) {
	c.agreed.RLock()
	defer c.agreed.RUnlock()
	c.program.Store(p)
	c.tell(message.Message{Type: message.Keep, N: message.KeepUser, Files: []int{int(p.file.Fd())}})
	_ = c.greet(p) // if that fails it has gone, which receiveRequests finds out
}
