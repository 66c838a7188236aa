package server

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// Limits are what the pools of a host may have together, and those of one user. 0 is
// the default.
type Limits struct {
	Memory  uint64 // octets of buffers in use, all pools: the kernel's tcp_mem[2]; default 3/32 of the memory there is
	Orphans int    // the kernel's tcp_max_orphans; default one for each 256 KiB of memory

	FinTimeout    time.Duration // that an orphan may spend in FIN-WAIT-2: tcp_fin_timeout; default 60 s
	OrphanRetries int           // timeouts in a row that end an orphan: tcp_orphan_retries; default 8

	UserMemory  uint64 // octets of one user's segments and circuits, root excepted; default half of the memory there is
	UserSockets int    // of one user's programs, root excepted; default 1,048,576
}

// Bounds and defaults of Limits.
const (
	maxFinTimeout    = 24 * time.Hour
	maxOrphanRetries = 255 // the kernel's
	maxOrphans       = 1 << 18
	userSockets      = 1 << 20 // the kernel's fs.nr_open
	leastMemory      = 64 << 10
)

// complete checks the limits and fills in the defaults.
func (l *Limits) complete(memory uint64) error {
	switch {
	case l.Orphans < 0 || l.UserSockets < 0:
		return fmt.Errorf("server: at most %d orphans, at most %d sockets of a user", l.Orphans, l.UserSockets)
	case l.OrphanRetries < 0 || l.OrphanRetries > maxOrphanRetries:
		return fmt.Errorf("server: %d retries of an orphan are not between 0 and %d", l.OrphanRetries, maxOrphanRetries)
	case l.FinTimeout < 0 || l.FinTimeout > maxFinTimeout || l.FinTimeout%time.Millisecond != 0:
		return fmt.Errorf("server: FIN-WAIT-2 of %v is not of whole milliseconds between 0 and %v", l.FinTimeout, maxFinTimeout)
	case l.Memory != 0 && l.Memory < leastMemory || l.UserMemory != 0 && l.UserMemory < leastMemory:
		return fmt.Errorf("server: limits of memory of less than %d octets", leastMemory)
	}
	fill(&l.Memory, memory/32*3)
	fill(&l.Orphans, int(min(memory>>18, maxOrphans)))
	fill(&l.FinTimeout, time.Minute)
	fill(&l.OrphanRetries, 8)
	fill(&l.UserMemory, memory/2)
	fill(&l.UserSockets, userSockets)
	return nil
}

func fill[T uint64 | int | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = max(value, 1)
	}
}

// step returns by how much something has to change for a child to tell: one of 64
// parts of what there is.
func (l *Limits) step() message.PoolUsage {
	return message.PoolUsage{
		Buffers: max(l.Memory/64, 4096),
		Memory:  max(l.UserMemory/64, 1<<20),
		Sockets: uint32(max(l.UserSockets/64, 1)),
		Orphans: uint32(max(l.Orphans/64, 1)),
	}
}

// hostMemory returns how many octets of memory the host has, or the control group that
// the server is in, as far as that is to be found out.
func hostMemory() uint64 {
	memory := uint64(1 << 30)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		memory = uint64(info.Totalram) * uint64(info.Unit)
	}
	b, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if n, bad := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64); err == nil && bad == nil && n > 0 {
		memory = min(memory, n)
	}
	return memory
}

// tooManySockets reports whether a user has as many ports and connections with the
// server as he may have sockets: what his programs say of themselves is theirs to say.
func (s *Server) tooManySockets(c *child) bool {
	uid := c.owner().uid
	if uid == 0 {
		return false
	}
	s.mu.Lock()
	var his []*child
	for _, k := range s.children {
		if k.owner().uid == uid {
			his = append(his, k)
		}
	}
	s.mu.Unlock()
	n := 0
	for _, k := range his {
		ports, flows := s.ports.count(k.vci)
		n += ports + flows
	}
	return n >= s.cfg.Limits.UserSockets
}

// tooMuchMemory reports whether a user has all the memory that he may have.
func (l *ledger) tooMuchMemory(uid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uid != 0 && l.sums().users[uid].Memory >= l.limits.UserMemory
}

// UserInfo is what the programs of one user have.
type UserInfo struct {
	UID      int
	Children int
	Sockets  uint32
	Orphans  uint32
	Buffers  uint64 // octets in use
	Memory   uint64 // octets
	Level    uint32 // of his memory: 0 plenty, 1 pressure, 2 full
}

// LimitsInfo is what the host has of what is limited, and its limits. Children tell by
// steps: it is as exact as those.
type LimitsInfo struct {
	Limits Limits
	Usage  message.PoolUsage
	Level  uint32 // of the host's memory for buffers: 0 plenty, 1 pressure, 2 full
	Users  []UserInfo
}

// info returns the ledger's state; children says how many children each user has.
func (l *ledger) info(children map[int]int) LimitsInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sums()
	i := LimitsInfo{Limits: l.limits, Usage: s.all, Level: uint32(l.level)}
	for uid, n := range children {
		u := s.users[uid]
		i.Users = append(i.Users, UserInfo{
			UID: uid, Children: n, Sockets: u.Sockets, Orphans: u.Orphans, Buffers: u.Buffers, Memory: u.Memory,
			Level: uint32(l.users[uid]),
		})
	}
	slices.SortFunc(i.Users, func(a, b UserInfo) int { return a.UID - b.UID })
	return i
}

// usage returns what a child has said that it has.
func (l *ledger) usage(c *child) (u message.PoolUsage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[c]; a != nil {
		u = a.usage
	}
	return u
}
