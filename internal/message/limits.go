package message

import (
	"encoding/binary"
	"errors"
	"time"
)

// PoolUsage is what a pool has in use: the PDU of a Usage.
type PoolUsage struct {
	Buffers uint64 // octets of buffers that hold something
	Memory  uint64 // octets that the kernel has given it, used or not
	Sockets uint32 // connections and listeners
	Orphans uint32 // those in TIME-WAIT not counted
	Reset   uint32 // orphans that were one too many, so far
}

// PoolLimits is what a pool may have: the PDU of a Limits.
type PoolLimits struct {
	Level       uint32        // of the memory for buffers: 0 to 2, see half.Level
	Orphans     uint32        // most at one time
	Sockets     uint32        // most at one time
	OrphanTries uint32        // timeouts in a row that end an orphan
	FinWait     time.Duration // that an orphan may spend in FIN-WAIT-2; whole ms
	Memory      uint64        // octets, most that the kernel may have given it

	// The largest packet that goes by a device, octets, 0 if there are none; and a number
	// that is another one when devices or routes carry larger packets than before.
	DeviceMTU, Growths uint32

	// By how much something has to change for the server to be told.
	Step PoolUsage
}

const (
	poolUsageLen  = 2*8 + 3*4
	poolLimitsLen = 7*4 + 8 + poolUsageLen
	maxLevel      = 2
)

// Errors of the two.
var (
	ErrUsage  = errors.New("message: not what a pool has in use")
	ErrLimits = errors.New("message: not what a pool may have")
)

// Append appends u's octets to b.
func (u *PoolUsage) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, u.Buffers)
	b = le.AppendUint64(b, u.Memory)
	b = le.AppendUint32(b, u.Sockets)
	b = le.AppendUint32(b, u.Orphans)
	return le.AppendUint32(b, u.Reset)
}

// ParsePoolUsage reads what Append has written.
func ParsePoolUsage(b []byte) (u PoolUsage, err error) {
	if len(b) != poolUsageLen {
		return u, ErrUsage
	}
	le := binary.LittleEndian
	return PoolUsage{
		Buffers: le.Uint64(b), Memory: le.Uint64(b[8:]),
		Sockets: le.Uint32(b[16:]), Orphans: le.Uint32(b[20:]), Reset: le.Uint32(b[24:]),
	}, nil
}

// Append appends l's octets to b.
func (l *PoolLimits) Append(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint32{l.Level, l.Orphans, l.Sockets, l.OrphanTries, uint32(l.FinWait.Milliseconds()), l.DeviceMTU, l.Growths} {
		b = le.AppendUint32(b, v)
	}
	return l.Step.Append(le.AppendUint64(b, l.Memory))
}

// ParsePoolLimits reads what Append has written.
func ParsePoolLimits(b []byte) (l PoolLimits, err error) {
	if len(b) != poolLimitsLen {
		return l, ErrLimits
	}
	le := binary.LittleEndian
	l = PoolLimits{
		Level: le.Uint32(b), Orphans: le.Uint32(b[4:]), Sockets: le.Uint32(b[8:]), OrphanTries: le.Uint32(b[12:]),
		FinWait:   time.Duration(le.Uint32(b[16:])) * time.Millisecond,
		DeviceMTU: le.Uint32(b[20:]), Growths: le.Uint32(b[24:]),
		Memory: le.Uint64(b[28:]),
	}
	if l.Level > maxLevel {
		return PoolLimits{}, ErrLimits
	}
	l.Step, err = ParsePoolUsage(b[36:])
	return l, err
}

// Changed reports whether u differs from what was told before by a step.
func (u *PoolUsage) Changed(told, step *PoolUsage) bool {
	return moved(u.Buffers, told.Buffers, step.Buffers) || moved(u.Memory, told.Memory, step.Memory) ||
		moved(uint64(u.Sockets), uint64(told.Sockets), uint64(step.Sockets)) ||
		moved(uint64(u.Orphans), uint64(told.Orphans), uint64(step.Orphans)) ||
		u.Reset != told.Reset
}

func moved(now, told, step uint64) bool {
	if now < told {
		now, told = told, now
	}
	return now != told && now-told >= step
}
