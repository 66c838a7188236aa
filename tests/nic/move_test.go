package nic_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/user"
)

// moveTo hands parts of a stack over and takes them at once.
func moveTo(t *testing.T, h *host, s *user.Stack, parts ...user.Part) (to *user.Stack, sockets []*half.Socket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	check(t, s.HandOverSome(ctx, t.Name(), time.Minute, parts, func(i []uint32) ([]byte, error) { return json.Marshal(i) }))
	to, list, err := user.TakeOver(ctx, h.args[0], t.Name())
	check(t, err)
	t.Cleanup(func() { to.Close() })
	var indices []uint32
	check(t, json.Unmarshal(list, &indices))
	for _, i := range indices {
		sock, err := to.Take(i)
		check(t, err)
		check(t, sock.SetDeadline(true, true, time.Now().Add(patience)))
		sockets = append(sockets, sock)
	}
	to.Settle()
	return to, sockets
}

// A connection to the kernel goes from pool to pool in the middle of a transfer both
// ways, one that this host has opened and one that it has accepted.
func TestConnectionMoves(t *testing.T) {
	a, b := pair(t, 1500)
	s := a.attach()
	at, accepted := kernelAccept(t, b.Namespace, "10.9.0.2")
	c, err := dial(s, at)
	check(t, err)
	l, local := listen(t, s, end("10.9.0.1", 0))
	k, err := kernelDial(b.Namespace, local)
	check(t, err)
	in, err := l.Accept()
	check(t, err)
	for _, ends := range []struct {
		ours  *half.Socket
		peers stream
	}{{c, <-accepted}, {in, k}} {
		block := octets(5, 300_000)
		done := make(chan error, 1)
		go func() { _, err := ends.peers.Write(block); done <- err }()
		if _, err := ends.ours.Write(block); err != nil {
			t.Fatal(err)
		}
		check(t, <-done)
		_, moved := moveTo(t, a, s, user.Part{Socket: ends.ours})
		wantOctets(t, moved[0], block)
		wantOctets(t, ends.peers, block)
		exchange(t, moved[0], ends.peers, 2_000_000)
	}
}

// A listener at a device goes while the kernel at the other end connects without a
// pause; what was accepted before stays.
func TestListenerMoves(t *testing.T) {
	a, b := pair(t, 1500)
	s := a.attach()
	l, local := listen(t, s, end("10.9.0.1", 0))
	before, err := kernelDial(b.Namespace, local)
	check(t, err)
	stays, err := l.Accept()
	check(t, err)
	waiting, err := kernelDial(b.Namespace, local)
	check(t, err)
	_, moved := moveTo(t, a, s, user.Part{Socket: l, Listens: true})
	for n, k := range []stream{waiting, nil, nil, nil} {
		if k == nil {
			c, err := kernelDial(b.Namespace, local)
			check(t, err)
			k = c
		}
		in, err := moved[0].Accept()
		check(t, err)
		exchange(t, in, k, 10_000*(n+1))
	}
	exchange(t, stays, before, 1_000_000)
}

func wantOctets(t *testing.T, from stream, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	for at := 0; at < len(got); {
		n, err := from.Read(got[at:])
		check(t, err)
		at += n
	}
	if string(got) != string(want) {
		t.Error("other octets than were sent")
	}
}
