package testnet

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Faults are what a faulty wire does to frames, each with a probability.
type Faults struct {
	Seed                     uint64 // the same seed, the same fate for the n-th frame of a direction
	Drop, Duplicate, Reorder float64
	Delay                    time.Duration // of every frame
}

// Fate counts what has become of frames.
type Fate struct{ Passed, Dropped, Duplicated, Reordered atomic.Uint64 }

// holdBack is how many frames overtake one that is reordered, at most, and holdFor how
// long it waits for them.
const (
	holdBack = 3
	holdFor  = 5 * time.Millisecond
)

// Faulty makes a wire like Join, of two TAPs whose frames this process carries from one
// to the other, with faults. Frames have the MTU's size, and complete checksums.
func Faulty(w Wire, f Faults) *Fate {
	t := w.A.In.t
	t.Helper()
	a, b := makeTAP(w.A, w.MTU), makeTAP(w.B, w.MTU)
	fate := &Fate{}
	var running sync.WaitGroup
	for i, way := range [][2]*os.File{{a, b}, {b, a}} {
		c := &carrier{faults: f, fate: fate, from: way[0], to: way[1], random: rand.New(rand.NewPCG(f.Seed, uint64(i)))}
		running.Go(c.run)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed of the faulty wire: %d", f.Seed)
		}
		a.Close()
		b.Close()
		running.Wait()
	})
	return fate
}

// makeTAP makes one end of a faulty wire.
func makeTAP(e End, mtu int) *os.File {
	t := e.In.t
	t.Helper()
	var f *os.File
	e.In.Do(func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		req, err := unix.NewIfreq(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			t.Fatal(err)
		}
		f = os.NewFile(uintptr(fd), e.Name)
	})
	if mtu != 0 {
		e.In.MTU(e.Name, mtu)
	}
	e.In.link(e.Name, func(l netlink.Link) error { return netlink.LinkSetTxQLen(l, 10000) })
	for _, a := range e.Addrs {
		e.In.AddAddr(e.Name, a)
	}
	e.In.Up(e.Name)
	return f
}

// carrier carries the frames of one direction.
type carrier struct {
	faults   Faults
	fate     *Fate
	random   *rand.Rand
	from, to *os.File

	held  []byte // the frame that others overtake, or nil
	after int    // how many have still to
}

func (c *carrier) run() {
	buf := make([]byte, 1<<16+14)
	for {
		if c.held != nil {
			c.from.SetReadDeadline(time.Now().Add(holdFor))
		} else {
			c.from.SetReadDeadline(time.Time{})
		}
		n, err := c.from.Read(buf)
		if os.IsTimeout(err) {
			c.let()
			continue
		}
		if err != nil {
			return
		}
		c.carry(buf[:n])
	}
}

// carry decides what becomes of a frame. Each takes the same number of draws, so that
// the fate of one says nothing of the next.
func (c *carrier) carry(frame []byte) {
	drop, twice, later := c.random.Float64(), c.random.Float64(), c.random.Float64()
	depth := 1 + c.random.IntN(holdBack)
	if drop < c.faults.Drop {
		c.fate.Dropped.Add(1)
		return
	}
	if later < c.faults.Reorder && c.held == nil {
		c.held, c.after = append([]byte{}, frame...), depth
		c.fate.Reordered.Add(1)
		return
	}
	c.write(frame)
	if twice < c.faults.Duplicate {
		c.fate.Duplicated.Add(1)
		c.write(frame)
	}
	if c.after--; c.held != nil && c.after <= 0 {
		c.let()
	}
}

// let lets the frame go that was held back.
func (c *carrier) let() {
	if c.held != nil {
		c.write(c.held)
		c.held = nil
	}
}

// write gives a frame to the other end, whose namespace takes it or not.
func (c *carrier) write(frame []byte) {
	if c.faults.Delay > 0 {
		late := append([]byte{}, frame...)
		time.AfterFunc(c.faults.Delay, func() { c.to.Write(late) })
	} else {
		c.to.Write(frame)
	}
	c.fate.Passed.Add(1)
}
