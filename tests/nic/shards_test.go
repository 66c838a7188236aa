package nic_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// sharded is a program with two stacks that listen together, and its connections.
type sharded struct {
	stacks           []*user.Stack
	l                *user.Acceptor
	at               wire.Endpoint
	clients, servers []stream
}

func newSharded(t *testing.T, h *host, at wire.Endpoint) *sharded {
	t.Helper()
	s := &sharded{stacks: []*user.Stack{h.attach(), h.attach()}, at: at}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	s.l, _, err = user.ListenAll(ctx, s.stacks, at, 64, true)
	check(t, err)
	t.Cleanup(func() { s.l.Close() })
	return s
}

// meet has n connections made, and returns how many came to each shard.
func (s *sharded) meet(t *testing.T, n int, dial func() (stream, error)) (by [2]int) {
	t.Helper()
	for range n {
		c, err := dial()
		check(t, err)
		check(t, s.l.SetDeadline(time.Now().Add(patience)))
		k, err := s.l.Accept()
		check(t, err)
		for i := range s.stacks {
			if s.stacks[i].Owns(k) {
				by[i]++
			}
		}
		t.Cleanup(func() { c.Close(); k.Close() })
		s.clients, s.servers = append(s.clients, c), append(s.servers, k)
	}
	return by
}

// oneWay sends octets, and leaves the connection open.
func oneWay(from, to stream, data []byte) error {
	got, sent := make([]byte, len(data)), make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		sent <- err
	}()
	_, err := io.ReadFull(to, got)
	if err = errors.Join(err, <-sent); err == nil && !bytes.Equal(got, data) {
		err = errors.New("other octets came")
	}
	return err
}

// exchange has octets go both ways on all connections at once.
func (s *sharded) exchange(t *testing.T, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range s.clients {
		all.Go(func() {
			for _, way := range [][2]stream{{s.clients[i], s.servers[i]}, {s.servers[i], s.clients[i]}} {
				if err := oneWay(way[0], way[1], octets(uint64(i), n)); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
}

// The kernel's connections are spread over the shards of a listener, and stay where they
// are when a child is killed, when the server is, and when the listener closes.
func TestShardsOverDevices(t *testing.T) {
	a, b := pair(t, 1500)
	s := newSharded(t, b, end("10.9.0.2", 80))
	fromKernel := func() (stream, error) { return kernelDial(a.Namespace, s.at) }
	if by := s.meet(t, 40, fromKernel); min(by[0], by[1]) < 4 {
		t.Errorf("40 connections were spread like this: %v", by)
	}
	s.exchange(t, 20_000)
	for _, stack := range s.stacks {
		child := stack.Pids()[1]
		check(t, syscall.Kill(child, syscall.SIGKILL))
		s.exchange(t, 20_000)
		s.meet(t, 5, fromKernel)
		within(t, "the child has no successor", func() bool { return stack.Pids()[1] != child })
	}
	b.server.Kill(syscall.SIGKILL)
	b.server.Wait()
	s.exchange(t, 20_000)
	b.start()
	if by := s.meet(t, 40, fromKernel); min(by[0], by[1]) < 4 {
		t.Errorf("40 connections behind the next server were spread like this: %v", by)
	}
	s.exchange(t, 20_000)
	check(t, s.l.Close())
	s.exchange(t, 20_000)
	within(t, "the listener is still there", func() bool {
		_, err := fromKernel()
		return err != nil
	})
}

// Our own connections from leased ports, for which no server is asked, are spread too,
// and so are those within the host.
func TestShardsFromUserSpace(t *testing.T) {
	a, b := pair(t, 1500)
	s := newSharded(t, b, wire.Endpoint{Port: 80})
	s.at.Addr = end("10.9.0.2", 80).Addr
	for _, from := range []*user.Stack{a.attach(), b.attach()} {
		by := s.meet(t, 40, func() (stream, error) {
			c, err := dial(from, s.at)
			if err != nil {
				return nil, err
			}
			return c, nil
		})
		if min(by[0], by[1]) < 4 {
			t.Errorf("40 connections were spread like this: %v", by)
		}
	}
	s.exchange(t, 20_000)
}
