package child

import (
	"errors"
	"fmt"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// legacy is what the server gives a child that takes the place of one that has
// ended.
type legacy struct {
	memory   []int
	circuits []message.Message
	known    []half.Known
}

// close closes what has not been taken.
func (l *legacy) close() {
	message.CloseFiles(l.memory)
	for _, m := range l.circuits {
		message.CloseFiles(m.Files)
	}
}

// succeedTimeout bounds the wait for the legacy.
const succeedTimeout = 5 * time.Second

// succeed takes over the segment of the child that was before.
func (c *child) succeed() error {
	var l legacy
	select {
	case l = <-c.legacy:
	case <-c.link.Load().control.Done():
		return fmt.Errorf("what the child before has left did not come: %w", c.link.Load().control.Err())
	case <-time.After(succeedTimeout):
		return fmt.Errorf("waited %v for what the child before has left", succeedTimeout)
	}
	if err := c.attachSegment(&l); err != nil {
		l.close()
		return err
	}
	if err := c.useSegment(); err != nil {
		l.close()
		return err
	}
	for _, m := range l.circuits {
		if c.driver.Restore(uint16(m.Socket), m.VCI, m.Files) {
			c.kept[uint16(m.Socket)] = true
		}
	}
	for _, k := range c.bottom.TakeOver(l.known, c.program.Load().dead) {
		c.giveBack(k.Socket, k.What, k.Flow)
	}
	c.renewLost()
	c.claimSoon()
	c.resumeDeviceLeases()
	c.wake()
	return nil
}

// attachSegment maps what the predecessor had made.
func (c *child) attachSegment(l *legacy) (err error) {
	if len(l.memory) < 4 || len(l.memory) > 6 {
		return fmt.Errorf("the child before has left %d descriptors", len(l.memory))
	}
	files := l.memory
	l.memory = nil
	if c.seg, err = shm.Attach(files[0], half.Version, true); err != nil {
		message.CloseFiles(files[1:])
		return err
	}
	if c.bell, err = shm.Attach(files[1], ring.Version, true); err != nil {
		message.CloseFiles(files[2:])
		return err
	}
	for i := range c.doors {
		var e error
		c.doors[i], e = shm.DoorbellFrom(files[2+i])
		err = errors.Join(err, e)
	}
	rest := files[4:]
	if c.cfg.lock == shm.LockSemaphore && len(rest) > 0 {
		var e error
		c.sem, e = shm.SemaphoreFrom(rest[0])
		err, rest = errors.Join(err, e), rest[1:]
	}
	if len(rest) > 0 {
		c.cfg.tap = rest[0]
	}
	return err
}

// inherit takes a Keep of the server's: an item of the legacy, or the lock on the
// ring id.
func (c *child) inherit(m *message.Message) {
	switch m.N {
	case message.KeepRing:
		if len(m.Files) == 1 && c.record.ring == 0 {
			c.record.mu.Lock()
			c.record.ring = m.Files[0]
			c.record.mu.Unlock()
			return
		}
	case message.KeepMemory:
		c.coming.memory = m.Files
		return
	case message.KeepCircuit:
		c.coming.circuits = append(c.coming.circuits, *m)
		return
	case message.KeepBind, message.KeepFlow:
		c.coming.known = append(c.coming.known, c.record.take(m))
		return
	case message.KeepOffer:
		c.inheritOffer(m)
		return
	case message.KeepTaken:
		go c.taken(m.Socket, wire.Flow{Local: m.Local, Remote: m.Remote})
	case message.KeepOver:
		go c.over(wire.Flow{Local: m.Local, Remote: m.Remote})
	case message.KeepLease:
		if len(m.Files) == 1 {
			c.record.leaseDevice(m.Local.Port, m.Ports, m.Files)
			return
		}
		c.record.lease(m.Local.Port)
	case message.KeepEnd:
		select {
		case c.legacy <- c.coming:
			c.coming = legacy{}
		default:
		}
	}
	message.CloseFiles(m.Files)
}

// keepCircuit leaves the descriptors of circuit i, whose other end is p, with the
// server. c.circuits is held.
func (c *child) keepCircuit(i uint16, peer wire.VCI, p ring.Peer) {
	files := c.driver.Kept(i, p)
	if files == nil {
		return
	}
	c.kept[i] = true
	c.tell(message.Message{Type: message.Keep, N: message.KeepCircuit, VCI: peer, Socket: uint32(i), Files: files})
}

// keptCircuit is the Keep of a circuit that is there.
func (c *child) keptCircuit(i uint16) (m message.Message, ok bool) {
	c.bottom.Change(func() {
		if files := c.driver.Files(i); files != nil {
			m = message.Message{Type: message.Keep, N: message.KeepCircuit, VCI: c.driver.Remote(i), Socket: uint32(i), Files: files}
			ok = true
		}
	})
	return m, ok
}

// forgetCircuits tells the server which circuits are no more. c.circuits is held.
func (c *child) forgetCircuits() {
	for i := range c.kept {
		if !c.driver.Has(i) {
			delete(c.kept, i)
			c.tell(message.Message{Type: message.Keep, N: message.KeepCircuit, Socket: uint32(i)})
		}
	}
}

// renewLost begins anew, as far as they are needed, the circuits that were being made when
// the child before has died.
func (c *child) renewLost() {
	c.circuits.Lock()
	defer c.circuits.Unlock()
	flows := map[wire.VCI][]wire.Flow{}
	c.bottom.Change(func() {
		for _, i := range c.driver.Orphaned() {
			peer := c.driver.Remote(i)
			flows[peer] = append(flows[peer], c.bottom.Strand(i)...)
		}
	})
	for peer, f := range flows {
		c.sayLost(peer)
		c.wait(peer, f)
	}
}
