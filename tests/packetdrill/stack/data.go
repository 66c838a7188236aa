package stack

import (
	"io"

	"golang.org/x/sys/unix"
)

// Read reads into b as recv does.
func (s *Stack) Read(fd int, b []byte, flags int) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		n, err := unix.Read(fd, b)
		return n, errnoOf(err)
	}
	if errno := k.mayRead(flags); errno != 0 {
		return -1, errno
	}
	defer k.momentarily(flags)()
	if flags&unix.MSG_OOB != 0 {
		return k.readUrgent(b)
	}
	if flags&unix.MSG_TRUNC != 0 {
		b = make([]byte, len(b)) // what is read is dropped
	}
	read := k.sock.Read
	if flags&unix.MSG_PEEK != 0 {
		read = k.sock.Peek
	}
	n, err := read(b)
	for flags&(unix.MSG_WAITALL|unix.MSG_PEEK) == unix.MSG_WAITALL && err == nil && n < len(b) {
		var m int
		m, err = read(b[n:])
		n += m
	}
	if n > 0 || err == nil || err == io.EOF {
		return n, 0
	}
	if errno := k.failed(err); errno != 0 {
		return -1, errno
	}
	return 0, 0
}

func (k *socket) mayRead(flags int) unix.Errno {
	switch {
	case flags&unix.MSG_ERRQUEUE != 0:
		return unix.EAGAIN // nothing is ever there
	case !k.opened:
		return unix.ENOTCONN
	}
	return 0
}

// momentarily obeys MSG_DONTWAIT until what it returns is called.
func (k *socket) momentarily(flags int) (undo func()) {
	if flags&unix.MSG_DONTWAIT == 0 || k.nonblock {
		return func() {}
	}
	k.sock.SetNonblock(true)
	return func() { k.sock.SetNonblock(false) }
}

func (k *socket) readUrgent(b []byte) (int, unix.Errno) {
	c, err := k.sock.ReadUrgent()
	switch {
	case err == io.EOF:
		return 0, 0
	case err != nil && errnoOf(err) == unix.EAGAIN:
		return -1, unix.EINVAL // as Linux says of none
	case err != nil:
		return -1, errnoOf(err)
	}
	return copy(b, []byte{c}), 0
}

// ReadNowhere is Read into memory that is not the program's.
func (s *Stack) ReadNowhere(fd, flags int) (int, unix.Errno) {
	n, errno := s.Read(fd, make([]byte, 1), flags&^unix.MSG_TRUNC|unix.MSG_PEEK)
	if errno != 0 || n == 0 {
		return n, errno
	}
	return -1, unix.EFAULT
}

// Write sends b as send does. What is sent without copies in Linux (MSG_ZEROCOPY) is
// copied here.
func (s *Stack) Write(fd int, b []byte, flags int) (int, unix.Errno) {
	k := s.find(fd)
	if k == nil {
		n, err := unix.Write(fd, b)
		return n, errnoOf(err)
	}
	if !k.opened {
		return -1, unix.EPIPE
	}
	s.follow(k)
	defer k.momentarily(flags)()
	if k.early() {
		return k.writeEarly(b, !k.nonblock && flags&unix.MSG_DONTWAIT == 0)
	}
	write := k.sock.Write
	switch {
	case flags&unix.MSG_OOB != 0 && len(b) > 0:
		write = k.sock.WriteUrgent
	case flags&unix.MSG_MORE != 0:
		write = k.sock.WriteMore
	}
	n, err := write(b)
	k.crowded = k.crowded || n < len(b)
	if n > 0 || err == nil {
		return n, 0
	}
	if errno := k.failed(err); errno != 0 {
		return -1, errno
	}
	return -1, unix.EPIPE
}

// WriteNowhere is Write from memory that is not the program's.
func (s *Stack) WriteNowhere(fd int) (int, unix.Errno) {
	if n, errno := s.Write(fd, nil, 0); errno != 0 {
		return n, errno
	}
	return -1, unix.EFAULT
}

// spliceMax is how many octets a pipe holds.
const spliceMax = 64 << 10

// Splice moves up to n octets from one descriptor to the other, of which one is a
// pipe: what has come from the peer, or to be sent. The pipe's end must have room.
func (s *Stack) Splice(from, to, n, flags int) (int, unix.Errno) {
	const nonblock, more = 2, 4 // SPLICE_F_NONBLOCK, SPLICE_F_MORE
	k := s.find(from)
	if k == nil && s.find(to) == nil {
		m, err := unix.Splice(from, nil, to, nil, n, flags)
		return int(m), errnoOf(err)
	}
	if k != nil && k.sock.AtMark() {
		return 0, 0 // as in Linux: an urgent octet stops it
	}
	b := make([]byte, min(n, spliceMax))
	recv, send := 0, 0
	if flags&nonblock != 0 {
		recv = unix.MSG_DONTWAIT
	}
	if flags&more != 0 {
		send = unix.MSG_MORE
	}
	got, errno := s.Read(from, b, recv)
	if errno != 0 || got == 0 {
		return got, errno
	}
	return s.Write(to, b[:got], send)
}

// SendFile sends up to n octets of a file, from *at on or from where it stands.
func (s *Stack) SendFile(fd, file int, at *int64, n int) (int, unix.Errno) {
	b := make([]byte, min(n, 1<<20))
	var got int
	var err error
	if at != nil {
		got, err = unix.Pread(file, b, *at)
	} else {
		got, err = unix.Read(file, b)
	}
	if err != nil || got == 0 {
		return got, errnoOf(err)
	}
	sent, errno := s.Write(fd, b[:got], 0)
	if at != nil && sent > 0 {
		*at += int64(sent)
	}
	return sent, errno
}
