package nic_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"usertcp/internal/half"
)

// incoming has the kernel send data on a connection of its own, and returns our end.
func (h *host) incoming(l *half.Socket, data []byte) *half.Socket {
	h.t.Helper()
	k, err := h.net.Dial(&net.Dialer{Timeout: patience}, "tcp", net.JoinHostPort(our4, "80"))
	check(h.t, err)
	h.t.Cleanup(func() { k.Close() }) // our RST may be on its way when the wire goes, and the kernel waits for it
	s := h.accept(l)
	h.finished.Go(func() {
		k.Write(data)
		k.Close()
	})
	return s
}

// readAnyhow reads a stream to its end with buffers of any size: now and then it looks
// only, and where hasty is set waits are ended by deadlines. What a call returns has to
// be what comes next, whatever else is in its buffer.
func readAnyhow(t *testing.T, s *half.Socket, want []byte, seed uint64, hasty bool) {
	r := rand.New(rand.NewPCG(seed, 3))
	got := 0
	for {
		p := make([]byte, 1+r.IntN(200<<10))
		if hasty {
			check(t, s.SetDeadline(true, false, time.Now().Add(time.Duration(r.IntN(300))*time.Microsecond)))
		}
		look := r.IntN(5) == 0
		read := s.Read
		if look {
			read = s.Peek
		}
		n, err := read(p)
		if !bytes.Equal(p[:n], want[got:min(got+n, len(want))]) {
			t.Errorf("seed %d: wrong octets behind %d", seed, got)
			return
		}
		if !look {
			got += n
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if n > 0 {
				t.Errorf("seed %d: %d octets, and %v", seed, n, err)
				return
			}
			if r.IntN(20) == 0 {
				time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
			}
		case err == io.EOF:
			if got != len(want) {
				t.Errorf("seed %d: %d octets of %d", seed, got, len(want))
			}
			return
		case err != nil:
			t.Errorf("seed %d: %v behind %d octets", seed, err, got)
			return
		}
	}
}

// TestStreamsAreReadAnyhow: payloads land in the memory of readers, of whom one leads and
// the others follow, who run out of time, look only, and have other memory each time.
func TestStreamsAreReadAnyhow(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for _, row := range []struct {
		name    string
		mtu     int
		offload bool
		lose    uint32
		conns   int
		hasty   bool
	}{
		{"one", 1500, true, 0, 1, false},
		{"one, in a hurry", 1500, true, 0, 1, true},
		{"three", 1500, true, 0, 3, false},
		{"three, in a hurry, with losses", 1500, true, 150, 3, true},
		{"large packets", 65521, true, 0, 2, true},
		{"no offloads: checksums of ours", 9000, false, 0, 2, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHost(t, row.mtu, row.offload)
			l := h.listen(our4, 80)
			defer l.Close()
			var c half.Counters
			// Whether a reader waits for a whole packet when it comes is a matter of chance.
			for tries := uint64(0); tries == 0 || row.offload && c.Placed == 0 && tries < 30; tries++ {
				var readers sync.WaitGroup
				for k := range row.conns {
					seed := seed + 3*tries + uint64(k)
					data := octets(seed, 12<<20)
					s := h.incoming(l, data)
					check(t, s.SetDeadline(true, true, time.Now().Add(2*patience)))
					readers.Go(func() { readAnyhow(t, s, data, seed, row.hasty); s.Close() })
				}
				h.lose.Store(row.lose)
				readers.Wait()
				c = h.top.Usage().Counters
			}
			t.Logf("%d octets placed, %d packets in vain", c.Placed, c.PlaceMissed)
			if (c.Placed > 0) != row.offload {
				t.Errorf("%d octets placed", c.Placed)
			}
		})
	}
}

// A reader whose connection is closed under it comes back, and what has been placed for
// it by then is not written to any more.
func TestCloseUnderAReader(t *testing.T) {
	h := newHost(t, 1500, true)
	l := h.listen(our4, 80)
	defer l.Close()
	for n := range 10 {
		data := octets(uint64(n), 8<<20)
		s := h.incoming(l, data)
		done := make(chan int)
		go func() {
			got := 0
			for p := make([]byte, 64<<10); ; {
				k, err := s.Read(p)
				if !bytes.Equal(p[:k], data[got:got+k]) {
					t.Error("wrong octets")
				}
				got += k
				if err != nil {
					done <- got
					return
				}
				mark := bytes.Clone(p)
				time.Sleep(time.Microsecond)
				if !bytes.Equal(p, mark) {
					t.Error("a buffer that Read has given back was written to")
				}
			}
		}()
		time.Sleep(time.Duration(n) * time.Millisecond)
		s.Close()
		t.Logf("%d octets read", <-done)
	}
}

// A stream of the kernel's that is read as fast as it comes is let gather, and is whole.
func TestAStreamIsLetGather(t *testing.T) {
	h := newHost(t, 1500, true)
	l := h.listen(our4, 80)
	defer l.Close()
	// Whether the reader is faster than what comes is a matter of chance.
	for tries := uint64(1); tries <= 30 && h.rests.Load() == 0; tries++ {
		data := octets(tries, 24<<20)
		s := h.incoming(l, data)
		check(t, s.SetDeadline(true, true, time.Now().Add(2*patience)))
		got := make([]byte, 0, len(data))
		for p := make([]byte, 64<<10); ; {
			n, err := s.Read(p)
			if got = append(got, p[:n]...); err == io.EOF {
				break
			}
			check(t, err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d octets came, not the %d that were sent", len(got), len(data))
		}
		s.Close()
	}
	t.Logf("%d rests", h.rests.Load())
	if h.rests.Load() == 0 {
		t.Error("no packet was let gather")
	}
}
