package perf

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// crew is the workers of one side of a test, and the connections they work on.
// When one fails all are stopped: the first error is the crew's.
type crew struct {
	wg     sync.WaitGroup
	stop   atomic.Bool   // workers that produce look at it between two messages
	failed chan struct{} // closed at the first error

	mu    sync.Mutex
	err   error
	conns []net.Conn
	limit time.Time    // deadline of every connection
	l     net.Listener // closed at a failure, too; may be nil
}

// newCrew bounds all work on connections by limit. l is where they come from, nil
// on the side that dials.
func newCrew(limit time.Duration, l net.Listener) *crew {
	return &crew{failed: make(chan struct{}), limit: time.Now().Add(limit), l: l}
}

// adopt gives the connection the crew's deadline, and closes it should the crew
// fail. After a failure it is closed at once.
func (c *crew) adopt(conn net.Conn) error {
	if err := conn.SetDeadline(c.limit); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		conn.Close()
		return c.err
	}
	c.conns = append(c.conns, conn)
	return nil
}

// release forgets and closes a connection of a test that opens many.
func (c *crew) release(conn net.Conn) error {
	c.mu.Lock()
	for i, other := range c.conns {
		if other == conn {
			last := len(c.conns) - 1
			c.conns[i] = c.conns[last]
			c.conns = c.conns[:last]
			break
		}
	}
	c.mu.Unlock()
	return conn.Close()
}

// hire starts a worker.
func (c *crew) hire(work func() error) {
	c.wg.Go(func() {
		if err := work(); err != nil {
			c.fail(err)
		}
	})
}

// fail records the first error and ends everybody's work.
func (c *crew) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.stop.Store(true)
	close(c.failed)
	for _, conn := range c.conns {
		conn.Close()
	}
	if c.l != nil {
		c.l.Close()
	}
}

// watch makes the end of ctx a failure until the returned function is called.
func (c *crew) watch(ctx context.Context) (unwatch func() bool) {
	return context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
}

// wait waits for all workers and returns the first error.
func (c *crew) wait() error {
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// closeAll closes the connections that are left, when the work is done.
func (c *crew) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}
