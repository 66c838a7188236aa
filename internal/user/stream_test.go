package user_test

import (
	"io"
	"testing"

	"usertcp/internal/tcp"
	"usertcp/internal/testhost"
	"usertcp/internal/wire"
)

// A writer that found no buffer asked for one each time somebody looked whether
// it had one yet, and kept only the last: after a few hundred megabytes in small
// messages all buffers were lost, and it waited for ever.
func TestAWriterThatWaitsReservesOnce(t *testing.T) {
	hosts := testhost.Ring(t, 2)
	a, b := hosts[0].Attach(t), hosts[1].Attach(t)
	c, s := connect(t, a, b, wire.Endpoint{Addr: wire.AddrFrom(hosts[1].Addr)})
	defer s.Close()
	if err := c.Options(func(o *tcp.ConnOptions) { o.NoDelay = 1 }); err != nil {
		t.Fatal(err)
	}
	const messages, size = 300_000, 1024
	go func() {
		defer c.Close()
		p := make([]byte, size)
		for range messages {
			if _, err := c.Write(p); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	got, buf := 0, make([]byte, 128<<10)
	for {
		n, err := s.Read(buf)
		got += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got != messages*size {
		t.Errorf("%d octets arrived, want %d", got, messages*size)
	}
}
