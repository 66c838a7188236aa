package user_test

import (
	"context"
	"testing"

	"usertcp/internal/half"
	"usertcp/internal/tcp"
	"usertcp/internal/testhost"
	"usertcp/internal/user"
	"usertcp/internal/wire"
)

func TestMain(m *testing.M) { testhost.Main(m) }

// connect opens a connection from a to a listener of b's.
func connect(t *testing.T, a, b *user.Stack, at wire.Endpoint) (*half.Socket, *half.Socket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testhost.Patience)
	defer cancel()
	l, local, err := b.Listen(ctx, at, 10, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *half.Socket, 1)
	go func() {
		s, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- s
	}()
	c, err := a.Connect(ctx, wire.Endpoint{}, local)
	if err != nil {
		a.Dump(t.Output())
		b.Dump(t.Output())
		t.Fatal(err)
	}
	return c, <-accepted
}

func TestTwoHosts(t *testing.T) {
	for _, spin := range []string{"off", "default", "on"} {
		t.Run(spin, func(t *testing.T) {
			t.Setenv("USERTCP_SPIN", spin)
			hosts := testhost.Ring(t, 2)
			a, b := hosts[0].Attach(t), hosts[1].Attach(t)
			at := wire.Endpoint{Addr: wire.AddrFrom(hosts[1].Addr)}
			c, s := connect(t, a, b, at)
			defer c.Close()
			defer s.Close()
			if err := c.Options(func(o *tcp.ConnOptions) { o.NoDelay = 1 }); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			for range 1000 {
				if _, err := c.Write([]byte("ping")); err != nil {
					t.Fatal(err)
				}
				if n, err := s.Read(buf); err != nil || string(buf[:n]) != "ping" {
					t.Fatal(n, err)
				}
			}
		})
	}
}
