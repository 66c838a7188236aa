package nic_test

import (
	"bytes"
	"io"
	"testing"
)

// Over a device, too, a call allocates nothing once a connection is at work: neither
// writing, nor reading, nor sleeping until the kernel's TCP has answered.
func TestReadAndWriteAllocateNothingOverADevice(t *testing.T) {
	h := newHost(t, 1500, true)
	c, k := connected(t, h)
	defer c.Close()
	go func() {
		defer k.Close()
		for b := make([]byte, 64<<10); ; {
			n, err := k.Read(b)
			if err != nil {
				return
			}
			if _, err := k.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	for _, size := range []int{1, 2048, 64 << 10} {
		out, in := bytes.Repeat([]byte{byte(size>>8 + 1)}, size), make([]byte, size)
		turn := func() {
			if _, err := c.Write(out); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, in); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			turn()
		}
		if n := testing.AllocsPerRun(200, turn); n != 0 {
			t.Errorf("%d octets there and back: %v allocations", size, n)
		}
		if !bytes.Equal(in, out) {
			t.Errorf("%d octets: others than those written", size)
		}
	}
}
