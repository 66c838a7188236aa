package usertcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

func init() {
	testhost.Register(map[string]func(args []string) error{"call": programCall})
}

// programCall FROM TO connects between two ends, reads until the other one closes, and
// closes. Then it ends, or goes on until it is told to.
func programCall(args []string) error {
	from, err := net.ResolveTCPAddr("tcp", args[0])
	if err != nil {
		return err
	}
	d := Dialer{LocalAddr: from, Timeout: patience}
	begun := time.Now()
	c, err := d.Dial("tcp", args[1])
	for errors.Is(err, syscall.EADDRINUSE) && time.Since(begun) < patience { // of the program before, a moment ago
		c, err = d.Dial("tcp", args[1])
	}
	if err != nil {
		return err
	}
	took := time.Since(begun)
	if _, err := io.ReadAll(c); err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	say("called %d", took.Milliseconds())
	hear()
	return nil
}

// Of the connections of one program after the other, all from one port, the side that does
// not dial is in TIME-WAIT for a minute: each program still gets through, whatever its
// numbers and timestamps are, before it would have asked for the second time.
func TestDialsIntoTimeWait(t *testing.T) {
	for _, alive := range []bool{false, true} {
		t.Run(fmt.Sprintf("callers alive %v", alive), func(t *testing.T) {
			_, socket := peers(t)
			l, err := Listen("tcp", "10.1.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					c.Close()
				}
			}()
			for range 8 {
				p := testhost.Run(t, socket, "call", "10.1.0.2:45000", l.Addr().String())
				t.Logf("after %s ms", p.Want("called"))
				if !alive {
					p.Say("end")
					p.Wait()
				}
			}
		})
	}
}
