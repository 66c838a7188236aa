package perf

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// getFrom runs one worker of the HTTP test against a handler until it fails, or has
// had enough responses.
func getFrom(t *testing.T, size int, h http.Handler) (transactions int64, err error) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	setup := setupOf(size)
	setup.Test = HTTP
	c := newCrew(time.Minute, nil)
	defer c.closeAll()
	m := newMeter("client", 1, alone)
	test := &clientTest{Client: &Client{alone}, setup: setup, crew: c, meter: m, recorder: newRecorder()}
	rt := test.newTransport()
	defer rt.CloseIdleConnections()
	r := test.newRequester(0)
	c.hire(func() error { return r.get(t.Context(), rt, srv.Listener.Addr().String()) })
	for deadline := time.Now().Add(time.Minute); m.total() < 20 && !c.stop.Load() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	c.stop.Store(true)
	return m.total(), c.wait()
}

func TestHTTPKeepsItsConnections(t *testing.T) {
	conns := map[string]bool{}
	n, err := getFrom(t, 3, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns[r.RemoteAddr] = true
		if r.URL.Path != httpPath || r.ProtoMajor != 1 || r.ProtoMinor != 1 {
			t.Errorf("request for %s, %s", r.URL.Path, r.Proto)
		}
		io.WriteString(w, "abc")
	}))
	if err != nil || n < 20 || len(conns) != 1 {
		t.Errorf("%d transactions over %d connections, %v; want at least 20 over one", n, len(conns), err)
	}
}

func TestHTTPChecksWhatItGets(t *testing.T) {
	for want, h := range map[string]http.HandlerFunc{
		"says \"404 Not Found\"":                http.NotFound,
		"behind a body of 3 octets: 1 more":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "abcd") },
		"receiving a body: unexpected EOF":      func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ab") },
		"malformed HTTP status code":            sayRaw("HTTP/1.1 hello\r\n\r\n"),
		"HTTP: receiving a body: unexpected EO": sayRaw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"),
	} {
		n, err := getFrom(t, 3, h)
		if err == nil || !strings.Contains(err.Error(), want) || n != 0 {
			t.Errorf("%d transactions, error %v, want %q", n, err, want)
		}
	}
}

// sayRaw answers with octets of the test's own, and closes.
func sayRaw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(conn, answer)
		conn.Close()
	}
}

func TestHTTPServerEndsWithItsListener(t *testing.T) {
	l, err := newKernelStack().Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := newCrew(time.Minute, l)
	counters := make([]counter, 2)
	c.hire(func() error { return c.serveHTTP(setupOf(5), l, counters) })
	for range 3 { // connections: the third shares a counter
		body, err := getOnce("http://" + l.Addr().String())
		if err != nil || len(body) != 5 {
			t.Errorf("body %q, %v", body, err)
		}
	}
	if a, b := counters[0].n.Load(), counters[1].n.Load(); a != 2 || b != 1 {
		t.Errorf("counted %d and %d, want 2 and 1", a, b)
	}
	l.Close()
	if err := c.wait(); err != nil {
		t.Errorf("error %v", err)
	}
}

// getOnce asks over a connection of its own.
func getOnce(url string) ([]byte, error) {
	rt := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: rt, Timeout: time.Minute}).Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

func TestHTTPServerFailsWithItsListener(t *testing.T) {
	l := refusing{errors.New("no more")}
	if err := newCrew(time.Minute, nil).serveHTTP(setupOf(1), l, make([]counter, 1)); !errors.Is(err, l.err) {
		t.Errorf("error %v", err)
	}
}

// refusing is a listener that fails.
type refusing struct{ err error }

func (r refusing) Accept() (net.Conn, error) { return nil, r.err }
func (r refusing) Close() error              { return nil }
func (r refusing) Addr() net.Addr            { return nil }
