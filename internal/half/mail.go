package half

import (
	"runtime"
	"sync/atomic"

	"usertcp/internal/pool"
	"usertcp/internal/wire"
)

// mails is what the top half sends when it has given the lock back: a packet to a
// device is a system call, which may deliver it and give the CPU to who waits for it,
// and other goroutines would wait for the lock meanwhile. Only packets without pieces
// go this way, whose buffers nobody needs then, and whose step is not undone if the
// device refuses them: they are lost, as packets may be. Those of one connection may
// overtake each other, if they are sent by two goroutines, as on any network.
type mails struct {
	poster pool.Poster // nil: all is sent with the lock
	bag    *pool.Mail  // nil: empty
	spare  [4]atomic.Pointer[pool.Mail]
	out    atomic.Int32 // bags that were taken and are not sent yet
}

// add puts a packet into the bag, and reports whether it goes this way. A reset does not:
// with the lock given back the bottom half may have the server take the connection's way
// from us, and nothing gets through then; nobody would send it again.
func (m *mails) add(p *pool.Packet) bool {
	if m.poster == nil || p.NPieces > 0 || resets(p) {
		return false
	}
	if m.bag == nil {
		m.bag = m.fresh()
	} else if m.bag.Full() {
		m.now()
	}
	return m.bag.Add(m.poster, p)
}

// resets reports whether p, which the half has put together, is a RST.
func resets(p *pool.Packet) bool {
	at := wire.IPv4Len
	if p.Data[0]>>4 == 6 {
		at = wire.IPv6Len
	}
	const flags = 13 // of the TCP header
	return wire.Flags(p.Data[at+flags])&wire.RST != 0
}

// now sends what there is, with the lock: something that goes behind it is.
func (m *mails) now() {
	if m.bag != nil && m.bag.Len() > 0 {
		m.poster.Post(m.bag)
		m.bag.Reset()
	}
}

// take returns what there is to be sent without the lock, nil if there is nothing.
func (m *mails) take() *pool.Mail {
	b := m.bag
	if b == nil || b.Len() == 0 {
		return nil
	}
	m.bag = nil
	m.out.Add(1)
	return b
}

// send sends what take returned. It needs no lock.
func (m *mails) send(b *pool.Mail) {
	if b == nil {
		return
	}
	m.poster.Post(b)
	m.out.Add(-1)
	b.Reset()
	for i := range m.spare {
		if m.spare[i].CompareAndSwap(nil, b) {
			return
		}
	}
}

// stop sends what there is, with the lock, and waits until others have sent what they have
// taken: the device is not theirs any more then. From now on all is sent with the lock.
func (m *mails) stop() {
	m.now()
	for m.out.Load() > 0 {
		runtime.Gosched()
	}
	m.poster = nil
}

// fresh returns an empty bag.
func (m *mails) fresh() *pool.Mail {
	for i := range m.spare {
		if b := m.spare[i].Swap(nil); b != nil {
			return b
		}
	}
	return new(pool.Mail)
}
