package user_test

import (
	"bytes"
	"io"
	"testing"

	"usertcp/internal/half"
	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/wire"
)

// Hosts that agree on the CRC have circuits; those that do not exchange frames,
// more slowly, and data arrives all the same.
func TestHostsWithAndWithoutCRC(t *testing.T) {
	for name, crc := range map[string][2]bool{"both with": {true, true}, "one with": {true, false}, "the other with": {false, true}} {
		t.Run(name, func(t *testing.T) {
			dir := testhost.Dir(t)
			var hosts [2]*testhost.Host
			for i := range hosts {
				hosts[i] = testhost.StartWith(t, dir, func(c *server.Config) { c.CRC = crc[i] }, testhost.Addrs(i+1)...)
			}
			a, b := hosts[0].Attach(t), hosts[1].Attach(t)
			c, s := connect(t, a, b, wire.Endpoint{Addr: wire.AddrFrom(hosts[1].Addr)})
			echoes(t, c, s, bytes.Repeat([]byte("0123456789abcdef"), 4096))
		})
	}
}

// echoes sends data from c to s and back.
func echoes(t *testing.T, c, s *half.Socket, data []byte) {
	t.Helper()
	go func() {
		defer s.Close()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d octets arrived, want %d: %v", len(got), len(data), err)
		}
		if _, err := s.Write(got); err != nil {
			t.Error(err)
		}
	}()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d octets came back, want %d: %v", len(got), len(data), err)
	}
	c.Close()
}
