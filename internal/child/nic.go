package child

import (
	"net/netip"
	"os"

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
	var err error
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
	var events [2]unix.EpollEvent
	for {
		err := raw.Read(func(fd uintptr) bool {
			n, err := unix.EpollWait(int(fd), events[:], 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err != nil {
			return
		}
		c.bottom.Look(false)
		c.wake()
	}
}

// begin begins a connection by the way that the server has found: by a device whose
// packets have up to mtu octets, or by the ring if that is 0.
func (c *child) begin(socket uint32, flow wire.Flow, mtu uint32) unix.Errno {
	circuit := pool.NoCircuit
	if mtu != 0 {
		circuit = pool.NIC
		c.bottom.SetMTU(socket, mtu)
	}
	if c.bottom.Register(socket, half.RegisteredFlow) && c.bottom.Connect(socket, flow, circuit) {
		return 0
	}
	c.giveBack(socket, half.RegisteredFlow, flow)
	return unix.EBADF
}

// keepFlows has the server forward what came in by a listener at local and by a
// device, before the listener goes.
func (c *child) keepFlows(local wire.Endpoint) {
	if c.nic == nil {
		return
	}
	for _, flow := range c.bottom.CameIn(local) {
		m := message.Message{Type: message.Forward, Op: message.OpOpen, N: 1, Local: flow.Local, Remote: flow.Remote}
		if _, errno := c.ask(&m); errno == 0 && !c.bottom.RegisterFlow(flow) {
			c.ask(&message.Message{Type: message.Forward, Op: message.OpClose, Local: flow.Local, Remote: flow.Remote})
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

// kernelAddrs returns the addresses at which the kernel has to keep a port for us: with
// devices any that it has, without them those of the ring that are the kernel's too.
func (c *child) kernelAddrs(local wire.Endpoint) []netip.Addr {
	if c.nic == nil {
		return c.cfg.addrs
	}
	if local.Addr == (wire.Addr{}) {
		return []netip.Addr{netip.IPv6Unspecified()}
	}
	return []netip.Addr{local.Addr.Netip()}
}
