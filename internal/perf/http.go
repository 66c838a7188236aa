package perf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// The HTTP test: GET requests over HTTP/1.1 connections that stay, with net/http on
// both sides as any program has it. Each of the client's workers sends its next
// request when it has the response's last octet; Transport and http.Server give each
// a connection.

// httpPath is what the client asks for.
const httpPath = "/body"

// newTransport opens at most one connection for each worker, and keeps all of them.
func (t *clientTest) newTransport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			conn, err := t.Stack.Dial(ctx, addr)
			if err != nil {
				return nil, err
			}
			return conn, t.crew.adopt(conn)
		},
		MaxConnsPerHost:     t.setup.Conns,
		MaxIdleConnsPerHost: t.setup.Conns,
		DisableCompression:  true, // the body is to be Size octets on the wire, too
	}
}

// get repeats requests until the crew is stopped.
func (r *requester) get(ctx context.Context, rt http.RoundTripper, addr string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+httpPath, nil)
	if err != nil {
		return err
	}
	began := time.Now()
	for !r.crew.stop.Load() {
		response, err := rt.RoundTrip(request)
		if err != nil {
			return fmt.Errorf("HTTP: %w", err)
		}
		if err := r.readBody(response); err != nil {
			return err
		}
		began = r.finish(began)
	}
	return nil
}

// readBody reads a response to its end, which is what gives the connection back.
func (r *requester) readBody(response *http.Response) error {
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP: the server says %q", response.Status)
	}
	if _, err := io.ReadFull(response.Body, r.buffer); err != nil {
		return fmt.Errorf("HTTP: receiving a body: %w", err)
	}
	if n, err := response.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("HTTP: behind a body of %d octets: %d more, %v", len(r.buffer), n, err)
	}
	return nil
}

// serveHTTP answers requests until the listener is closed. Each connection has a
// counter to itself as long as there are no more of them than counters.
func (c *crew) serveHTTP(s *Setup, l net.Listener, counters []counter) error {
	var next atomic.Uint64
	srv := &http.Server{
		Handler: respondHTTP(make([]byte, s.Size)),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			i := (next.Add(1) - 1) % uint64(len(counters))
			return context.WithValue(ctx, counterKey{}, &counters[i])
		},
		ReadHeaderTimeout: patience,
	}
	defer srv.Close()
	if err := srv.Serve(adopting{l, c}); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// counterKey finds a connection's counter in the context of its requests.
type counterKey struct{}

// respondHTTP answers every request with the body. A request counts before its
// response can reach the client, so that both have the same count in the end.
func respondHTTP(body []byte) http.Handler {
	length := strconv.Itoa(len(body))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(counterKey{}).(*counter).n.Add(1)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", length)
		w.Write(body)
	})
}

// adopting is a listener whose connections are the crew's.
type adopting struct {
	net.Listener
	crew *crew
}

func (a adopting) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return conn, a.crew.adopt(conn)
}
