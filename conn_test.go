package usertcp

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"usertcp/internal/testhost"
)

func TestMain(m *testing.M) { testhost.Main(m) }

// useHost makes the process use a connection server of the test's.
func useHost(t testing.TB) *testhost.Host {
	h := testhost.Ring(t, 1)[0]
	useServer(t, h.Socket)
	return h
}

// useServer makes the process use the connection server at socket until the
// test ends.
func useServer(t testing.TB, socket string) {
	t.Setenv("USERTCP_SERVER", socket)
	t.Cleanup(func() {
		process.Lock()
		defer process.Unlock()
		for _, s := range process.shards {
			if s != nil {
				s.Close()
			}
		}
		process.shards, process.want = nil, 0
	})
}

// pair returns both ends of a connection.
func pair(t testing.TB) (c1, c2 net.Conn) {
	t.Helper()
	l, err := Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr)
	addr.IP = net.IPv4(10, 1, 0, 1)
	ch := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		ch <- c
	}()
	c1, err = DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	return c1, <-ch
}

func TestEcho(t *testing.T) {
	useHost(t)
	a, b := pair(t)
	defer a.Close()
	defer b.Close()
	data := make([]byte, 3<<20)
	rand.Read(data)
	go func() {
		io.Copy(b, b)
		b.Close()
	}()
	go func() {
		a.Write(data)
		a.(*Conn).CloseWrite()
	}()
	got, err := io.ReadAll(a)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("got %d octets, want %d, or they differ", len(got), len(data))
	}
}

func TestNettest(t *testing.T) {
	useHost(t)
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = pair(t)
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}
