package nic_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
)

// One way from the kernel and from another program, to a reader with memory for more
// than a packet: most of it lands there at once, unless the server was told otherwise.
func TestPayloadsLandInTheReadersMemory(t *testing.T) {
	for _, how := range []string{"placed", "single", "normal"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			na, nb := testnet.New(t), testnet.New(t)
			testnet.Pair(na, nb, 1500)
			a, b := newHost(t, na, "va"), newHost(t, nb, "vb", fmt.Sprintf(`{"Copies":%q}`, how))
			ub := b.attach()
			l, at := listen(t, ub, end(testnet.PairB4, 0))
			for k, dialled := range []func() (stream, error){
				func() (stream, error) { return kernelDial(a.Namespace, at) },
				func() (stream, error) { return dial(a.attach(), at) },
			} {
				before := ub.Usage().Counters
				c, err := dialled()
				check(t, err)
				s, err := l.Accept()
				check(t, err)
				const total = 16 << 20
				data := octets(uint64(k), total)
				go func() { c.Write(data); c.Close() }()
				wantStream(t, s, data)
				now := ub.Usage().Counters
				placed, copied := now.Placed-before.Placed, now.Copied-before.Copied
				t.Logf("%d octets placed, %d copied once more, %d packets in vain", placed, copied, now.PlaceMissed-before.PlaceMissed)
				switch {
				case (placed > total/8) != (how == "placed"):
					t.Errorf("%d octets placed of %d", placed, total)
				case (copied > total/2) != (how == "normal"):
					t.Errorf("%d octets copied once more", copied)
				}
			}
		})
	}
}

// wantStream reads data to its end, with the memory for a packet and more.
func wantStream(t *testing.T, s *half.Socket, data []byte) {
	t.Helper()
	check(t, s.SetDeadline(true, true, time.Now().Add(patience)))
	p := make([]byte, 128<<10)
	for got := 0; ; {
		n, err := s.Read(p)
		if !bytes.Equal(p[:n], data[got:min(got+n, len(data))]) {
			t.Fatalf("wrong octets behind %d", got)
		}
		if got += n; err != nil {
			if err != io.EOF || got != len(data) {
				t.Fatalf("%d octets of %d: %v", got, len(data), err)
			}
			s.Close()
			return
		}
	}
}

// Many streams at once, to readers in one program that lead and follow by turns: each gets
// its own octets.
func TestStreamsBesideEachOtherArePlaced(t *testing.T) {
	a, b := pair(t, 1500)
	ub := b.attach()
	l, at := listen(t, ub, end(testnet.PairB4, 0))
	ua := a.attach()
	var names []string
	done := make(chan string)
	for k := range 8 {
		var c stream
		var err error
		if k%2 == 0 {
			c, err = kernelDial(a.Namespace, at)
		} else {
			c, err = dial(ua, at)
		}
		check(t, err)
		s, err := l.Accept()
		check(t, err)
		data := octets(uint64(k), 4<<20)
		go func() { c.Write(data); c.Close() }()
		go func() {
			p := make([]byte, 70<<10)
			got := 0
			for {
				n, err := s.Read(p)
				if !bytes.Equal(p[:n], data[got:min(got+n, len(data))]) {
					done <- fmt.Sprintf("stream %d: wrong octets behind %d", k, got)
					return
				}
				if got += n; err != nil {
					if err != io.EOF || got != len(data) {
						done <- fmt.Sprintf("stream %d: %d octets: %v", k, got, err)
					} else {
						done <- ""
					}
					s.Close()
					return
				}
			}
		}()
	}
	for range 8 {
		select {
		case s := <-done:
			if s != "" {
				names = append(names, s)
			}
		case <-time.After(patience):
			t.Fatal("the streams do not end")
		}
	}
	if len(names) > 0 {
		t.Error(names)
	}
	now := ub.Usage().Counters
	t.Logf("%d octets placed of %d, %d packets in vain", now.Placed, 8*4<<20, now.PlaceMissed)
}
