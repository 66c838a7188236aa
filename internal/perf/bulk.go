package perf

import (
	"errors"
	"fmt"
	"io"
	"net"
)

// minReceiveBuffer is what a receiver reads at once, however small the messages
// are, as any program does that wants throughput; octets. It is the kernel's
// default receive buffer, which netperf reads with, too.
const minReceiveBuffer = 128 << 10

// sendMessages writes messages of the setup's size until the crew is stopped,
// then ends the direction.
func (c *crew) sendMessages(s *Setup, conn net.Conn, sent *counter) error {
	if !s.NoDelay {
		if err := allowDelay(conn); err != nil {
			return err
		}
	}
	message := make([]byte, s.Size)
	for !c.stop.Load() {
		n, err := conn.Write(message)
		sent.n.Add(int64(n))
		if err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
	return closeWrite(conn)
}

// allowDelay turns Nagle's algorithm on, which Go turns off, as netperf has it:
// with small messages the kernel is three times as fast with it.
func allowDelay(conn net.Conn) error {
	if c, ok := conn.(interface{ SetNoDelay(bool) error }); ok {
		return c.SetNoDelay(false)
	}
	return nil
}

// receiveMessages reads to the end of file.
func receiveMessages(s *Setup, conn net.Conn, received *counter) error {
	buffer := make([]byte, max(s.Size, minReceiveBuffer))
	for {
		n, err := conn.Read(buffer)
		received.n.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
	}
}
