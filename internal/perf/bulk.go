package perf

import (
	"errors"
	"fmt"
	"io"
	"net"
)

// minReceiveBuffer is what a receiver of small messages reads at once, as any
// program does that wants throughput; octets. The kernel's default receive
// buffer would be twice that, which makes no difference to either stack.
const minReceiveBuffer = 64 << 10

// sendMessages writes messages of the setup's size until the crew is stopped,
// then ends the direction.
func (c *crew) sendMessages(s *Setup, conn net.Conn, sent *counter) error {
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
