package testnet

import (
	"bytes"
	"io"
	"sync"
	"testing"
)

// Stream is what a connection of either stack can do.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Exchange sends octets both ways at once, wants them whole, and closes both ends. a is
// the one that connected.
func Exchange(t testing.TB, a, b Stream, fromA, fromB []byte) {
	t.Helper()
	var g sync.WaitGroup
	one := func(name string, s Stream, send, want []byte) {
		g.Go(func() {
			if _, err := s.Write(send); err != nil {
				t.Errorf("%s: writing: %v", name, err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Errorf("%s: closing: %v", name, err)
			}
		})
		g.Go(func() {
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d octets, want %d: %v", name, len(got), len(want), err)
			}
		})
	}
	one("the one that connected", a, fromA, fromB)
	one("the one that accepted", b, fromB, fromA)
	g.Wait()
	a.Close()
	b.Close()
}
