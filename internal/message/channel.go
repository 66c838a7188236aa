package message

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// SendTimeout is how long Send waits for a peer that does not read, unless
// SetSendTimeout says otherwise.
const SendTimeout = 5 * time.Second

// ErrTruncated is returned for a packet with more octets or descriptors than
// there was room for. What came of it has been closed.
var ErrTruncated = errors.New("message: packet is too long or carries too many descriptors")

// Channel is one end of a Unix SOCK_SEQPACKET connection: packets stay whole,
// carry descriptors, and the death of the peer is end of file. Any number of
// goroutines may send; one may receive.
type Channel struct {
	conn        *net.UnixConn
	sendTimeout atomic.Int64 // nanoseconds

	send sync.Mutex // guards the write deadline and out
	out  []byte     // SendMessage's packet

	oob [unix.SizeofCmsghdr + 4*MaxFiles]byte // receiver's: room for descriptors
	in  []byte                                // receiver's: RecvMessage's packet
}

// NewChannel returns the channel over conn, which must be of type "unixpacket".
func NewChannel(conn *net.UnixConn) *Channel {
	c := &Channel{conn: conn}
	c.sendTimeout.Store(int64(SendTimeout))
	return c
}

// FileChannel returns the channel over the socket fd, which it owns from then
// on, and which is closed after an error. It is an error if fd is not a Unix
// SOCK_SEQPACKET socket.
func FileChannel(fd int) (*Channel, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "channel")
	if f == nil {
		return nil, fmt.Errorf("message: %d is not a descriptor", fd)
	}
	defer f.Close() // net.FileConn has made a copy
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("message: descriptor %d: %w", fd, err)
	}
	if typ != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("message: descriptor %d is not a SOCK_SEQPACKET socket", fd)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("message: descriptor %d: %w", fd, err)
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("message: descriptor %d is not a Unix socket", fd)
	}
	return NewChannel(uc), nil
}

// Pair returns both ends of a new channel; b is for another process. Both are
// closed on exec: os/exec's ExtraFiles, and SCM_RIGHTS, make copies that are not.
func Pair() (a *Channel, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("message: socketpair: %w", err)
	}
	if a, err = FileChannel(fds[0]); err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	return a, os.NewFile(uintptr(fds[1]), "channel"), nil
}

// Dial connects to the socket at path.
func Dial(path string) (*Channel, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return NewChannel(conn), nil
}

// SetSendTimeout bounds the time that each later Send waits for a peer that does
// not read; the error is then os.ErrDeadlineExceeded.
func (c *Channel) SetSendTimeout(d time.Duration) { c.sendTimeout.Store(int64(d)) }

// SetDeadline sets the time at which Recv fails with os.ErrDeadlineExceeded; the
// zero time means never. Sending is bounded by SetSendTimeout.
func (c *Channel) SetDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// Close closes this end. The peer sees end of file, and so does Recv here.
func (c *Channel) Close() error { return c.conn.Close() }

// Send sends one packet, with copies of the descriptors files, which remain the
// caller's. The packet must not be empty: that looks like end of file.
func (c *Channel) Send(b []byte, files ...int) error {
	deadline := c.sendDeadline()
	c.send.Lock()
	defer c.send.Unlock()
	return c.sendLocked(b, files, deadline)
}

// sendDeadline is asked for before the mutex is, so that the wait for other
// senders counts too.
func (c *Channel) sendDeadline() time.Time {
	return time.Now().Add(time.Duration(c.sendTimeout.Load()))
}

func (c *Channel) sendLocked(b []byte, files []int, deadline time.Time) error {
	if len(b) == 0 || len(files) > MaxFiles {
		panic("BUG: empty packet, or one with too many descriptors")
	}
	var oob []byte
	if len(files) > 0 {
		oob = unix.UnixRights(files...)
	}
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	n, _, err := c.conn.WriteMsgUnix(b, oob, nil)
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// Recv receives one packet into b. The descriptors that came with it are the
// caller's, closed on exec. At the end of the channel the error is io.EOF.
func (c *Channel) Recv(b []byte) (n int, files []int, err error) {
	n, oobn, flags, _, err := c.conn.ReadMsgUnix(b, c.oob[:])
	if oobn > 0 {
		files = rights(c.oob[:oobn])
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = ErrTruncated
	}
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, unix.ECONNRESET):
		err = io.EOF // closed by this side; or by a peer that had unread packets
	case err != nil && !errors.Is(err, io.EOF):
		err = fmt.Errorf("message: receiving: %w", err)
	}
	if err != nil {
		CloseFiles(files)
		return 0, nil, err
	}
	return n, files, nil
}

// rights returns the descriptors in control data from the kernel.
func rights(oob []byte) (files []int) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return files
		}
		m := unix.SocketControlMessage{Header: h, Data: data}
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			files = append(files, fds...)
		}
		oob = rest
	}
	return files
}

// CloseFiles closes descriptors that came with a packet.
func CloseFiles(files []int) {
	for _, fd := range files {
		unix.Close(fd)
	}
}

// SendMessage sends m with copies of m.Files.
func (c *Channel) SendMessage(m *Message) error {
	deadline := c.sendDeadline()
	c.send.Lock()
	defer c.send.Unlock()
	c.out = m.Append(c.out[:0])
	err := c.sendLocked(c.out, m.Files, deadline)
	if err != nil {
		return fmt.Errorf("sending %v: %w", m.Type, err)
	}
	return nil
}

// RecvMessage receives a message that goes from one party (the peer) to the
// other (this one). m.PDU is valid until the next call; m.Files are the
// caller's. After any error but an expired deadline or a *VersionError the
// channel is of no further use.
func (c *Channel) RecvMessage(m *Message, from, to Party) error {
	if c.in == nil {
		c.in = make([]byte, longest(from, to))
	}
	n, files, err := c.Recv(c.in)
	if err != nil {
		return err
	}
	if err := Decode(c.in[:n], files, from, to, m); err != nil {
		CloseFiles(files)
		return err
	}
	return nil
}

// longest is the length of the longest message from one party to the other, so
// that a channel which carries no PDUs costs a server no 64 KiB.
func longest(from, to Party) int {
	pdu := slices.ContainsFunc(table[:], func(f form) bool {
		return f.pdu && f.from&from != 0 && f.to&to != 0
	})
	if pdu {
		return MaxLen
	}
	return headerLen
}

// RemoteName returns the path that the other end is bound to, "" if it is not.
func (c *Channel) RemoteName() string {
	if a := c.conn.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// Peer returns the process id, user id and group id of the process that made or
// dialled the other end (SO_PEERCRED). A pid is -1 where there is none to see.
func (c *Channel) Peer() (pid, uid, gid int, err error) {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return -1, -1, -1, err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(cerr, err); err != nil {
		return -1, -1, -1, fmt.Errorf("message: credentials of the peer: %w", err)
	}
	return int(cred.Pid), int(cred.Uid), int(cred.Gid), nil
}

// soPeerPidfd is SO_PEERPIDFD (Linux 6.5), which package unix has not.
const soPeerPidfd = 77

// PeerProcess returns a descriptor of the process that made or dialled the other end
// (SO_PEERPIDFD): unlike its id it never names another one. It is the caller's.
func (c *Channel) PeerProcess() (fd int, err error) {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := raw.Control(func(s uintptr) {
		fd, err = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, soPeerPidfd)
	})
	if err = errors.Join(cerr, err); err != nil {
		return -1, fmt.Errorf("message: process of the peer: %w", err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}
