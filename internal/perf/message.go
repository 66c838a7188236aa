package perf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// protocolVersion changes when the messages below do.
const protocolVersion = 1

// The messages on a control connection, in their order.
type (
	// setupMessage is the client's first.
	setupMessage struct {
		Version int   `json:"usertcp_perf"`
		Setup   Setup `json:"setup"`
	}
	// offer is the server's answer.
	offer struct {
		Error string `json:"error,omitempty"` // then nothing follows
		Data  string `json:"data"`            // where to open the data connections
		Stack string `json:"stack"`
	}
	// ready tells that the data connections have been accepted.
	ready struct {
		Error string `json:"error,omitempty"`
	}
	// done tells that the client has closed its data connections.
	done struct {
		Total int64 `json:"total"` // octets or transactions, warm-up and slack included
	}
	// result is what the server saw.
	result struct {
		Error  string `json:"error,omitempty"`
		Total  int64  `json:"total"` // as in done
		Window window `json:"window"`
	}
)

// control is one end of a control connection.
type control struct {
	conn net.Conn
	dec  *json.Decoder
}

// maxControl is the most that a peer may say on a control connection, in octets.
const maxControl = 1 << 20

func newControl(conn net.Conn) *control {
	return &control{conn: conn, dec: json.NewDecoder(io.LimitReader(conn, maxControl))}
}

// send writes one message, named what in errors.
func (c *control) send(what string, m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// receive reads one message, named what in errors.
func (c *control) receive(what string, limit time.Duration, m any) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	err := c.dec.Decode(m)
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the other side closed the connection instead of sending %s", what)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("waited %v for %s: %w", limit, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// peerError turns the text of a message's error member into an error.
func peerError(text string) error {
	if text == "" {
		return nil
	}
	return fmt.Errorf("the other side: %s", text)
}
