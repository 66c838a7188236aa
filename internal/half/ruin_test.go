package half

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// jail is an Outside that wants to know of a ruined segment.
type jail struct {
	*crashHost
	ruined error
}

func (j *jail) Ruined(err error) { j.ruined = err }

// cell is a host whose segment is ruined again and again, as a hostile program would
// do it: nobody but its own child may notice, and that only in good order.
type cell struct {
	w    *crashWorld
	good [3]*memory // of host a, before anybody ruined it
	base *crashBase
	jail *jail
}

func newCell(t testing.TB) *cell {
	w := newCrashWorld(t, false)
	c := &cell{w: w, base: prepareBase(w)}
	c.base.send(w, 9000)
	c.base.write(w, 30000)
	for k := range c.good {
		c.good[k] = w.a.mem[k].saved()
	}
	return c
}

// reset puts everything back, and makes the child anew.
func (c *cell) reset(t testing.TB) {
	a := c.w.a
	for k := range c.good {
		a.mem[k].become(c.good[k])
	}
	c.jail = &jail{crashHost: a}
	var err error
	a.bottom, err = NewBottom(a.cfg, c.jail)
	check(t, err)
}

// live has the child do all that it does on a segment, in one order or another. It
// reports how long the longest call took, and what the child thought of the segment.
func (c *cell) live(r *rand.Rand) (longest time.Duration, err error) {
	b := c.w.a.bottom
	to := wire.Endpoint{Addr: c.w.b.addr, Port: 9}
	if b.lock.Holder() != shm.Nobody { // a living program may keep it as long as it likes
		b.Look(true)
		b.ProgramEnded(func() bool { return true })
	}
	for range 12 {
		began := time.Now()
		switch r.IntN(7) {
		case 0:
			b.Connect(r.Uint32N(8), wire.Flow{Local: wire.Endpoint{Addr: c.w.a.addr, Port: 5}, Remote: to}, 0)
		case 1:
			b.Arrive(crashSyn(c.w.a), 0)
		case 2:
			b.Live()
		case 3:
			b.Register(r.Uint32(), RegisteredFlow)
		case 4:
			b.ProgramEnded(func() bool { return true })
		default:
			b.Look(true)
		}
		c.w.now += tcp.Time(r.IntN(500)) * tcp.Millisecond
		longest = max(longest, time.Since(began))
	}
	return longest, c.jail.ruined
}

// sections that a hostile program may write to, and what lies there.
var ruinable = []struct {
	id     uint32
	octets int // from its beginning
}{
	{secControl, 448}, {secLock, 64}, {secJournal, 1920}, {secConns, 8 * tcp.ConnSize}, {secAux, 8 * 128},
	{secConnLinks, 64}, {secHash, 4096}, {secChunks, 64 * 32}, {secRxRefs, 64}, {secRxLinks, 64}, {secWheel, 1600},
	{100, 192}, {101, 256}, {102, 256}, {103, 36 * 16}, {104, 64}, {105, 64}, {106, 64}, {107, 64},
}

// ruin writes what a script says: pairs of a place and a value, over the whole
// segment or only over what is in use.
func (c *cell) ruin(script []byte) {
	m := c.w.a.mem[0]
	for len(script) >= 8 {
		s := ruinable[int(script[0])%len(ruinable)]
		at := int(c.w.a.seg.Offset(s.id)) + int(binary.LittleEndian.Uint16(script[2:]))%s.octets&^3
		v := binary.LittleEndian.Uint32(script[4:])
		switch script[1] % 6 {
		case 0:
			v %= 16 // looks like an index
		case 1:
			v = ^uint32(0)
		case 2:
			v = binary.LittleEndian.Uint32(m.octets[at:]) + 1
		case 3:
			v = 1 << (v % 32)
		}
		binary.LittleEndian.PutUint32(m.octets[at:], v)
		script = script[8:]
	}
}

// tooLong is how long a call of the child may take on a ruined segment, on a busy
// machine: a repair of all there can be takes a tenth of it.
const tooLong = 20 * time.Second

// FuzzRuined writes anything into a segment: the child finds that out, or goes on,
// but does not crash or hang, and gives the lock back.
func FuzzRuined(f *testing.F) {
	c := newCell(f)
	for k := range ruinable {
		f.Add(uint64(k), []byte{byte(k), 1, 0, 0, 0, 0, 0, 0, byte(k), 0, 8, 0, 3, 0, 0, 0})
	}
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		c.reset(t)
		c.ruin(script)
		c.judge(t, rand.New(rand.NewPCG(seed, 1)))
	})
}

// judge has the child live on a ruined segment.
func (c *cell) judge(t testing.TB, r *rand.Rand) (ruined bool) {
	longest, err := c.live(r)
	if longest > tooLong {
		t.Errorf("a call took %v", longest)
	}
	if err != nil && !errors.Is(err, ErrRuined) {
		t.Errorf("the child says %v", err)
	}
	if c.w.a.bottom.Section()%2 != 0 {
		t.Error("the child has not come out of the segment")
	}
	return err != nil
}

// TestRuined ruins segments in the ways that hostile programs are made of.
func TestRuined(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	c := newCell(t)
	whole := func(r *rand.Rand) {
		for _, s := range ruinable {
			at := int(c.w.a.seg.Offset(s.id))
			for k := range s.octets {
				c.w.a.mem[0].octets[at+k] = byte(r.Uint32())
			}
		}
	}
	script := func(words int, sections ...byte) func(r *rand.Rand) {
		return func(r *rand.Rand) {
			s := make([]byte, 8*words)
			for k := range s {
				s[k] = byte(r.Uint32())
				if k%8 == 0 && len(sections) > 0 {
					s[k] = sections[r.IntN(len(sections))]
				}
			}
			c.ruin(s)
		}
	}
	for _, row := range []struct {
		name string
		ruin func(r *rand.Rand)
		all  bool // nobody can overlook it
	}{
		{"all of it", whole, true},
		{"indices and links", script(20, 0, 4, 5, 6, 7, 8, 9, 10), false},
		{"connections", script(20, 3), false},
		{"the journal, and the lock of a dead man", func(r *rand.Rand) {
			script(4, 2)(r)
			c.w.a.top.lock.Lock(0)
		}, false},
		{"the lock", script(2, 1), false},
		{"the driver's state", script(20, 11, 12, 13, 14, 15, 16, 18), false},
		{"one word", script(1), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			found := 0
			const times = 100
			for n := range times {
				r := rand.New(rand.NewPCG(seed, uint64(n)))
				c.reset(t)
				row.ruin(r)
				if c.judge(t, r) {
					found++
				}
				if t.Failed() {
					t.Fatalf("seed %d, try %d", seed, n)
				}
			}
			t.Logf("found in %d of %d tries", found, times)
			if row.all && found != times {
				t.Error("and it cannot be overlooked")
			}
		})
	}
}

// A list that has been bent into a circle would be walked for ever, had every walk no
// bound of its own.
func TestRuinedListIsFound(t *testing.T) {
	c := newCell(t)
	for l := range numLists {
		c.reset(t)
		h := &c.w.a.top.Half
		h.enlist(l, 0)
		h.enlist(l, 1)
		h.aux[1].listNext[l] = 1 // and back to the first
		h.aux[0].use, h.aux[1].use = useOrphan, useOrphan
		done := make(chan struct{})
		go func() {
			c.w.a.bottom.Look(true)
			c.w.a.bottom.Look(true)
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(tooLong):
			t.Fatalf("list %d is walked for ever", l)
		}
	}
}
