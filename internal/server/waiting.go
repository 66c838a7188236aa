package server

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"usertcp/internal/nic"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// waiting is a pool of the server's own: it gets what comes by devices for connections
// in TIME-WAIT that children have left. It is made when the first of them comes.
type waiting struct {
	s    *Server
	mu   sync.Mutex // of the making
	pool atomic.Pointer[nic.Pool]
	tap  *os.File // a copy that Go's poller knows
}

// etherLen is the length of an Ethernet header, and etherType where its type stands.
const (
	etherLen  = 14
	etherType = 12
)

// byDevice reports whether a connection goes by a device: the way that the server says
// when it begins.
func (s *Server) byDevice(f wire.Flow) bool { return s.nic != nil && !s.onRing(f.Remote.Addr) }

// leaveTimeWaits takes connections in TIME-WAIT over from a child, as many as it can, and
// says how many. The errno is 0, EINVAL or ENOBUFS, or the devices'.
func (c *child) leaveTimeWaits(b []byte) (n int, errno unix.Errno) {
	s := c.s
	rs, errno := s.timeWaits.parse(b, func(a wire.Addr) bool {
		return s.ports.onRing(a) || s.nic != nil && s.ports.onDevice(a)
	})
	if errno != 0 {
		return 0, errno
	}
	uid := c.owner().uid
	whose := func(f wire.Flow) int {
		if s.byDevice(f) {
			return uid
		}
		return nobody
	}
	if n = s.timeWaits.add(rs, whose); n < len(rs) {
		errno = unix.ENOBUFS
	}
	for i := range rs[:n] {
		if f := rs[i].Flow; s.byDevice(f) {
			if e := s.waiting.take(f, c.pool); e != 0 {
				for _, r := range rs[i:n] {
					s.timeWaits.drop(r.Flow)
				}
				return i, e
			}
		}
	}
	return n, errno
}

// resumeTimeWaits takes what comes for the connections that the server before had.
func (s *Server) resumeTimeWaits() {
	for _, f := range s.timeWaits.flows() {
		if s.byDevice(f) && s.waiting.take(f, nil) != 0 {
			s.timeWaits.drop(f)
		}
	}
}

// take gives the pool what comes for a connection, which another pool may have.
func (w *waiting) take(f wire.Flow, from *nic.Pool) unix.Errno {
	pool, err := w.open()
	if err == nil {
		err = pool.Take(f, from)
	}
	if err != nil {
		w.s.log.Warn("no way for a connection in TIME-WAIT", "local", f.Local, "remote", f.Remote, "err", err)
		return errnoIn(err)
	}
	return 0
}

// open makes the pool if it is not there.
func (w *waiting) open() (*nic.Pool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pool := w.pool.Load(); pool != nil {
		return pool, nil
	}
	if w.s.isStopping() {
		return nil, unix.ESHUTDOWN
	}
	pool, err := w.s.nic.NewPool(w.s.vci())
	if err != nil {
		return nil, err
	}
	if w.tap, err = dupFile(int(pool.File().Fd()), "TAP"); err != nil {
		pool.Close()
		return nil, err
	}
	w.pool.Store(pool)
	w.s.wg.Go(w.receive)
	return pool, nil
}

// close ends the taking of frames; the pool ends with the others.
func (w *waiting) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tap != nil {
		w.tap.Close()
	}
}

// leave says that a connection is not in TIME-WAIT any more.
func (w *waiting) leave(f wire.Flow) {
	if pool := w.pool.Load(); pool != nil {
		_ = pool.Disconnect(f) // it has none if the connection went by the ring
	}
}

// receive takes frames until the TAP goes.
func (w *waiting) receive() {
	b := make([]byte, nic.HeaderLen+etherLen+maxPDU)
	for {
		n, err := w.tap.Read(b)
		if err != nil {
			return
		}
		if n > nic.HeaderLen+etherLen {
			w.frame(b[:nic.HeaderLen], b[nic.HeaderLen:n])
		}
	}
}

// frame answers a segment of a connection in TIME-WAIT.
func (w *waiting) frame(virtio, ether []byte) {
	var seg segment
	if !seg.parsePadded(ether[etherLen:]) || !seg.intact(virtio, ether[etherLen:]) {
		w.s.counters.badPackets.Add(1)
		return
	}
	flow := seg.flow()
	id, listened := w.s.ports.listener(flow)
	in := seg.engine()
	var out tcp.Segment
	mine, answer := w.s.timeWaits.input(flow, &in, &out, listened)
	switch {
	case answer:
		w.send(answerPacket(&seg, &out))
	case !mine && listened && seg.isSyn():
		w.pass(id, ether)
	}
}

// intact reports whether the checksum is right, or need not be looked at, since the
// device has done so or will complete it.
func (s *segment) intact(virtio, b []byte) bool {
	if virtio[0]&(unix.VIRTIO_NET_HDR_F_NEEDS_CSUM|unix.VIRTIO_NET_HDR_F_DATA_VALID) != 0 {
		return true
	}
	return wire.TCPChecksumOK(&s.ip.Src, &s.ip.Dst, b[s.ip.HeaderLen:s.ip.TotalLen], nil)
}

// send sends an IP packet.
func (w *waiting) send(packet []byte) {
	b := make([]byte, nic.HeaderLen+etherLen, nic.HeaderLen+etherLen+len(packet))
	kind := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	binary.BigEndian.PutUint16(b[nic.HeaderLen+etherType:], kind)
	_, _ = w.tap.Write(append(b, packet...)) // one that is lost is asked for again
}

// pass gives a SYN that has ended TIME-WAIT to the pool that listens. If that is not
// possible it comes again, and goes there by itself.
func (w *waiting) pass(id socketID, ether []byte) {
	c := w.s.child(id.child)
	if c == nil || c.pool == nil {
		return
	}
	if err := c.pool.Deliver(completed(ether)); err != nil {
		w.s.log.Debug("a SYN that was not passed on", "vci", id.child, "err", err)
	}
}

// completed returns a frame that carries an intact TCP segment, with its checksum.
func completed(ether []byte) []byte {
	var s segment
	s.parsePadded(ether[etherLen:])
	b := append([]byte(nil), ether[:etherLen+s.ip.TotalLen]...)
	tcp := b[etherLen+s.ip.HeaderLen:]
	tcp[16], tcp[17] = 0, 0
	binary.BigEndian.PutUint16(tcp[16:], wire.TCPChecksum(&s.ip.Src, &s.ip.Dst, tcp, nil))
	return b
}
