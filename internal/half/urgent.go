package half

import (
	"io"
	"syscall"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// readable returns how many octets the program can read in one go, and whether
// the end of the stream follows them. Reading stops before an urgent octet, which
// is taken out of the stream when it is its turn.
func (h *Half) readable(i uint32) (n uint32, fin bool) {
	c := &h.conns[i]
	for {
		n, fin = c.Readable()
		before, here, _ := c.Urgent()
		switch {
		case !here:
			return n, fin
		case before > 0:
			return before, false
		case c.Opt.UrgentInline != 0:
			return n, fin
		}
		b, ok := h.octetAt(i, 0)
		if !ok {
			return n, fin
		}
		h.begin(i)
		c.SkipUrgent(&h.mem, h.now, b)
		h.commit(i)
	}
}

// octetAt returns the octet that lies skip octets into the receive queue, if this
// process can see it.
func (h *Half) octetAt(i, skip uint32) (byte, bool) {
	c := &h.conns[i]
	at, skip := c.RcvQ.Head, skip+c.RcvHead
	for n := c.RcvQ.Count; n > 0; n-- {
		k := &h.chunks[at]
		if skip < k.Len {
			if k.Region != pool.OwnRegion && h.drv.Octets(k.Region) == nil {
				return 0, false // a circuit that this process has not mapped yet
			}
			return h.octets(k, skip, 1)[0], true
		}
		skip -= k.Len
		at = k.Next
	}
	return 0, false
}

// sendUrgent marks what was queued last on i as urgent.
func (h *Half) sendUrgent(i uint32) {
	c := h.begin(i)
	c.SendUrgent(h.now)
	h.commit(i)
}

// takeUrgent returns the urgent octet that has arrived, once.
func (h *Half) takeUrgent(i uint32) (b byte, ok bool) {
	c := &h.conns[i]
	if !c.UrgentPending() {
		return 0, false
	}
	if b, ok = c.UrgentOctet(); !ok {
		before, here, _ := c.Urgent()
		if !here {
			return 0, false
		}
		if b, ok = h.octetAt(i, before); !ok {
			return 0, false
		}
	}
	h.begin(i)
	c.UrgentSeen()
	h.commit(i)
	return b, true
}

// WriteUrgent sends p, whose last octet is urgent: MSG_OOB of the kernel.
func (s *Socket) WriteUrgent(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, syscall.EINVAL // there is no urgent nothing
	}
	return s.writeAll(p, writtenUrgent)
}

// ReadUrgent waits for an urgent octet and returns it. It returns EINVAL if
// urgent data stays in the stream, io.EOF if none can come any more.
func (s *Socket) ReadUrgent() (b byte, err error) {
	s.umu.Lock()
	defer s.umu.Unlock()
	t := s.t
	t.enter()
	defer t.leave()
	t.drive()
	c := &t.conns[s.i]
	got := false
	err = t.wait(&s.ur, func() bool {
		if c.Opt.UrgentInline != 0 {
			return true
		}
		if !got { // asked more than once: what was taken stays taken
			b, got = t.takeUrgent(s.i)
		}
		_, fin := c.Readable()
		return got || fin || s.deaf || c.State == tcp.Closed
	})
	if err != nil || got {
		return b, err
	}
	if c.Opt.UrgentInline != 0 {
		return 0, syscall.EINVAL
	}
	if err = s.failure(); err == nil {
		err = io.EOF
	}
	return 0, err
}

// AtMark reports whether the next octet to be read is the urgent one, or was
// before it was taken out: SIOCATMARK of the kernel.
func (s *Socket) AtMark() bool {
	t := s.t
	t.enter()
	defer t.leave()
	if s.closing {
		return false
	}
	before, here, ahead := t.conns[s.i].Urgent()
	return ahead && here && before == 0
}
