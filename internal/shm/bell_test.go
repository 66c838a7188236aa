package shm

import (
	"errors"
	"fmt"
	"testing"

	"usertcp/internal/interleave"
)

// The bell between a sleeper and its peers, as Bell's comment has it: box is what
// a peer publishes, the doorbell's ring is remembered.
type bellhop struct {
	s     *interleave.Scheduler
	bell  Bell
	door  *interleave.Doorbell
	boxes []int // published
	taken int
	last  []uint32 // of Ring, for each peer
	rings int
}

func (b *bellhop) look() (found bool) {
	b.s.Yield()
	n := 0
	for _, k := range b.boxes {
		n += k
	}
	found = n > b.taken
	b.taken = n
	return found
}

func (b *bellhop) forSleeper() any {
	return fmt.Sprint(b.boxes, b.taken, b.bell.state.Load(), b.door.Rung())
}

func (b *bellhop) publish(peer int) {
	b.s.Yield()
	b.boxes[peer]++
}

func (b *bellhop) ring(peer int) {
	if b.bell.Ring(&b.last[peer]) != Nobody {
		b.rings++
		b.door.Ring()
	}
}

// right is the protocol; the others have its steps in a wrong order.
type protocol struct {
	sleeper func(b *bellhop, want int)
	peer    func(b *bellhop, me int)
}

var right = protocol{
	sleeper: func(b *bellhop, want int) {
		for b.look(); b.taken < want; b.look() {
			b.s.Forget(want)
			b.bell.Sleep(TopHalf)
			if !b.look() {
				b.door.Sleep()
			}
			b.bell.Awake()
		}
	},
	peer: func(b *bellhop, me int) {
		b.publish(me)
		b.ring(me)
	},
}

func hops(b **bellhop, p protocol, peers, items int) func(*interleave.Scheduler, *interleave.Futex) interleave.Run {
	return func(s *interleave.Scheduler, _ *interleave.Futex) interleave.Run {
		h := &bellhop{s: s, door: interleave.NewDoorbell(s), boxes: make([]int, peers), last: make([]uint32, peers)}
		*b = h
		run := interleave.Run{Tasks: []interleave.Task{{Name: "s", Sees: h.forSleeper, Do: func() { p.sleeper(h, peers*items) }}}}
		for i := range peers {
			sees := func() any { return [2]uint32{h.bell.state.Load(), h.last[i]} }
			run.Tasks = append(run.Tasks, interleave.Task{Name: fmt.Sprint("p", i), Sees: sees, Do: func() {
				for n := range items {
					s.Forget(n)
					p.peer(h, i)
				}
			}})
		}
		return run
	}
}

// In every interleaving the sleeper ends up with all that was published: in one
// in which a wake-up is lost it would sleep on, which is a deadlock.
func TestBellInAllInterleavings(t *testing.T) {
	for _, c := range []struct{ peers, items, preemptions int }{
		{1, 1, -1}, {1, 2, -1}, {1, 3, -1}, {2, 1, -1},
		{2, 2, 4}, // beyond that it takes too long
	} {
		t.Run(fmt.Sprintf("%d peers with %d items", c.peers, c.items), func(t *testing.T) {
			var b *bellhop
			e := &interleave.Explorer{Preemptions: c.preemptions}
			if c.peers*c.items > 1 {
				e.State = func() any { return fmt.Sprint(b.forSleeper(), b.last) }
			}
			r, err := explore(e, 0, hops(&b, right, c.peers, c.items))
			t.Log(r)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// The same test finds what is wrong with protocols that have the order wrong.
func TestBellInWrongOrderLosesWakeUps(t *testing.T) {
	for name, p := range map[string]protocol{
		"looks before it says that it sleeps": {
			peer: right.peer,
			sleeper: func(b *bellhop, want int) {
				for b.look(); b.taken < want; b.look() {
					if found := b.look(); found {
						continue
					}
					b.bell.Sleep(TopHalf)
					b.door.Sleep()
					b.bell.Awake()
				}
			},
		},
		"does not look again": {
			peer: right.peer,
			sleeper: func(b *bellhop, want int) {
				for b.look(); b.taken < want; b.look() {
					b.bell.Sleep(TopHalf)
					b.door.Sleep()
				}
			},
		},
		"rings before it publishes": {
			sleeper: right.sleeper,
			peer: func(b *bellhop, me int) {
				b.ring(me)
				b.publish(me)
			},
		},
		"forgets the rings before it sleeps": {
			peer: right.peer,
			sleeper: func(b *bellhop, want int) {
				for b.look(); b.taken < want; b.look() {
					b.bell.Sleep(TopHalf)
					if !b.look() {
						b.door.Forget()
						b.door.Sleep()
					}
				}
			},
		},
	} {
		var b *bellhop
		r, err := explore(&interleave.Explorer{Preemptions: -1}, 0, hops(&b, p, 1, 1))
		if !errors.Is(err, interleave.ErrDeadlock) {
			t.Errorf("a party that %s: %v, %v; want a wake-up that is lost", name, r, err)
		}
	}
}

// A peer that publishes much rings once for a sleep, and never for one who is
// awake.
func TestBellRingsOnceForASleep(t *testing.T) {
	var b Bell
	var one, two uint32
	ring := func(last *uint32, want Party) {
		t.Helper()
		if who := b.Ring(last); who != want {
			t.Errorf("rings for %v, want %v", who, want)
		}
	}
	ring(&one, Nobody)
	b.Sleep(TopHalf)
	ring(&one, TopHalf)
	ring(&one, Nobody)
	ring(&two, TopHalf)
	b.Sleep(BottomHalf)
	ring(&one, BottomHalf)
	b.Awake()
	ring(&two, Nobody)
	b.Sleep(TopHalf)
	if b.Sleeper() != TopHalf {
		t.Errorf("%v sleeps", b.Sleeper())
	}
	ring(&two, TopHalf)
	b.Sleep(TopHalf) // without Awake: another sleep
	ring(&two, TopHalf)
	b.state.Store(^uint32(3) | uint32(TopHalf)) // the last epoch
	two = b.state.Load()
	b.Sleep(BottomHalf)
	ring(&two, BottomHalf)
}
