package nic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

// ask1 opens a connection, asks and is answered, closes, and returns the local port.
func ask1(t *testing.T, s *user.Stack, to wire.Endpoint) uint16 {
	t.Helper()
	c, err := dial(s, to)
	check(t, err)
	_, err = c.Write([]byte{1})
	check(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	check(t, err)
	port := c.Flow().Local.Port
	check(t, c.Close())
	return port
}

// leasing lets a program dial until it does so from a leased block, of which the ports
// follow one another.
func leasing(t *testing.T, s *user.Stack, to wire.Endpoint) (block uint16) {
	t.Helper()
	last := uint16(0)
	within(t, "connections come from a block", func() bool {
		port := ask1(t, s, to)
		row := port == last+1
		last = port
		return row
	})
	return last &^ (half.DevicePorts - 1)
}

func block(port uint16) uint16 { return port &^ (half.DevicePorts - 1) }

// A program that connects again and again does so from ports that are its own for a
// while: with the connection server dead, too, and after a child's death. The kernel has these
// ports in use; and the next server knows of them.
func TestConnectionsFromALeasedBlock(t *testing.T) {
	a, b := pair(t, 1500)
	l := b.Listen("tcp", net.JoinHostPort(testnet.PairB4, "0"))
	go answerAll(func() (stream, error) {
		c, err := l.Accept()
		if err != nil {
			return nil, err
		}
		return c.(stream), nil
	})
	to := wire.EndpointFrom(l.Addr().(*net.TCPAddr).AddrPort())
	ua := a.attach()
	first := leasing(t, ua, to)
	inUse := func() bool {
		var err error
		a.Do(func() {
			var k net.Listener
			if k, err = net.Listen("tcp", fmt.Sprintf(":%d", first+half.DevicePorts-1)); err == nil {
				k.Close()
			}
		})
		return errors.Is(err, syscall.EADDRINUSE)
	}
	if !inUse() {
		t.Error("the kernel gives a leased port to somebody else")
	}
	ask1(t, ua, to)
	a.server.Kill(syscall.SIGKILL)
	a.server.Wait()
	n := 0
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); n++ {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		c, err := ua.Connect(ctx, wire.Endpoint{}, to)
		cancel()
		if errors.Is(err, syscall.EHOSTDOWN) {
			break // the way is not fresh any more
		}
		check(t, err)
		check(t, c.Close())
	}
	if n == 0 {
		t.Error("no connection without the connection server")
	}
	if !inUse() {
		t.Error("the kernel's ports went with the server")
	}
	a.start()
	if again := leasing(t, ua, to); again != first {
		t.Logf("another block: %d, before %d", again, first)
	}
	other := a.attach()
	for range 20 {
		if port := ask1(t, other, to); block(port) == first {
			t.Fatalf("port %d is in another program's block", port)
		}
	}
}

// More connections in a short time than a block has ports: more blocks, and ports that
// come again from TIME-WAIT, to the kernel's TCP and to ours.
func TestBlocksDoForManyConnections(t *testing.T) {
	a, b := pair(t, 1500)
	ub := b.attach()
	lu, at := listen(t, ub, end(testnet.PairB4, 80))
	check(t, lu.SetDeadline(true, true, time.Time{}))
	go answerAll(func() (stream, error) { return lu.Accept() })
	lk := b.Listen("tcp", net.JoinHostPort(testnet.PairB4, "0"))
	go answerAll(func() (stream, error) {
		c, err := lk.Accept()
		if err != nil {
			return nil, err
		}
		return c.(stream), nil
	})
	for name, to := range map[string]wire.Endpoint{"user": at, "kernel": wire.EndpointFrom(lk.Addr().(*net.TCPAddr).AddrPort())} {
		t.Run(name, func(t *testing.T) {
			ua := a.attach()
			ports := map[uint16]int{}
			most := 0
			// A port may come again a second after its connection has ended: on a fast
			// machine that takes thousands of others.
			for n := 0; n < 1500 || most < 2 && n < 20_000; n++ {
				port := ask1(t, ua, to)
				ports[port]++
				most = max(most, ports[port])
			}
			t.Logf("%d ports, one of them %d times", len(ports), most)
			if most < 2 {
				t.Error("no port came again")
			}
		})
	}
}
