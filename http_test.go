package usertcp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
)

// serveHTTP answers with the hash of what is posted.
func serveHTTP(t *testing.T, l net.Listener) {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%x", h.Sum(nil))
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
}

func TestHTTPOverSixtyFourConnectionsKeptAlive(t *testing.T) {
	const conns = 64
	requests := int64(scaled(20))
	everywhere(t, func(t *testing.T, n *network) {
		l := listenVia(t, n.b, n.address)
		serveHTTP(t, l)
		var dials, reused atomic.Int64
		tr := &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return dialVia(n.a, l.Addr())
			},
			MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns,
		}
		t.Cleanup(tr.CloseIdleConnections) // before the server shuts down
		client := &http.Client{Transport: tr, Timeout: patience}
		trace := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			GotConn: func(i httptrace.GotConnInfo) {
				if i.Reused {
					reused.Add(1)
				}
			},
		})
		var g group
		for i := range conns {
			g.Go(func() error {
				body := make([]byte, 10_000+i)
				for k := range int(requests) {
					fill(body, uint64(i*100+k))
					if err := post(trace, client, "http://"+l.Addr().String(), body); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if d, r := dials.Load(), reused.Load(); d > conns || r < conns*(requests-1) {
			t.Errorf("%d connections for %d clients, reused %d times", d, conns, r)
		}
	})
}

func post(ctx context.Context, client *http.Client, url string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(body); string(got) != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("answer %q, want the hash of what was posted", got)
	}
	return nil
}
