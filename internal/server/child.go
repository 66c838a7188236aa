package server

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"usertcp/internal/message"
	"usertcp/internal/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/wire"
)

// child is an application's child, as the server sees it.
type child struct {
	s       *Server
	vci     wire.VCI
	app     application
	started time.Time
	gone    chan struct{} // closed when the process has ended and all it had is given back
	syns    pendingSyns
	pool    *nic.Pool // nil if no devices are served

	// ready is closed when those below are set; what comes before it has to wait.
	ready   chan struct{}
	cmd     *exec.Cmd
	control *message.Caller
	frames  relay

	mu    sync.Mutex
	peers map[wire.VCI]bool // the other ends of its circuits
}

func newChild(s *Server, vci wire.VCI, app application) *child {
	return &child{
		s: s, vci: vci, app: app, started: time.Now(),
		gone: make(chan struct{}), ready: make(chan struct{}),
		peers: make(map[wire.VCI]bool),
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// start begins to serve the child whose process has been started.
func (c *child) start(cmd *exec.Cmd, control, frames *message.Channel) {
	control.SetSendTimeout(relayTimeout)
	frames.SetSendTimeout(relayTimeout)
	c.cmd = cmd
	c.frames.ch = frames
	c.control = message.NewCaller(control, message.Server, message.Child, c.request)
	close(c.ready)
	c.s.wg.Go(c.receiveFrames)
	c.s.wg.Go(c.wait)
	c.s.wg.Go(c.watch)
}

// wait waits for the process to end, and then for nothing to be left of it.
func (c *child) wait() {
	err := c.cmd.Wait()
	s := c.s
	s.counters.exited.Add(1)
	if err != nil && !s.isStopping() {
		s.log.Warn("child ended", "vci", c.vci, "child", c.pid(), "err", err)
	} else {
		s.log.Info("child ended", "vci", c.vci, "child", c.pid())
	}
	c.control.Close()
	c.frames.ch.Close()
	s.forgetChild(c)
	c.detachAll(nil)
	c.app.ch.Close() // the application learns that nobody looks after it
	close(c.gone)
}

// watch ends a child that has closed its control channel, or sent garbage: it is
// of no use without. One that is about to exit is given the time.
func (c *child) watch() {
	<-c.control.Done()
	if err := c.control.Err(); !errors.Is(err, io.EOF) {
		c.s.counters.badChild.Add(1)
		c.s.log.Error("garbage from a child", "vci", c.vci, "child", c.pid(), "err", err)
		c.signal(os.Kill)
		return
	}
	select {
	case <-c.gone:
	case <-time.After(exitTimeout):
		c.s.log.Error("a child without control channel does not end: killed", "vci", c.vci, "child", c.pid())
		c.signal(os.Kill)
	}
}

// signal does nothing when the process has been waited for.
func (c *child) signal(sig os.Signal) { _ = c.cmd.Process.Signal(sig) }

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
