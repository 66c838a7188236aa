package perf

import (
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzSetupMessage sends anything to a server: it answers with an offer that has
// an error, or with one of a test that keeps the limits.
func FuzzSetupMessage(f *testing.F) {
	for _, seed := range []string{
		`{"usertcp_perf":1,"setup":{"test":"rr","size":1,"conns":1,"time_ns":10000000,"warmup_ns":0}}`,
		`{"usertcp_perf":1,"setup":{"test":"stream","size":16777216,"conns":1024,"time_ns":3600000000000}}`,
		`{"usertcp_perf":2}`, `[]`, `{`, "\x00", `{"setup":{"time_ns":1e99}}`,
	} {
		f.Add([]byte(seed))
	}
	s := &Server{Stack: newKernelStack()}
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := net.Pipe()
		defer client.Close()
		go func() {
			client.Write(b)
			client.Close()
		}()
		setup, l, err := s.begin(t.Context(), newControl(addressed{server}))
		io.Copy(io.Discard, server)
		if err != nil {
			return
		}
		l.Close()
		if setup.Size > MaxSize || setup.Conns > MaxConns || setup.Time > MaxTime || setup.Warmup > MaxTime || setup.duration() < 0 {
			t.Errorf("%q was accepted as %+v", b, setup)
		}
	})
}

// addressed is a pipe with the address of a TCP connection.
type addressed struct{ net.Conn }

func (addressed) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// FuzzServerMessages sends anything to a client after its setup: it ends with an
// error or a report, and soon.
func FuzzServerMessages(f *testing.F) {
	f.Add([]byte(`{"data":"127.0.0.1:1","stack":"kernel"}` + "\n{}\n" + `{"total":1,"window":{"seconds":1}}`))
	f.Add([]byte(`{"error":"no"}`))
	f.Add([]byte(`{"data":"","stack":"kernel"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var (
			o   offer
			r   ready
			res result
		)
		client, server := net.Pipe()
		defer client.Close()
		go func() { server.Write(b); server.Close() }()
		ctl := newControl(client)
		for _, m := range []any{&o, &r, &res} {
			if err := ctl.receive("a message", 5*time.Second, m); err != nil {
				return
			}
		}
		if _, err := json.Marshal(res); err != nil {
			t.Errorf("%q: a result that cannot be reported: %v", b, err)
		}
	})
}
