package user

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/pool/nic"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
)

// MaxList is how long the list of sockets that goes along with them may be, octets.
const MaxList = 16 << 20

// takePause is how often a process that waits for sockets asks for them.
const takePause = 10 * time.Millisecond

// takeTimeout bounds the wait of one whose context has no deadline.
const takeTimeout = 10 * time.Second

// childError is why a child has nothing for this process.
type childError struct{ errno unix.Errno }

func (e *childError) Error() string {
	return "the child could not make its segment: " + e.errno.Error()
}
func (e *childError) Unwrap() error { return e.errno }

// Owns reports whether sock is one of this stack's.
func (s *Stack) Owns(sock *half.Socket) bool { return sock.Of(s.top) }

// NameOf returns what a name is in messages.
func NameOf(name string) message.Name { return sha256.Sum256([]byte(name)) }

// HandOver offers the stack's sockets to another process of the same user, for as
// long as wait says, and leaves the segment: then none of them is of any use here. A
// process that takes them gets list, of MaxList octets at most. If the error is an
// errno, or ctx's, nothing has changed.
func (s *Stack) HandOver(ctx context.Context, name string, wait time.Duration, list []byte) error {
	fd, err := listFile(list)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	void, bell, cfg, err := s.void()
	if err != nil {
		return err
	}
	if err := s.offer(ctx, name, wait, fd, false); err != nil {
		return errors.Join(err, void.Close(), bell.Close())
	}
	return s.leave(cfg)
}

// offer offers the stack's sockets; coming says that they are to be moved there first.
func (s *Stack) offer(ctx context.Context, name string, wait time.Duration, list int, coming bool) error {
	m := message.Message{Type: message.HandOver, N: uint32(min(wait/time.Millisecond, 1<<31)), Files: []int{list}}
	m.SetName(NameOf(name))
	if coming {
		m.Socket = 1
	}
	_, err := s.call(ctx, &m)
	return err
}

// leave leaves the segment to who takes what is on offer.
func (s *Stack) leave(cfg half.Config) error {
	s.left.Store(true)
	err := errors.Join(s.top.Leave(cfg), s.release())
	// Only now may another process come. If the child dies over it, its successor is
	// told (openChild).
	if _, e := s.child.Call(context.Background(), &message.Message{Type: message.HandOver}); e != nil {
		err = errors.Join(err, fmt.Errorf("the child was not told that this process has left: %v", e))
	}
	s.server.Close()
	return errors.Join(err, s.child.Close())
}

// void makes a segment that nobody uses, for calls of sockets that have been handed
// over.
func (s *Stack) void() (seg, bell *shm.Segment, cfg half.Config, err error) {
	specs := half.Specs(append(ring.Specs(), nic.Specs()...))
	if seg, err = shm.Create("usertcp-void", half.Version, specs...); err != nil {
		return nil, nil, cfg, err
	}
	if bell, err = ring.NewBellPage(); err != nil {
		return nil, nil, cfg, errors.Join(err, seg.Close())
	}
	cfg = half.Config{Segment: seg, Doorbells: [2]shm.Doorbell{shm.NoDoorbell, shm.NoDoorbell}}
	driver, e1 := ring.NewDriver(seg, s.driver.VCI())
	cfg.Driver = driver
	var e2 error
	cfg.Bell, e2 = shm.One[shm.Bell](bell, ring.SectionBell)
	err = errors.Join(e1, e2, half.Initialise(seg, pool.MaxPDU), ring.Initialise(seg, false))
	if err != nil {
		err = errors.Join(err, seg.Close(), bell.Close())
	}
	return seg, bell, cfg, err
}

// release unmaps and closes all that the stack has had of the pool.
func (s *Stack) release() error {
	s.driver.Forsake()
	if s.nic != 0 {
		unix.Close(s.nic)
	}
	err := errors.Join(s.seg.Close(), s.bell.Close(), s.doors[0].Close(), s.doors[1].Close())
	if s.sem.Fd() >= 0 {
		err = errors.Join(err, s.sem.Close())
	}
	return err
}

// listFile returns a descriptor of memory that holds list.
func listFile(list []byte) (int, error) {
	if len(list) > MaxList {
		return -1, fmt.Errorf("the sockets' states have %d octets, at most %d are possible: %w", len(list), MaxList, unix.EMSGSIZE)
	}
	fd, err := unix.MemfdCreate("usertcp-list", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for at := 0; at < len(list); {
		n, err := unix.Pwrite(fd, list[at:], int64(at))
		if err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("write", err)
		}
		at += n
	}
	return fd, nil
}

// TakeOver takes the sockets that a process of this user offers by a name, and
// waits for them until ctx ends. It returns what HandOver was given as list. Settle
// is to be called when the sockets have been asked for.
func TakeOver(ctx context.Context, path, name string) (*Stack, []byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, takeTimeout)
		defer cancel()
	}
	var why error
	for {
		s, list, err := takeOnce(ctx, path, NameOf(name))
		if err == nil || !worthATry(err) && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			return s, list, err
		}
		if why == nil || worthATry(err) {
			why = err
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%w: %w", why, ctx.Err())
		case <-time.After(takePause):
		}
	}
}

// worthATry reports whether what has failed may do a moment later: nobody has
// offered by this name yet, somebody else is about to take it, or a child or server
// is being replaced.
func worthATry(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.EBUSY, unix.EAGAIN, unix.ECONNREFUSED, unix.EPIPE, io.EOF, message.ErrEnded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func takeOnce(ctx context.Context, path string, name message.Name) (*Stack, []byte, error) {
	server, err := message.Dial(path)
	if err != nil {
		return nil, nil, noServer(path, err)
	}
	s := &Stack{server: server, path: path}
	list, err := s.take(ctx, name)
	if err != nil {
		server.Close()
		return nil, nil, err
	}
	return s, list, nil
}

// take asks the server for the child, and the child for the segment.
func (s *Stack) take(ctx context.Context, name message.Name) ([]byte, error) {
	init, theirs, err := s.openChild()
	if err != nil {
		return nil, err
	}
	m := message.Message{Type: message.TakeOver, N: message.Version, Files: []int{int(theirs.Fd())}}
	m.SetName(name)
	err = s.request(ctx, &m)
	theirs.Close()
	if err == nil {
		err = s.await(ctx, init)
	}
	var list []byte
	if err == nil {
		if list, err = s.commit(name); err != nil {
			err = errors.Join(err, s.top.Close(), s.release())
		}
	}
	if err != nil {
		s.child.Close()
		return nil, err
	}
	go s.mind()
	return list, nil
}

// commit tells the child that this process uses the segment from now on, and
// returns the list of sockets.
func (s *Stack) commit(name message.Name) ([]byte, error) {
	m := message.Message{Type: message.TakeOver}
	m.SetName(name)
	r, err := s.child.Call(context.Background(), &m)
	if err != nil {
		return nil, err
	}
	if r.Errno != 0 || len(r.Files) != 1 {
		message.CloseFiles(r.Files)
		return nil, unix.Errno(r.Errno)
	}
	f := os.NewFile(uintptr(r.Files[0]), "list")
	defer f.Close()
	list, err := io.ReadAll(io.NewSectionReader(f, 0, MaxList+1))
	if err == nil && len(list) > MaxList {
		err = fmt.Errorf("the list of sockets is too long: %w", unix.EMSGSIZE)
	}
	return list, err
}

// Take returns the socket with the given index, which has been handed over.
func (s *Stack) Take(index uint32) (*half.Socket, error) { return s.top.Take(index) }

// Settle closes the sockets that have come along and not been taken.
func (s *Stack) Settle() { s.top.Settle() }
