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
	"usertcp/internal/wire"
)

// Programs one after the other connect from one port to an end that closes first, and so is
// in TIME-WAIT for a minute, in the kernel or in a program's child: each gets through,
// whatever its numbers and timestamps are, before it would have asked for the second time.
// So does the kernel where TIME-WAIT is ours.
func TestDialsIntoTimeWait(t *testing.T) {
	a, b := pair(t, 1500)
	lk := b.Listen("tcp", net.JoinHostPort(testnet.PairB4, "0"))
	go closeAll(func() (io.Closer, error) { return lk.Accept() })
	lu, at := listen(t, b.attach(), end(testnet.PairB4, 80))
	check(t, lu.SetDeadline(true, true, time.Time{}))
	go closeAll(func() (io.Closer, error) { return lu.Accept() })
	for i, to := range []wire.Endpoint{wire.EndpointFrom(lk.Addr().(*net.TCPAddr).AddrPort()), at} {
		t.Run(fmt.Sprintf("user to %v", []string{"kernel", "user"}[i]), func(t *testing.T) {
			from := end(testnet.PairA4, 45000+i)
			for range 8 {
				s := a.attach()
				begun := time.Now()
				var c *half.Socket
				within(t, "its port is free", func() (ok bool) {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					var err error
					begun = time.Now()
					if c, err = s.Connect(ctx, from, to); !errors.Is(err, syscall.EADDRINUSE) {
						check(t, err)
					}
					return err == nil
				})
				info, err := c.Info()
				check(t, err)
				if t.Logf("after %v", time.Since(begun)); info.Timeouts > 0 {
					t.Errorf("the SYN that got through is the timer's")
				}
				_, err = io.ReadAll(c)
				check(t, err)
				check(t, c.Close())
				check(t, s.Close())
			}
		})
	}
}

// closeAll closes what comes at once.
func closeAll(accept func() (io.Closer, error)) {
	for {
		c, err := accept()
		if err != nil {
			return
		}
		c.Close()
	}
}
