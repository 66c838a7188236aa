package message

import (
	"encoding/json"
	"errors"
	"io"
	"net/netip"
)

// SocketInfo is what a child says of a connection or listener, in answer to Sockets.
type SocketInfo struct {
	Local, Remote  netip.AddrPort // a listener has no remote end
	State          string         // as RFC 9293 names it
	Unread, Unsent uint32         // octets that the program has not read, and that the peer has not acknowledged; of a listener: connections to be accepted, and backlog
	Age            uint32         // s
	Orphan         bool           // the program has closed it, or has ended
}

// SocketList is the answer to Sockets: as JSON, since nobody counts microseconds here.
type SocketList struct {
	Sockets []SocketInfo
	More    int    // there are beside these
	Orphans int    // of all
	Killed  uint64 // orphans that were ended by name
	Work    PoolWork
}

// PoolWork is what a pool's halves have done.
type PoolWork struct {
	Scripts    uint64            // that the driver has executed
	Operations map[string]uint64 // of the scripts, by what they do
	Crossings  uint64            // system calls that they have cost
	Copied     uint64            // octets copied once more
	Placed     uint64            // octets that came to lie in their reader's memory at once
	Missed     uint64            // packets whose payload was placed in vain, and copied back

	// The buffer caches: buffers that came from there, times that one was empty and was
	// filled, and times that one was emptied. All are 0 without the caches.
	Hits, Misses, Flushes uint64
}

// Limits of a SocketList: what is more is counted, and told by its number only.
const (
	MaxSockets    = 4096
	maxSocketList = MaxSockets * 512 // octets
)

// errSocketList is a list that no child of ours writes.
var errSocketList = errors.New("message: a list of sockets that is too long")

// ReadSocketList reads a list that a child writes.
func ReadSocketList(r io.Reader) (l SocketList, err error) {
	if err := json.NewDecoder(io.LimitReader(r, maxSocketList)).Decode(&l); err != nil {
		return SocketList{}, err
	}
	if len(l.Sockets) > MaxSockets {
		return SocketList{}, errSocketList
	}
	return l, nil
}
