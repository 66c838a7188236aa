package server

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// child is an application's child, as the server sees it: the processes that are
// it, one after the other on the same segment, as long as they do not end in order.
type child struct {
	s       *Server
	vci     wire.VCI
	app     application
	started time.Time
	gone    chan struct{} // closed when there is no process any more and all it had is given back
	syns    pendingSyns
	pool    *nic.Pool // nil if no devices are served

	// ready is closed when those below are set; what comes before it has to wait.
	ready   chan struct{}
	frames  relay
	control atomic.Pointer[message.Caller] // of the present process
	proc    atomic.Pointer[process]

	mu        sync.Mutex
	peers     map[wire.VCI]bool // the other ends of its circuits
	kept      baggage
	condemned bool        // it ends for good
	restarts  []time.Time // of late
}

func newChild(s *Server, vci wire.VCI, app application) *child {
	return &child{
		s: s, vci: vci, app: app, started: time.Now(),
		gone: make(chan struct{}), ready: make(chan struct{}),
		peers: make(map[wire.VCI]bool),
	}
}

func (c *child) pid() int { return c.proc.Load().pid }

func (c *child) channel() *message.Channel { return c.control.Load().Channel() }

// start begins to serve a child that has its first process.
func (c *child) start(frames *message.Channel) {
	frames.SetSendTimeout(relayTimeout)
	c.frames.ch = frames
	close(c.ready)
	c.s.wg.Go(c.receiveFrames)
	c.s.wg.Go(c.wait)
}

// attend begins to serve a process.
func (c *child) attend(p *process, control *message.Channel) {
	control.SetSendTimeout(relayTimeout)
	c.proc.Store(p)
	c.control.Store(message.NewCaller(control, message.Server, message.Child, c.request))
}

// wait waits for the process to end, and starts another one in its place unless
// it has ended in order.
func (c *child) wait() {
	s := c.s
	for {
		p := c.proc.Load()
		ended := make(chan struct{})
		s.wg.Go(func() { c.watch(p, ended) })
		err := p.wait(c.control.Load().Done())
		close(ended)
		<-c.control.Load().Done() // what it had to say has been read
		s.counters.exited.Add(1)
		if err != nil && !s.isStopping() {
			s.log.Warn("child ended", "vci", c.vci, "child", p.pid, "err", err)
		} else {
			s.log.Info("child ended", "vci", c.vci, "child", p.pid)
		}
		if !c.mayRestart(err) {
			break
		}
		if err := c.restart(); err != nil {
			s.log.Error("no successor for a child", "vci", c.vci, "err", err)
			break
		}
		s.counters.restarted.Add(1)
		s.log.Warn("child replaced", "vci", c.vci, "child", c.pid())
	}
	c.end()
}

// end gives back what a child had whose last process has ended.
func (c *child) end() {
	s := c.s
	c.control.Load().Close()
	c.frames.ch.Close()
	s.meetings.remove(c.vci)
	s.forgetChild(c)
	c.detachAll(nil)
	c.dropAll() // the application learns that nobody looks after it
	if ch := c.owner().ch; ch != nil {
		ch.Close()
	}
	close(c.gone)
}

// watch ends a process that has closed its control channel, or sent garbage: it is
// of no use without. One that is about to exit is given the time. If it takes longer it
// may have been killed, on a machine that is busy: it is killed once more, and replaced.
func (c *child) watch(p *process, ended <-chan struct{}) {
	control := c.control.Load()
	<-control.Done()
	if err := control.Err(); !errors.Is(err, io.EOF) {
		c.s.counters.badChild.Add(1)
		c.s.log.Error("garbage from a child", "vci", c.vci, "child", p.pid, "err", err)
		c.kill()
		return
	}
	if c.s.isStopping() {
		return // stopChildren sees to it, or the server leaves its children
	}
	select {
	case <-ended:
	case <-time.After(exitTimeout):
		c.s.log.Error("a child without control channel does not end: killed", "vci", c.vci, "child", p.pid)
		_ = p.Signal(os.Kill)
	}
}

// kill kills the child for good.
func (c *child) kill() {
	c.condemn()
	c.signal(os.Kill)
}

// condemn says that the present process has no successor.
func (c *child) condemn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.condemned = true
}

// signal does nothing when the process has been waited for.
func (c *child) signal(sig os.Signal) { _ = c.proc.Load().Signal(sig) }

// stopChildren asks all children to end, and kills those that do not in time.
func (s *Server) stopChildren() {
	s.mu.Lock()
	var all []*child
	for _, c := range s.children {
		all = append(all, c)
	}
	s.mu.Unlock()
	deadline := time.NewTimer(stopTimeout)
	defer deadline.Stop()
	for _, c := range all {
		select {
		case <-c.ready:
			c.condemn()
			c.signal(syscall.SIGTERM)
		case <-c.gone: // it could not be started
		}
	}
	for _, c := range all {
		select {
		case <-c.gone:
			continue
		case <-deadline.C:
			deadline.Reset(0) // the others have had as long
		}
		s.log.Warn("child killed", "vci", c.vci, "waited", stopTimeout)
		c.signal(os.Kill)
	}
	for _, c := range all {
		<-c.gone
	}
}

// child returns the child with a VCI, once it can be served, or nil.
func (s *Server) child(v wire.VCI) *child {
	s.mu.Lock()
	c := s.children[v.Stream()]
	s.mu.Unlock()
	if c == nil || v.IsMulticast() || v.Ring() != s.RingID() {
		return nil
	}
	select {
	case <-c.ready:
		return c
	case <-c.gone:
		return nil
	}
}

// addPeer notes the other end of a circuit, unless the child has gone.
func (c *child) addPeer(v wire.VCI) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers == nil {
		return false
	}
	if len(c.peers) < maxPeers {
		c.peers[v] = true
	}
	return true
}

func (c *child) removePeer(v wire.VCI) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.peers, v)
}

// detachAll tells all other ends of the child's circuits that it has closed its
// own; next is its new set of peers, nil if it has gone.
func (c *child) detachAll(next map[wire.VCI]bool) {
	c.mu.Lock()
	peers := c.peers
	c.peers = next
	c.mu.Unlock()
	for v := range peers {
		c.s.send(ring.Frame{Type: ring.FrameDetach, Src: c.vci, Dst: v})
	}
}
