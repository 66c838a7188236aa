package ring

import (
	"errors"
	"fmt"
	"sync/atomic"

	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// circuit is a circuit as one process has it mapped: the two memories, and
// views of this circuit's part of the segment.
type circuit struct {
	index uint16
	gen   uint32
	st    *circuitState

	own         *shm.Segment
	ownEnd      *end
	ownSlots    []slot
	ownReleases []uint32
	ownOctets   []byte

	peer         *shm.Segment
	peerEnd      *end
	peerSlots    []slot
	peerReleases []uint32
	peerOctets   []byte

	bell      *shm.Bell
	bellMem   *shm.Segment
	doorbells [2]shm.Doorbell // of the peer's top half and bottom half

	bufs     pool.Buffers
	pdus     []pdu
	pduLinks []uint32
	holds    []uint32

	dirty bool
	rouse bool // ring the peer at the next Flush, whatever is new

	warm  atomic.Bool // looked at each time: see warm.go
	quiet int         // turns since something came or left
}

// SectionBell is the section of a bell page.
const SectionBell = 1

// NewBellPage makes the page in which a pool tells its peers whether it sleeps.
func NewBellPage() (*shm.Segment, error) {
	return shm.Create("usertcp-bell", Version, shm.SpecOf[shm.Bell](SectionBell, 1))
}

// Peer is what the other end of a circuit offers: descriptors of its memory and
// its bell page, both read-only, and of its doorbells.
type Peer struct {
	Memory, Bell, Top, Bottom int
}

// PeerFrom returns the descriptors of an attach frame or a reply.
func PeerFrom(files []int) (Peer, error) {
	if len(files) != 4 {
		return Peer{}, fmt.Errorf("circuit offered with %d descriptors, want 4", len(files))
	}
	return Peer{files[0], files[1], files[2], files[3]}, nil
}

// Files returns the descriptors in the order that PeerFrom takes them.
func (p Peer) Files() []int { return []int{p.Memory, p.Bell, p.Top, p.Bottom} }

// Close closes the descriptors.
func (p Peer) Close() {
	for _, fd := range p.Files() {
		closeFd(fd)
	}
}

// mapOwn takes over the memory that this end writes.
func (c *circuit) mapOwn(s *shm.Segment) error {
	var err, e error
	c.own = s
	if c.ownEnd, err = shm.One[end](s, secEnd); err != nil {
		return err
	}
	c.ownSlots, err = shm.Slice[slot](s, secSlots)
	c.ownReleases, e = shm.Slice[uint32](s, secReleases)
	err = errors.Join(err, e)
	c.ownOctets, e = shm.Slice[byte](s, secBuffers)
	if err = errors.Join(err, e); err != nil {
		return err
	}
	if len(c.ownSlots) != Slots || len(c.ownReleases) != PDUs || len(c.ownOctets) != Buffers*BufferSize {
		return fmt.Errorf("circuit memory: %w", shm.ErrLayout)
	}
	return nil
}

// mapPeer maps what the peer offers; it takes the descriptors over.
func (c *circuit) mapPeer(p Peer) (err error) {
	if c.doorbells[0], err = shm.DoorbellFrom(p.Top); err != nil {
		closeFd(p.Memory, p.Bell, p.Bottom)
		return err
	}
	if c.doorbells[1], err = shm.DoorbellFrom(p.Bottom); err != nil {
		closeFd(p.Memory, p.Bell)
		return err
	}
	if c.bellMem, err = shm.Attach(p.Bell, Version, false); err != nil {
		closeFd(p.Memory)
		return err
	}
	if c.bell, err = shm.One[shm.Bell](c.bellMem, SectionBell); err != nil {
		closeFd(p.Memory)
		return err
	}
	if c.peer, err = shm.Attach(p.Memory, Version, false); err != nil {
		return err
	}
	return c.viewPeer()
}

func (c *circuit) viewPeer() error {
	var err, e error
	if c.peerEnd, err = shm.One[end](c.peer, secEnd); err != nil {
		return err
	}
	c.peerSlots, err = shm.Slice[slot](c.peer, secSlots)
	c.peerReleases, e = shm.Slice[uint32](c.peer, secReleases)
	err = errors.Join(err, e)
	c.peerOctets, e = shm.Slice[byte](c.peer, secBuffers)
	if err = errors.Join(err, e); err != nil {
		return err
	}
	if len(c.peerSlots) != Slots || len(c.peerReleases) != PDUs || len(c.peerOctets) > 1<<30 {
		return fmt.Errorf("circuit memory of the peer: %w", shm.ErrLayout)
	}
	if c.peerEnd.local != c.st.Remote {
		return fmt.Errorf("circuit memory of VCI %v, want %v", wire.VCI(c.peerEnd.local), wire.VCI(c.st.Remote))
	}
	return nil
}

// unmap gives back all that is mapped.
func (c *circuit) unmap() {
	for _, s := range []*shm.Segment{c.own, c.peer, c.bellMem} {
		if s != nil {
			s.Close()
		}
	}
	for _, d := range c.doorbells {
		d.Close()
	}
}

// peerFiles returns the descriptors with which another process of this
// application maps the peer's side.
func (c *circuit) peerFiles() []int {
	return []int{c.peer.Fd(), c.bellMem.Fd(), c.doorbells[0].Fd(), c.doorbells[1].Fd()}
}
