package child

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/tcp"
)

// deviceLeases are blocks of ports from which the application opens connections by the
// devices without asking (half/deviceports.go). The child takes one when the
// application has opened leaseWorth connections by asking, and as many again as there
// are when it has found no port in them; what has been idle goes back.
type deviceLeases struct {
	mu    sync.Mutex // never held while the server is asked
	asked int        // connections by the devices that the application has asked for
	busy  bool       // the server is being asked
	never bool       // the server has said that there are none for us
	short uint32     // times that the application had found no port when the last block was taken
	idle  *time.Timer
	along []tcp.Remnant // what is in TIME-WAIT at ports that are to come, in a block or for a connection
}

// idlePeriod is how often the child looks whether blocks have been idle.
const idlePeriod = 10 * time.Second

// openedByDevice notes that the application has opened a connection by asking.
func (c *child) openedByDevice() {
	n := c.wantDeviceLeases()
	if n == 0 {
		return
	}
	errno := unix.Errno(0)
	for ; n > 0 && errno == 0; n-- {
		errno = c.leaseDevice()
	}
	l := &c.deviceLeases
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy, l.never = false, errno == unix.EOPNOTSUPP
	if l.idle == nil {
		l.idle = time.AfterFunc(idlePeriod, c.returnDeviceLeases)
	}
}

// wantDeviceLeases counts a connection that was asked for, and returns how many blocks
// it is time to take.
func (c *child) wantDeviceLeases() int {
	have, short := c.bottom.DeviceLeases()
	l := &c.deviceLeases
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.never || l.busy || len(have) == 0 && l.asked < leaseWorth || len(have) > 0 && short == l.short {
		return 0
	}
	l.asked, l.busy, l.short = 0, true, short
	return min(max(1, len(have)), half.MaxLeases-len(have))
}

// comeAlong notes connections in TIME-WAIT with ports that the server is about to answer
// with. What came before an answer that did not come is forgotten when it is over.
func (l *deviceLeases) comeAlong(b []byte, now tcp.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.along = slices.DeleteFunc(l.along, func(r tcp.Remnant) bool { return r.End <= now })
	for ; len(b) >= tcp.RemnantLen; b = b[tcp.RemnantLen:] {
		if r, ok := tcp.ParseRemnant(b[:tcp.RemnantLen]); ok {
			l.along = append(l.along, r)
		}
	}
}

// cameAlong returns those of them that are wanted, once.
func (l *deviceLeases) cameAlong(wanted func(*tcp.Remnant) bool) (rs []tcp.Remnant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.along = slices.DeleteFunc(l.along, func(r tcp.Remnant) bool {
		is := wanted(&r)
		if is {
			rs = append(rs, r)
		}
		return is
	})
	return rs
}

// leaseDevice takes one block, with what is in TIME-WAIT there. A port for which there is no
// room for that is not used.
func (c *child) leaseDevice() unix.Errno {
	var first uint16
	r, errno := c.agree(&message.Message{Type: message.Listen, Op: message.OpLease, N: 1}, func(r *message.Message) {
		first = r.Local.Port
		c.record.leaseDevice(first, r.Ports, r.Files)
	})
	ports := r.Ports
	inBlock := func(w *tcp.Remnant) bool { return errno == 0 && w.Flow.Local.Port-first < half.DevicePorts }
	for _, w := range c.deviceLeases.cameAlong(inBlock) {
		if !c.bottom.Resume(&w) {
			ports &^= 1 << (w.Flow.Local.Port - first)
		}
	}
	c.wake()
	if errno == 0 && !c.bottom.LeaseDevice(first, ports) {
		c.unlease(first, 1)
		errno = unix.EMFILE
	}
	return errno
}

// returnDeviceLeases gives back what has been idle, and comes again while there is
// more.
func (c *child) returnDeviceLeases() {
	l := &c.deviceLeases
	if l.begin() {
		c.bottom.IdleDeviceLeases()
		c.unleaseDevices()
		l.end()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle = nil; len(c.record.deviceLeases()) > 0 {
		l.idle = time.AfterFunc(idlePeriod, c.returnDeviceLeases)
	}
}

// begin keeps others from taking and returning blocks until end; false: they do.
func (l *deviceLeases) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.busy
	l.busy = true
	return !was
}

func (l *deviceLeases) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
}

// unleaseDevices gives back the blocks that are on record and not in the segment any
// more: if there is no server it is said again.
func (c *child) unleaseDevices() {
	have, _ := c.bottom.DeviceLeases()
	for first := range c.record.deviceLeases() {
		if !slices.Contains(have, first) {
			c.unlease(first, 1)
		}
	}
}

// resumeDeviceLeases gives back what the child before this one had from the server and
// the segment does not know, and goes on with the rest.
func (c *child) resumeDeviceLeases() {
	c.unleaseDevices()
	have, short := c.bottom.DeviceLeases()
	l := &c.deviceLeases
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.short = short; len(have) > 0 && l.idle == nil {
		l.idle = time.AfterFunc(idlePeriod, c.returnDeviceLeases)
	}
}

var _ [half.DevicePorts]struct{} = [message.DevicePorts]struct{}{}
