package child

import (
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/wire"
)

// joinNIC returns the driver of the pool: the ring's, joined with that of the device
// if there is one.
func (c *child) joinNIC() (pool.Driver, error) {
	if c.cfg.tap == 0 {
		return c.driver, nil
	}
	unix.CloseOnExec(c.cfg.tap)
	err := unix.SetNonblock(c.cfg.tap, true)
	if err != nil {
		return nil, err
	}
	if c.nic, err = nic.New(c.seg, c.cfg.tap); err != nil {
		return nil, err
	}
	if c.poll, err = c.nic.NewPoll(c.doors[1], true); err != nil {
		return nil, err
	}
	return pool.Join(c.driver, c.nic), nil
}

// hearNIC looks when the child's doorbell rings, and when packets come while it
// stands in for the application.
func (c *child) hearNIC() {
	f := os.NewFile(uintptr(c.poll), "poll")
	raw, err := f.SyscallConn()
	if err != nil {
		return // ticks do, more slowly
	}
	watch := make(chan struct{}, 1)
	defer close(watch)
	go c.watch(watch)
	var events [2]unix.EpollEvent
	for {
		c.look()
		if c.bottom.Watched() {
			select {
			case watch <- struct{}{}:
			default: // it is at it
			}
		}
		err := raw.Read(func(fd uintptr) bool {
			n, err := unix.EpollWait(int(fd), events[:], 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err != nil {
			return
		}
	}
}

// timerSlack is how late the kernel may wake who watches, in ns; 50 µs is its default.
const timerSlack = 1000

// watch watches for what the application holds back for a moment, whenever it is told
// to: with a thread of its own, since Go's timers are exact to a millisecond.
func (c *child) watch(begin <-chan struct{}) {
	runtime.LockOSThread()
	unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0)
	for range begin {
		c.bottom.Watch(func(d time.Duration) {
			t := unix.NsecToTimespec(int64(d))
			unix.Nanosleep(&t, nil)
		})
	}
}

// circuitFor returns the circuit by which a connection begins: the devices' if the
// server has found that way, whose packets have up to mtu octets. Of what the child
// before this one has taken the local address says it.
func (c *child) circuitFor(socket uint32, flow wire.Flow, mtu uint32) uint16 {
	if c.nic == nil || mtu == 0 && slices.Contains(c.cfg.addrs, flow.Local.Addr.Netip()) {
		return pool.NoCircuit
	}
	if mtu != 0 {
		c.bottom.SetMTU(socket, mtu)
	}
	return pool.NIC
}

// keepFlows has the server forward what came in by a listener at local and by a
// device, before the listener goes. c.agreed is held.
func (c *child) keepFlows(local wire.Endpoint) {
	if c.nic == nil || local.Port == 0 {
		return
	}
	for _, flow := range c.bottom.CameIn(local) {
		m := message.Message{Type: message.Forward, Op: message.OpOpen, Socket: message.NoSocket, Local: flow.Local, Remote: flow.Remote}
		if _, errno := c.ask(&m); errno != 0 {
			continue
		}
		c.record.forward(message.NoSocket, flow, nil)
		if !c.bottom.RegisterFlow(flow) {
			m.Op = message.OpClose
			c.ask(&m)
			c.record.drop(message.NoSocket, half.RegisteredFlow, flow)
		}
	}
}

// setTxLimit changes how many buffers for sending each circuit may have in use. It is
// called by Change.
func (c *child) setTxLimit(n int) {
	c.driver.SetTxLimit(n)
	if c.nic != nil {
		c.nic.SetTxLimit(n)
	}
}
