package server

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"usertcp/internal/message"
)

// A child whose process is killed, or breaks down, gets another process on the
// same segment. The application and the peers learn nothing of it: the channels
// to the application and for frames are the same, with what lies in them, and the
// circuits stay. A child that a server before this one has started, perhaps of another
// version, has said what program it is: its successor runs the same, since only that is
// sure to know the layout of its segment.

// mayRestart decides whether a process that has ended with err gets a successor.
func (c *child) mayRestart(err error) bool {
	if c.s.isStopping() || !crashed(err) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.condemned || c.kept.finished || len(c.kept.memory) == 0 {
		return false
	}
	now := time.Now()
	c.restarts = slices.DeleteFunc(c.restarts, func(t time.Time) bool { return now.Sub(t) > restartPeriod })
	if len(c.restarts) >= maxRestarts {
		c.s.log.Error("a child ends again and again", "vci", c.vci, "times", len(c.restarts), "within", restartPeriod)
		return false
	}
	c.restarts = append(c.restarts, now)
	return true
}

// restart starts a process in the place of one that has ended.
func (c *child) restart() error {
	control, controlEnd, err := message.Pair()
	if err != nil {
		return err
	}
	defer controlEnd.Close()
	c.mu.Lock()
	files, program := [4]*os.File{controlEnd, c.kept.frames, c.kept.user, c.kept.meeting}, c.kept.program
	c.mu.Unlock()
	cmd, err := c.s.cfg.Spawn(SpawnArgs{
		VCI: c.vci, Addrs: c.s.cfg.Addrs, CRC: c.s.cfg.CRC, Pools: c.s.cfg.Pools, Stderr: c.s.cfg.Stderr, Files: files, Program: program, Successor: true,
	})
	if err != nil {
		return errors.Join(err, control.Close())
	}
	c.attend(ours(cmd), control)
	if err := c.hand(control); err != nil {
		c.kill()
		return errors.Join(err, cmd.Wait())
	}
	control.SetSendTimeout(relayTimeout)
	return nil
}

// hand gives a process all that its predecessor has left.
func (c *child) hand(control *message.Channel) error {
	control.SetSendTimeout(takeOverTimeout)
	c.tellLimits(control)
	for _, m := range append(c.s.ringLock(), c.list()...) {
		if err := control.SendMessage(&m); err != nil {
			return fmt.Errorf("handing over to child %d: %w", c.pid(), err)
		}
	}
	return nil
}

// ringLock is the message that gives a child the lock on the ring id, if there is one.
func (s *Server) ringLock() []message.Message {
	if s.station == nil {
		return nil
	}
	return []message.Message{{Type: message.Keep, N: message.KeepRing, Files: []int{s.station.Lock()}}}
}
