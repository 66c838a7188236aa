package user

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// attachTimeout bounds the wait for the server to spawn a child and for the
// child to make its segment.
const attachTimeout = 10 * time.Second

// Stack is this process's use of user-space TCP: one segment, one child.
type Stack struct {
	top    *half.Top
	server *message.Channel
	child  *message.Caller
	driver *ring.Driver
	seg    *shm.Segment
	bell   *shm.Segment
	nic    int // descriptor of the pool's device, 0 if it has none
	pids   helpers

	doors [2]shm.Doorbell
	sem   shm.Semaphore
	left  atomic.Bool // handed over
	path  string      // of the server's socket
}

// Attach attaches this process to the connection server at path.
func Attach(ctx context.Context, path string) (*Stack, error) {
	var server *message.Channel
	err := awaitServer(ctx, func() (err error) {
		server, err = message.Dial(path)
		return err
	})
	if err != nil {
		return nil, noServer(path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	s := &Stack{server: server, path: path}
	if err := s.spawn(ctx); err != nil {
		server.Close()
		return nil, fmt.Errorf("connection server at %s: %w", path, err)
	}
	return s, nil
}

// noServer says what to do about it.
func noServer(path string, err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) && (errno == unix.ENOENT || errno == unix.ECONNREFUSED) {
		return fmt.Errorf("no connection server at %s (start one: usertcp server -ring DIR -addr 10.1.0.1 -socket %s; and set USERTCP_SERVER=%s): %w", path, path, path, errno)
	}
	return fmt.Errorf("connection server at %s: %w", path, err)
}

// spawn has the server start a child, and attaches what the child makes.
func (s *Stack) spawn(ctx context.Context) error {
	init, theirs, err := s.openChild()
	if err != nil {
		return err
	}
	err = s.ask(ctx, int(theirs.Fd()))
	theirs.Close()
	if err == nil {
		err = s.await(ctx, init)
	}
	if err != nil {
		s.child.Close()
		return err
	}
	go s.mind()
	return nil
}

// openChild makes the channel to the child: theirs is the child's end, and init gets
// its Init_Reply.
func (s *Stack) openChild() (init chan message.Message, theirs *os.File, err error) {
	mine, theirs, err := message.Pair()
	if err != nil {
		return nil, nil, err
	}
	init, first := make(chan message.Message, 1), true
	s.child = message.NewCaller(mine, message.User, message.Child, func(m *message.Message) {
		if m.Type != message.InitReply {
			message.CloseFiles(m.Files)
			return
		}
		if first {
			first = false
			init <- *m
			return
		}
		// Another child in the place of one that has died, on the same segment.
		message.CloseFiles(m.Files)
		s.pids.replace(int(m.Socket))
		go s.child.Resend()
	})
	return init, theirs, nil
}

// await waits for the child's Init_Reply and attaches what comes with it.
func (s *Stack) await(ctx context.Context, init chan message.Message) error {
	select {
	case m := <-init:
		return s.attach(&m)
	case <-s.child.Done():
		return fmt.Errorf("the child ended before its Init_Reply: %w", s.child.Err())
	case <-ctx.Done():
		return fmt.Errorf("waited for the child's Init_Reply: %w", ctx.Err())
	}
}

// ask sends Spawn and waits for the server's word.
func (s *Stack) ask(ctx context.Context, theirs int) error {
	return s.request(ctx, &message.Message{Type: message.Spawn, N: message.Version, Files: []int{theirs}})
}

// request asks the server for a child and waits for its word.
func (s *Stack) request(ctx context.Context, m *message.Message) error {
	deadline, _ := ctx.Deadline()
	s.server.SetDeadline(deadline)
	what := m.Type
	if err := s.server.SendMessage(m); err != nil {
		return err
	}
	err := s.server.RecvMessage(m, message.Server, message.User)
	var other *message.VersionError
	switch {
	case errors.As(err, &other):
		return fmt.Errorf("%w: start a server of this program's version", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("waited for the server's answer to %v: %w", what, context.DeadlineExceeded)
	case err != nil:
		return err
	case m.Errno == uint32(unix.EPROTONOSUPPORT):
		return fmt.Errorf("it speaks another version than this program (%d): %w", message.Version, unix.EPROTONOSUPPORT)
	case m.Errno != 0:
		return unix.Errno(m.Errno)
	}
	s.server.SetDeadline(time.Time{})
	if pid, _, _, err := s.server.Peer(); err == nil {
		s.pids.add(pid)
	}
	if m.Socket != 0 {
		s.pids.add(int(m.Socket))
	}
	return nil
}

// attach maps the segment and starts the top half on it.
func (s *Stack) attach(m *message.Message) error {
	if m.Errno != 0 {
		message.CloseFiles(m.Files)
		return &childError{unix.Errno(m.Errno)}
	}
	if len(m.Files) < 4 || len(m.Files) > 6 || m.N != message.Version {
		message.CloseFiles(m.Files)
		return fmt.Errorf("the child's Init_Reply has %d descriptors and version %d", len(m.Files), m.N)
	}
	var err error
	if s.seg, err = shm.Attach(m.Files[0], half.Version, true); err != nil {
		message.CloseFiles(m.Files[1:])
		return err
	}
	if s.bell, err = shm.Attach(m.Files[1], ring.Version, true); err != nil {
		message.CloseFiles(m.Files[2:])
		return err
	}
	for i := range s.doors {
		if s.doors[i], err = shm.DoorbellFrom(m.Files[2+i]); err != nil {
			return err
		}
	}
	bell, err := shm.One[shm.Bell](s.bell, ring.SectionBell)
	if err != nil {
		return err
	}
	if s.driver, err = ring.NewDriver(s.seg, m.VCI); err != nil {
		return err
	}
	var rest []int
	if s.sem, rest, err = s.lockOf(m.Files[4:]); err != nil {
		return err
	}
	driver, bed, err := s.joinNIC(rest, s.doors[0])
	if err != nil {
		return err
	}
	s.top, err = half.NewTop(half.Config{
		Segment: s.seg, Driver: driver, Bell: bell, Doorbells: s.doors, Poll: bed.poll, Doze: bed.doze, Rest: bed.rest, Semaphore: s.sem,
	}, spinFromEnv(), s.fetch)
	return err
}

// mind sees to it that nothing hangs when the child is gone.
func (s *Stack) mind() {
	<-s.child.Done()
	if !s.left.Load() {
		s.top.Abandon()
	}
}

// spinFromEnv reads how leaders spin from $USERTCP_SPIN.
func spinFromEnv() half.Spin {
	switch strings.ToLower(os.Getenv("USERTCP_SPIN")) {
	case "off":
		return half.SpinOff
	case "on":
		return half.SpinOn
	}
	return half.SpinDefault
}

// fetch maps the circuits that came up since the last time, and unmaps those
// that are no more.
func (s *Stack) fetch() error {
	var missing []uint16
	var gens []uint32
	s.top.Change(func() {
		s.driver.Prune()
		for _, i := range s.driver.Missing(nil) {
			missing, gens = append(missing, i), append(gens, s.driver.Generation(i))
		}
	})
	var errs []error
	for k, i := range missing {
		r, err := s.child.Call(context.Background(), &message.Message{Type: message.NewSocket, Op: message.OpLink, N: uint32(i)})
		if err == nil && r.Errno != 0 {
			err = unix.Errno(r.Errno)
		}
		if err == nil {
			s.top.Change(func() {
				if s.driver.Generation(i) != gens[k] {
					message.CloseFiles(r.Files) // of a circuit that is no more
					return
				}
				err = s.driver.Map(i, r.Files)
			})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Pids returns the processes that work for this one: the connection server and
// the child.
func (s *Stack) Pids() []int { return s.pids.list() }

// Alive reports whether the child is there.
func (s *Stack) Alive() bool {
	select {
	case <-s.child.Done():
		return false
	default:
		return true
	}
}

// Close ends the use of user-space TCP. Connections that are still open are
// closed by the child as if the process had exited.
func (s *Stack) Close() error {
	return errors.Join(s.top.Close(), s.child.Close(), s.server.Close())
}

// call asks the child, however long that may take it, and turns the errno of its
// answer into an error.
func (s *Stack) call(ctx context.Context, m *message.Message) (message.Message, error) {
	var r message.Message
	err := awaitServer(ctx, func() (err error) {
		r, err = s.child.Call(context.WithoutCancel(ctx), m)
		if err == nil && r.Errno != 0 {
			err = unix.Errno(r.Errno)
		}
		return err
	})
	return r, err
}

// Setup prepares a socket before it is connected or listens.
type Setup func(*half.Socket) error

// open makes a socket that is prepared.
func (s *Stack) open(setup []Setup) (*half.Socket, error) {
	sock, err := s.top.Open()
	if err != nil {
		return nil, err
	}
	for _, f := range setup {
		if err := f(sock); err != nil {
			sock.Close()
			return nil, err
		}
	}
	return sock, nil
}

// Connect opens a connection to remote, from local if that is given. It returns
// an errno, or an error that says what it waited for.
func (s *Stack) Connect(ctx context.Context, local, remote wire.Endpoint, setup ...Setup) (*half.Socket, error) {
	return s.ConnectFirst(ctx, local, remote, nil, setup...)
}

// ConnectFirst is Connect with data that is sent as soon as may be: with the SYN, if
// Fast Open can.
func (s *Stack) ConnectFirst(ctx context.Context, local, remote wire.Endpoint, first []byte, setup ...Setup) (*half.Socket, error) {
	sock, err := s.open(setup)
	if err != nil {
		return nil, err
	}
	// A SYN that waits for the program's Write finds out too late who is not there.
	waits, _ := sock.Option(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT)
	direct := local.Port == 0 && (waits == 0 || len(first) > 0)
	if direct && sock.Dial(local.Addr, remote) {
		if err = connected(ctx, sock, first); err == nil {
			return sock, nil
		}
		sock.Close()
		if err != unix.ECONNREFUSED {
			return nil, err
		}
		// Whom the circuit leads to does not listen (any more). Somebody else may.
		s.top.Forget(remote)
		if sock, err = s.open(setup); err != nil {
			return nil, err
		}
	}
	if err := s.during(ctx, sock, func(ctx context.Context) error {
		return s.connect(ctx, sock, local, remote, first)
	}); err != nil {
		return nil, err
	}
	return sock, nil
}

// during lets open work on sock, which it closes if that fails, until ctx ends.
// The child is not told when a request of open's is given up: it finishes it, and
// only then may the socket's index be used again.
func (s *Stack) during(ctx context.Context, sock *half.Socket, open func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- open(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			sock.Close()
		}
		return err
	case <-ctx.Done():
	}
	go func() {
		<-done
		sock.Close()
	}()
	return ctx.Err()
}

func (s *Stack) connect(ctx context.Context, sock *half.Socket, local, remote wire.Endpoint, first []byte) error {
	if local.Port != 0 {
		r, err := s.call(ctx, &message.Message{Type: message.Bind, Socket: sock.Index(), Local: local})
		if err != nil {
			return err
		}
		local = r.Local
	}
	m := message.Message{Type: message.Connect, Socket: sock.Index(), Local: local, Remote: remote}
	if _, err := s.call(ctx, &m); err != nil {
		return err
	}
	return connected(ctx, sock, first)
}

// connected waits until sock is connected and first is written, or ctx ends.
func connected(ctx context.Context, sock *half.Socket, first []byte) error {
	stop := context.AfterFunc(ctx, func() { sock.SetDeadline(false, true, time.Unix(1, 0)) })
	err := sock.Connected()
	if err == nil && len(first) > 0 {
		if _, err = sock.Write(first); err == nil {
			err = sock.Connected()
		}
	}
	if !stop() {
		return ctx.Err() // the deadline has been set, or is about to be
	}
	return err
}

// Listen makes a listener at local, whose port 0 means any.
func (s *Stack) Listen(ctx context.Context, local wire.Endpoint, backlog int, reuse bool, setup ...Setup) (*half.Socket, wire.Endpoint, error) {
	how := message.BindHow(0)
	if reuse {
		how = message.BindReuse
	}
	return s.listenAs(ctx, local, backlog, how, setup)
}

// listenAs is Listen where how says how the local end is taken.
func (s *Stack) listenAs(ctx context.Context, local wire.Endpoint, backlog int, how message.BindHow, setup []Setup) (*half.Socket, wire.Endpoint, error) {
	sock, err := s.open(setup)
	if err != nil {
		return nil, local, err
	}
	bound := local
	if err := s.during(ctx, sock, func(ctx context.Context) (err error) {
		bound, err = s.listen(ctx, sock, local, backlog, how)
		return err
	}); err != nil {
		return nil, local, err
	}
	return sock, bound, nil
}

func (s *Stack) listen(ctx context.Context, sock *half.Socket, local wire.Endpoint, backlog int, how message.BindHow) (wire.Endpoint, error) {
	bind := message.Message{Type: message.Bind, Socket: sock.Index(), Local: local, N: uint32(how)}
	r, err := s.call(ctx, &bind)
	if err != nil {
		return local, err
	}
	local = r.Local
	sock.Listen(local, backlog)
	_, err = s.call(ctx, &message.Message{Type: message.ListenChild, Socket: sock.Index(), Local: local, N: uint32(backlog)})
	return local, err
}

// Dump writes what the segment holds, for a person to read.
func (s *Stack) Dump(w io.Writer) { s.top.Dump(w) }

// Usage returns what of the segment is in use.
func (s *Stack) Usage() half.Usage { return s.top.Usage() }
