package half

import (
	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// Direct is the top half without goroutines, for simulators and testers: the
// calls of a program do what they can at once and never wait. Whoever drives it
// looks at Happenings to know when to call again. The bottom half needs no such
// thing: Bottom's methods do not wait either while nobody else has the lock.
//
// A call that panics leaves the lock taken, as a process does that dies in it.
type Direct struct {
	Half
	happened []Happening
}

// Happening is what the engine has to tell a program.
type Happening struct {
	Socket uint32
	Events tcp.Event
}

// NewDirect returns the top half of a segment.
func NewDirect(cfg Config) (*Direct, error) {
	d := &Direct{}
	if err := d.init(cfg, shm.TopHalf); err != nil {
		return nil, err
	}
	d.mayHold = true
	d.deliver = func(i uint32, ev tcp.Event) { d.happened = append(d.happened, Happening{i, ev}) }
	return d, nil
}

// SetSecret replaces the random secret of a fresh segment, so that initial
// sequence numbers can be repeated.
func (d *Direct) SetSecret(secret [16]byte) { d.ctl.secret = secret }

// Happenings appends to dst what happened since the last call, in order.
func (d *Direct) Happenings(dst []Happening) []Happening {
	dst = append(dst, d.happened...)
	d.happened = d.happened[:0]
	return dst
}

// call runs f as a program's call does: with the lock, behind whatever there is
// to do, and sending what f gives to send.
func (d *Direct) call(f func()) {
	d.lock.Lock(-1)
	d.step()
	f()
	d.settle()
	d.flush()
	d.takeRings() // whoever drives both halves knows when to look
	d.lock.Unlock()
}

// Step is one turn of the top half. It reports whether there was anything to do.
func (d *Direct) Step() bool {
	d.lock.Lock(-1)
	did := d.step()
	d.flush()
	d.takeRings()
	d.lock.Unlock()
	return did
}

func (d *Direct) step() bool {
	d.bell.Awake()
	d.ctl.drives.Add(1)
	did := d.turn()
	for i := d.delist(listTop); i != none; i = d.delist(listTop) {
		did = true
		if d.aux[i].use == useProgram {
			d.tell(i)
		}
	}
	return did
}

// Open makes a socket; ok is false if there are too many.
func (d *Direct) Open() (i uint32, ok bool) {
	d.call(func() { i = d.open() })
	return i, i != none
}

// Listen makes socket i a listener.
func (d *Direct) Listen(i uint32, local wire.Endpoint, backlog uint32) {
	d.call(func() { d.listen(i, local, backlog) })
}

// Accept takes a connection that waits at listener l; ok is false if none does.
func (d *Direct) Accept(l uint32) (i uint32, ok bool) {
	d.call(func() { i = d.accept(l) })
	return i, i != none
}

// Write sends the first octets of p and returns how many: 0 if there is no room
// or the connection sends no more, which its state and error say. If it was for
// want of buffers, EventWritable comes when there are some.
func (d *Direct) Write(i uint32, p []byte) (n int) {
	d.call(func() { n = d.write(i, p, true) })
	return n
}

func (d *Direct) fill(r *reservation, p []byte) {
	script := d.copies()
	r.fill(script, p)
	script.Copy()
	d.copied(script, pool.OpCopyIn)
}

// WriteUrgent is Write, and the last octet that it sends is urgent.
func (d *Direct) WriteUrgent(i uint32, p []byte) (n int) {
	d.call(func() {
		if n = d.write(i, p, false); n > 0 {
			d.sendUrgent(i)
		}
	})
	return n
}

func (d *Direct) write(i uint32, p []byte, leaves bool) int {
	var r reservation
	if d.reserve(i, min(len(p), writeMax), &r) == 0 {
		if d.conns[i].SendSpace() > 0 {
			d.starve(i)
		}
		return 0
	}
	d.fill(&r, p)
	if !d.send(i, &r, leaves) {
		return 0
	}
	return r.bytes
}

// Read reads up to len(p) octets into p and returns how many. fin reports
// whether the peer's FIN follows them.
func (d *Direct) Read(i uint32, p []byte) (n int, fin bool) {
	d.call(func() {
		script := d.copies()
		n = d.peek(i, p, script)
		script.Copy()
		d.copied(script, pool.OpCopyOut)
		if n > 0 {
			d.consume(i, n)
		}
		have, end := d.conns[i].Readable()
		fin = end && have == 0
	})
	return n, fin
}

// Shutdown ends the stream that the program sends.
func (d *Direct) Shutdown(i uint32) {
	d.call(func() {
		d.begin(i).Shutdown(&d.mem, d.now)
		d.commit(i)
	})
}

// CloseRead says that the program reads no more from socket i.
func (d *Direct) CloseRead(i uint32) {
	d.call(func() {
		d.begin(i).CloseRead(&d.mem, d.now)
		d.commit(i)
	})
}

// Close is the program's last use of socket i.
func (d *Direct) Close(i uint32) { d.call(func() { d.closeSocket(i) }) }

// Abort closes socket i with RST.
func (d *Direct) Abort(i uint32) { d.call(func() { d.abort(i) }) }

// SetOptions changes the options of socket i.
func (d *Direct) SetOptions(i uint32, change func(*tcp.ConnOptions)) {
	d.call(func() {
		c := d.begin(i)
		change(&c.Opt)
		c.OptionsChanged(d.now)
		d.commit(i)
	})
}

// DieReading dies in the middle of the step by which socket i reads all that is
// there: the connection is filled with garbage and the lock stays taken. A
// torn step is as good as any other, since repair looks only at the chunks.
func (d *Direct) DieReading(i uint32, garbage byte) {
	d.lock.Lock(-1)
	d.now = d.clock()
	c := d.begin(i)
	n, _ := c.Readable()
	c.Consume(&d.mem, d.now, n)
	d.scribble(c, garbage)
}

// DieWriting dies in the same way while socket i sends p. It may have reserved
// buffers that nobody knows of.
func (d *Direct) DieWriting(i uint32, p []byte, garbage byte) {
	d.lock.Lock(-1)
	d.now = d.clock()
	var r reservation
	n := d.reserve(i, len(p), &r)
	d.fill(&r, p)
	c := d.begin(i)
	if n > 0 {
		if r.tail != none {
			c.Extend(&d.mem, d.now, uint32(len(r.spans[0].b)))
		} else {
			q := tcp.Queue{Head: none, Tail: none}
			for _, s := range r.spans[:r.n] {
				d.link(&q, s.chunk)
			}
			c.Append(&d.mem, d.now, q)
		}
		c.NextSegment(&d.mem, d.now, &d.out)
	}
	d.scribble(c, garbage)
}

// scribble leaves garbage in a connection, whose flow the hash chains still need.
func (d *Direct) scribble(c *tcp.Conn, garbage byte) {
	*c = tcp.Conn{Flow: c.Flow}
	c.SndQ = tcp.Queue{Head: uint32(garbage), Tail: ^uint32(0), Count: 1 << 30, Bytes: uint32(garbage)}
	c.RcvQ, c.State = c.SndQ, tcp.State(garbage)
	for i := range c.Freed {
		c.Freed[i] = c.SndQ
	}
}

// SleeperIsBottom reports whether a peer that sends something would wake the
// bottom half.
func (d *Direct) SleeperIsBottom() bool { return d.bell.Sleeper() == shm.BottomHalf }
