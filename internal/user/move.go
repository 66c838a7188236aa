package user

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/message"
)

// Part is a socket that is handed over alone.
type Part struct {
	Socket  *half.Socket
	Listens bool
}

// HandOverSome offers some of the stack's sockets, as HandOver offers all: they are
// moved to a stack of their own, which is handed over. list makes the list from what
// will be the sockets' indices. If the error is an errno, or ctx's, nothing has changed:
// ENOBUFS means that too much lies in the buffers.
func (s *Stack) HandOverSome(ctx context.Context, name string, wait time.Duration, parts []Part, list func(indices []uint32) ([]byte, error)) error {
	p, err := Attach(ctx, s.path)
	if err != nil {
		return err
	}
	left, err := s.handParts(ctx, p, name, wait, parts, list)
	if !left {
		err = errors.Join(err, p.Close())
	}
	return err
}

// handParts moves the parts to p and hands that over; left says that it has.
func (s *Stack) handParts(ctx context.Context, p *Stack, name string, wait time.Duration, parts []Part, list func([]uint32) ([]byte, error)) (left bool, err error) {
	moves, indices, err := p.prepare(parts)
	if err != nil {
		return false, err
	}
	b, err := list(indices)
	if err != nil {
		return false, err
	}
	fd, err := listFile(b)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	void, bell, cfg, err := p.void()
	if err != nil {
		return false, err
	}
	if err := p.offer(ctx, name, wait, fd, true); err != nil {
		return false, errors.Join(err, void.Close(), bell.Close())
	}
	if err := s.moveTo(p, parts, moves); err != nil {
		return false, errors.Join(err, void.Close(), bell.Close())
	}
	return true, p.leave(cfg)
}

// prepare makes the sockets that the parts will be.
func (p *Stack) prepare(parts []Part) (moves []half.Moving, indices []uint32, err error) {
	for _, part := range parts {
		to, err := p.top.Open()
		if err != nil {
			return nil, nil, err
		}
		moves = append(moves, half.Moving{From: part.Socket, To: to})
		indices = append(indices, to.Index())
	}
	return moves, indices, nil
}

// moveTo moves the parts to p. Listeners have their ports there first, so that no SYN
// finds neither; connections are claimed when they are there, and until then what
// comes for them is lost and comes again.
func (s *Stack) moveTo(p *Stack, parts []Part, moves []half.Moving) error {
	listens := false
	for i, m := range moves {
		if parts[i].Listens {
			m.To.ListenFor(m.From, s.driver.VCI())
			listens = true
		}
	}
	if listens {
		if err := p.claim(); err != nil {
			s.takeBack(p, parts, moves)
			return err
		}
	}
	if err := half.Move(s.top, p.top, s.driver.VCI(), p.driver.VCI(), moves); err != nil {
		s.takeBack(p, parts, moves)
		return err
	}
	// What can't be claimed for want of a server is with the next one: the child sees
	// to it.
	_ = p.claim()
	return nil
}

// claim has the child claim what has come.
func (s *Stack) claim() error {
	_, err := s.call(context.Background(), &message.Message{Type: message.Move})
	return err
}

// takeBack gives the listeners their ports back.
func (s *Stack) takeBack(p *Stack, parts []Part, moves []half.Moving) {
	for i, m := range moves {
		if parts[i].Listens {
			m.From.TakeBack(m.To, p.driver.VCI())
		}
	}
	_ = s.claim() // a listener that is lost now is one whose server has died
}

// Empty reports whether the program has no sockets here.
func (s *Stack) Empty() bool { return s.top.Sockets() == 0 }
