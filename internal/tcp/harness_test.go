package tcp

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"usertcp/internal/seq"
)

// slot is how many octets a chunk of a store can hold.
const slot = 2048

// store is the memory that the halves would share: chunks and their octets.
type store struct {
	m    Memory
	free []uint32
	data []byte

	annexes []uint32 // free
}

func newStore(chunks int) *store {
	s := &store{data: make([]byte, chunks*slot)}
	s.m.Chunks = make([]Chunk, chunks)
	s.m.Annexes = make([]Annex, 2)
	s.annexes = []uint32{0, 1}
	for i := range s.m.Chunks {
		// A free chunk is full of rubbish, so that whoever believes it stumbles.
		s.m.Chunks[i] = Chunk{Next: 0xdead, Len: 0xdead, Seq: 0xdead, Off: 0xdead}
		s.free = append(s.free, uint32(chunks-1-i))
	}
	return s
}

// put returns a queue of fresh chunks that hold b, in pieces of at most most octets.
func (s *store) put(b []byte, most int) Queue {
	q := noChunks
	for len(b) > 0 {
		n := min(most, len(b), slot)
		if len(s.free) == 0 {
			panic("the store is empty")
		}
		i := s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
		s.m.Chunks[i] = Chunk{Off: i * slot, Len: uint32(n), Buf: i, Next: 0xdead}
		copy(s.data[i*slot:], b[:n])
		q.join(&s.m, Queue{Head: i, Tail: i, Count: 1, Bytes: uint32(n)})
		b = b[n:]
	}
	return q
}

// give takes the chunks of q back.
func (s *store) give(q Queue) {
	i := q.Head
	for range q.Count {
		next := s.m.Chunks[i].Next
		s.m.Chunks[i] = Chunk{Next: 0xdead, Len: 0xdead, Seq: 0xdead, Off: 0xdead}
		s.free = append(s.free, i)
		i = next
	}
}

// read returns n octets from skip octets into chunk i on.
func (s *store) read(i, skip, n uint32) []byte {
	var b []byte
	for n > 0 {
		ch := &s.m.Chunks[i]
		k := min(ch.Len-skip, n)
		b = append(b, s.data[ch.Off+skip:ch.Off+skip+k]...)
		n -= k
		skip = 0
		i = ch.Next
	}
	return b
}

// end is a connection in a store, whose every step is watched: the invariants
// hold after it, and it could be undone.
type end struct {
	c  Conn
	st *store
}

// step runs f, which takes one step of the connection.
func (e *end) step(t testing.TB, what string, f func()) {
	t.Helper()
	before := photograph(&e.c, e.st)
	f()
	if err := before.compare(e.st); err != nil {
		t.Fatalf("%s cannot be undone: %v", what, err)
	}
	for i := range e.c.Freed {
		e.st.give(e.c.Freed[i])
		e.c.Freed[i] = Queue{}
	}
	if e.c.Spent != 0 {
		e.st.annexes = append(e.st.annexes, e.c.Spent-1)
		e.st.m.Annexes[e.c.Spent-1] = Annex{}
		e.c.Spent = 0
	}
	if err := e.c.CheckInvariants(&e.st.m); err != nil {
		t.Fatalf("after %s: %v", what, err)
	}
	if n := len(e.st.annexes); n > 0 && e.c.WantsAnnex() {
		i := e.st.annexes[n-1]
		e.st.annexes = e.st.annexes[:n-1]
		e.step(t, "GiveAnnex", func() { e.c.GiveAnnex(&e.st.m, i) })
	}
}

// photo is what the queues of a connection reached at one moment.
type photo struct {
	chunks map[uint32]Chunk
	tails  map[uint32]bool
	sndEnd uint32
	runs   []sent
	ranges []oooRange
	was    Conn
}

func photograph(c *Conn, st *store) *photo {
	p := &photo{chunks: map[uint32]Chunk{}, tails: map[uint32]bool{}, sndEnd: None, was: *c}
	p.runs = slices.Clone(c.board.view(&st.m))
	p.ranges = slices.Clone(c.ooo.view(&st.m))
	queues := []Queue{c.SndQ, c.RcvQ}
	for _, r := range c.ooo.view(&st.m) {
		queues = append(queues, r.queue())
	}
	for k, q := range queues {
		i := q.Head
		for range q.Count {
			if _, twice := p.chunks[i]; twice {
				panic(fmt.Sprintf("chunk %d is in two queues", i))
			}
			p.chunks[i] = st.m.Chunks[i]
			i = st.m.Chunks[i].Next
		}
		if q.Count > 0 {
			p.tails[q.Tail] = true
			if k == 0 {
				p.sndEnd = q.Tail
			}
		}
	}
	return p
}

// compare checks that a Conn copied when the photo was taken would find its
// queues as they were.
func (p *photo) compare(st *store) error {
	if !slices.Equal(p.runs, p.was.board.view(&st.m)) {
		return errors.New("the scoreboard is not what it was")
	}
	if !slices.Equal(p.ranges, p.was.ooo.view(&st.m)) {
		return errors.New("the ranges are not what they were")
	}
	for i, was := range p.chunks {
		is := st.m.Chunks[i]
		if p.tails[i] {
			is.Next = was.Next
		}
		if i == p.sndEnd {
			is.Len = was.Len
		}
		if is != was {
			return fmt.Errorf("chunk %d was %+v and is %+v", i, was, is)
		}
	}
	return nil
}

// held returns how many chunks the connection holds.
func (e *end) held() int { return len(photograph(&e.c, e.st).chunks) }

// pattern returns octets that tell where in the stream they are.
func pattern(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		x := from + i
		b[i] = byte(x ^ x>>8*31 ^ x>>16*17)
	}
	return b
}

// rel returns n relative to base.
func rel(n, base seq.Number) int { return int(int32(n - base)) }
