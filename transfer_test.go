package usertcp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"usertcp/internal/user"
)

// group runs functions at once and gathers their errors.
type group struct {
	sync.WaitGroup
	mu  sync.Mutex
	err error
}

func (g *group) Go(f func() error) {
	g.WaitGroup.Go(func() {
		if err := f(); err != nil {
			g.mu.Lock()
			g.err = errors.Join(g.err, err)
			g.mu.Unlock()
		}
	})
}

func (g *group) Wait() error {
	g.WaitGroup.Wait()
	return g.err
}

// fill fills b with octets that a seed determines.
func fill(b []byte, seed uint64) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(b)
}

func equal(a, b []byte) bool { return bytes.Equal(a, b) }

// seeded returns a source of random numbers, and prints its seed if the test
// fails.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %#x", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// wantIdle waits until nothing of a payload is left in the segment.
func wantIdle(t *testing.T, stacks ...*user.Stack) {
	t.Helper()
	for _, s := range stacks {
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			u := s.Usage()
			if u.Idle() {
				break
			}
			if time.Now().After(end) {
				t.Errorf("left in the segment: %+v", u)
				s.Dump(t.Output())
				break
			}
		}
	}
}

// sendAll writes data in pieces of the sizes that next gives, and closes that
// direction.
func sendAll(c *Conn, data []byte, next func() int) error {
	for len(data) > 0 {
		n, err := c.Write(data[:min(next(), len(data))])
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return c.CloseWrite()
}

// receiveAll reads to the end in pieces of the sizes that next gives.
func receiveAll(c net.Conn, next func() int) ([]byte, error) {
	var got []byte
	for {
		b := make([]byte, next())
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
	}
}

func same(got, want []byte) error {
	if g, w := sha256.Sum256(got), sha256.Sum256(want); g != w {
		i := 0
		for i < len(got) && i < len(want) && got[i] == want[i] {
			i++
		}
		return fmt.Errorf("got %d octets, want %d; they differ from octet %d on", len(got), len(want), i)
	}
	return nil
}

func TestReaderAndWriterOfRandomSizes(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		r := seeded(t)
		sizes := func(r *rand.Rand, pause int) func() int {
			return func() int {
				if pause > 0 && r.IntN(pause) == 0 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
				}
				return 1 + r.IntN(1<<(1+r.IntN(16)))
			}
		}
		a, b := n.pair(t)
		data := make([]byte, scaled(10<<20))
		fill(data, r.Uint64())
		ra, rb := rand.New(rand.NewPCG(r.Uint64(), 1)), rand.New(rand.NewPCG(r.Uint64(), 2))
		var g group
		g.Go(func() error { return sendAll(a, data, sizes(ra, 0)) })
		g.Go(func() error {
			got, err := receiveAll(b, sizes(rb, 20))
			return errors.Join(err, same(got, data))
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		a.Close()
		b.Close()
		wantIdle(t, n.a, n.b)
	})
}

func TestBothDirectionsAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		if err := exchange(a, b, scaled(5<<20), 7); err != nil {
			t.Fatal(err)
		}
		a.Close()
		b.Close()
		wantIdle(t, n.a, n.b)
	})
}

// exchange sends size octets both ways at once and checks them.
func exchange(a, b *Conn, size int, seed uint64) error {
	var g group
	for _, way := range []struct {
		from, to *Conn
		seed     uint64
	}{{a, b, 2 * seed}, {b, a, 2*seed + 1}} {
		data := make([]byte, size)
		fill(data, way.seed)
		g.Go(func() error { return sendAll(way.from, data, func() int { return 40_000 }) })
		g.Go(func() error {
			got, err := receiveAll(way.to, func() int { return 16 << 10 })
			return errors.Join(err, same(got, data))
		})
	}
	return g.Wait()
}

func TestFiveHundredConnectionsAtOnce(t *testing.T) {
	conns := scaled(500)
	everywhere(t, func(t *testing.T, n *network) {
		l := listenVia(t, n.b, n.address)
		l.SetDeadline(time.Now().Add(60 * time.Second))
		var g group
		byPort := make(chan map[int]*Conn, 1)
		g.Go(func() error {
			accepted := map[int]*Conn{}
			defer func() { byPort <- accepted }()
			for range conns {
				c, err := l.Accept()
				if err != nil {
					return err
				}
				accepted[c.RemoteAddr().(*net.TCPAddr).Port] = c.(*Conn)
			}
			return nil
		})
		dialed := make([]*Conn, conns)
		for i := range conns {
			g.Go(func() (err error) {
				dialed[i], err = dialVia(n.a, l.Addr())
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		accepted := <-byPort
		for i, a := range dialed {
			b := accepted[a.local.Port]
			if b == nil {
				t.Fatalf("no connection was accepted from %v", a.local)
			}
			deadline := time.Now().Add(60 * time.Second)
			a.SetDeadline(deadline)
			b.SetDeadline(deadline)
			g.Go(func() error {
				defer a.Close()
				defer b.Close()
				if err := exchange(a, b, 50_000, uint64(i)); err != nil {
					return fmt.Errorf("connection %d: %w", i, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		wantIdle(t, n.a, n.b)
	})
}

func TestManySmallMessages(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		r := seeded(t)
		data := make([]byte, 200*100)
		fill(data, r.Uint64())
		sent, got := sha256.New(), sha256.New()
		var g group
		g.Go(func() error {
			for range scaled(100_000) {
				m := data[r.IntN(len(data)-200):][:1+r.IntN(200)]
				sent.Write(m)
				if _, err := a.Write(m); err != nil {
					return err
				}
			}
			return a.CloseWrite()
		})
		g.Go(func() error {
			_, err := io.Copy(got, b)
			return err
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if !equal(sent.Sum(nil), got.Sum(nil)) {
			t.Fatal("what was read is not what was written")
		}
		a.Close()
		b.Close()
		wantIdle(t, n.a, n.b)
	})
}

func TestWriterWaitsForTheReader(t *testing.T) {
	everywhere(t, func(t *testing.T, n *network) {
		a, b := n.pair(t)
		size := scaled(24 << 20)
		data := make([]byte, size)
		fill(data, 3)
		var written, err = 0, error(nil)
		a.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		for written < size && err == nil {
			var k int
			k, err = a.Write(data[written:min(size, written+300_000)])
			written += k
		}
		wantTimeout(t, err, "write")
		t.Logf("%.1f MiB were written before anything was read", float64(written)/(1<<20))
		if written > 6<<20 {
			t.Errorf("%d octets lie between writer and reader", written)
		}
		a.SetWriteDeadline(time.Now().Add(patience))
		b.SetReadDeadline(time.Now().Add(patience))
		var g group
		g.Go(func() error { return sendAll(a, data[written:], func() int { return 1 << 20 }) })
		g.Go(func() error {
			got, err := io.ReadAll(b)
			return errors.Join(err, same(got, data))
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		a.Close()
		b.Close()
		wantIdle(t, n.a, n.b)
	})
}
