package testnet

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// Two kernels talk over a bad wire: the data arrives, and the wire was bad.
func TestFaultyWire(t *testing.T) {
	a, b := New(t), New(t)
	seed := rand.Uint64()
	fate := Faulty(Wire{A: End{a, "fa", []string{"10.9.0.1/24"}}, B: End{b, "fb", []string{"10.9.0.2/24"}}, MTU: 1400},
		Faults{Seed: seed, Drop: 0.02, Duplicate: 0.1, Reorder: 0.1})
	l := b.Listen("tcp", "10.9.0.2:0")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	sum := make(chan [32]byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		all, _ := io.ReadAll(c)
		sum <- sha256.Sum256(all)
	}()
	c, err := a.Dial(&net.Dialer{Timeout: 20 * time.Second}, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Write(data)
	c.Close()
	select {
	case got := <-sum:
		if got != sha256.Sum256(data) {
			t.Error("other data has arrived")
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the data does not arrive, seed %d", seed)
	}
	if fate.Dropped.Load() == 0 || fate.Duplicated.Load() == 0 || fate.Reordered.Load() == 0 || fate.Passed.Load() < 300 {
		t.Errorf("seed %d: passed %d, dropped %d, duplicated %d, reordered %d", seed,
			fate.Passed.Load(), fate.Dropped.Load(), fate.Duplicated.Load(), fate.Reordered.Load())
	}
}

// carried returns the numbers of the frames that come out when n go in.
func carried(t *testing.T, f Faults, n int) (out []byte) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := &carrier{faults: f, fate: &Fate{}, to: w, random: rand.New(rand.NewPCG(f.Seed, 0))}
	for i := range n {
		c.carry([]byte{byte(i)})
	}
	c.let()
	w.Close()
	out, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The seed decides the fate of each frame, and each fault does what its name says.
func TestFateComesFromTheSeed(t *testing.T) {
	all := Faults{Seed: 1, Drop: 0.1, Duplicate: 0.1, Reorder: 0.1}
	first, second := carried(t, all, 200), carried(t, all, 200)
	if !bytes.Equal(first, second) {
		t.Error("one seed, two fates")
	}
	all.Seed = 2
	if bytes.Equal(first, carried(t, all, 200)) {
		t.Error("two seeds, one fate")
	}
	in := carried(t, Faults{}, 200)
	if len(in) != 200 || !slices.IsSorted(in) {
		t.Errorf("without faults: %v", in)
	}
	if out := carried(t, Faults{Drop: 0.1}, 200); len(out) == 200 || len(out) < 150 || !slices.IsSorted(out) {
		t.Errorf("dropping: %d of 200", len(out))
	}
	if out := carried(t, Faults{Duplicate: 0.1}, 200); len(out) < 205 || len(out) > 250 || !slices.IsSorted(out) {
		t.Errorf("duplicating: %d of 200", len(out))
	}
	out := carried(t, Faults{Reorder: 0.1}, 200)
	if slices.IsSorted(out) || len(out) != 200 {
		t.Errorf("reordering: %v", out)
	}
	slices.Sort(out)
	if !bytes.Equal(in, out) {
		t.Error("reordering loses frames")
	}
}
