package pool

// FrameMax is how many octets a packet without pieces has at most, with what a device
// wants before it.
const FrameMax = MaxData + 32

// MailMax is how many packets are given to a device at once.
const MailMax = 16

// Mail is packets without pieces, as a device takes them, that are sent when the lock
// has been given back: a device takes a packet by a system call, in which it may be
// delivered, and others would wait for the lock meanwhile. What the device does not
// take is lost, as a packet may be.
type Mail struct {
	n      int
	length [MailMax]uint8
	frames [MailMax][FrameMax]byte
}

var _ [255 - FrameMax]struct{} // a length is an octet

// Poster is a Driver that sends mail.
type Poster interface {
	// Frame writes packet p, which has no pieces, to b, and returns its length. It
	// counts the packet as sent. 0: p is none of those that go by mail.
	Frame(p *Packet, b *[FrameMax]byte) int

	// Post sends mail. It may be called without the lock.
	Post(m *Mail)
}

// Len returns how many packets there are.
func (m *Mail) Len() int { return m.n }

// Full reports whether there is no room.
func (m *Mail) Full() bool { return m.n == MailMax }

// Add adds p as d frames it, and reports whether it goes by mail. There is room.
func (m *Mail) Add(d Poster, p *Packet) bool {
	n := d.Frame(p, &m.frames[m.n])
	if n == 0 {
		return false
	}
	m.length[m.n] = uint8(n)
	m.n++
	return true
}

// Frame returns packet i.
func (m *Mail) Frame(i int) []byte { return m.frames[i][:m.length[i]] }

// Reset empties it.
func (m *Mail) Reset() { m.n = 0 }

// Frame implements Poster, for the devices.
func (j *Joint) Frame(p *Packet, b *[FrameMax]byte) int {
	if d, ok := j.by(p.Circuit).(Poster); ok {
		return d.Frame(p, b)
	}
	return 0
}

// Post implements Poster.
func (j *Joint) Post(m *Mail) { j.nic.(Poster).Post(m) }
